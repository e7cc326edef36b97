//! One index over REST: every data route as a method, in the words of the contract.

use crate::http::{Http, Reply, Unanswered};
use crate::item::Item;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An index by name and key. Methods fail the test unless the answer is a 200; [`Index::call`] leaves judging to the caller.
#[derive(Clone)]
pub struct Index {
    /// The client in use.
    pub http: Arc<Http>,
    /// The index's name.
    pub name: String,
    /// Its key, 64 hex digits.
    pub key: String,
}

/// One row of a query's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The item's id.
    pub id: String,
    /// Its distance; NaN if the answer had none.
    pub distance: f64,
    /// Its metadata; null if the answer had none.
    pub metadata: Value,
}

impl Index {
    /// A handle; nothing is sent.
    pub fn new(http: &Arc<Http>, name: &str, key: &str) -> Self {
        Self {
            http: http.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
        }
    }

    /// Creates an index; `settings` are further fields of the request.
    pub async fn create(http: &Arc<Http>, name: &str, key: &str, settings: Value) -> Self {
        let index = Self::new(http, name, key);
        index.must("indexes/create", settings).await;
        index
    }

    /// The same index through another client, after a restart.
    pub fn through(&self, http: &Arc<Http>) -> Self {
        Self {
            http: http.clone(),
            ..self.clone()
        }
    }

    /// Posts `body` with the index's name and key added.
    pub async fn call(&self, route: &str, mut body: Value) -> Result<Reply, Unanswered> {
        body["index_name"] = json!(self.name);
        body["index_key"] = json!(self.key);
        self.http.post(&format!("/v1/{route}"), &body).await
    }

    /// The body of a 200; anything else fails the test.
    pub async fn must(&self, route: &str, body: Value) -> Value {
        let reply = self
            .call(route, body)
            .await
            .unwrap_or_else(|why| panic!("{route}: {}", why.0));
        assert_eq!(reply.status, 200, "{route} on {}: {}", self.name, reply.text());
        reply.json()
    }

    /// Writes items as JSON.
    pub async fn upsert(&self, items: &[Item]) -> Value {
        self.must(
            "vectors/upsert",
            json!({"items": items.iter().map(Item::to_json).collect::<Vec<_>>()}),
        )
        .await
    }

    /// Writes items in the binary form, a few thousand to a request.
    pub async fn upsert_binary(&self, items: &[Item]) {
        for part in items.chunks(4_000) {
            self.must("vectors/upsert_binary", json!({"batch": binary_batch(part)}))
                .await;
        }
    }

    /// Removes items.
    pub async fn delete(&self, ids: &[String]) -> Value {
        self.must("vectors/delete", json!({"ids": ids})).await
    }

    /// Whole items, in the order of the answer.
    pub async fn get(&self, ids: &[String]) -> Vec<Item> {
        let mut items = Vec::with_capacity(ids.len());
        for part in ids.chunks(2_000) {
            let answer = self.must("vectors/get", json!({"ids": part})).await;
            items.extend(items_of(&answer).unwrap_or_else(|| panic!("not items: {answer}")));
        }
        items
    }

    /// The nearest items with distance and metadata; `settings` are further fields of the request.
    pub async fn query(&self, vector: &[f32], top_k: usize, mut settings: Value) -> Vec<Hit> {
        settings["query_vectors"] = json!(vector);
        settings["top_k"] = json!(top_k);
        settings["include"] = json!(["distance", "metadata"]);
        let answer = self.must("vectors/query", settings).await;
        hits_of(&answer["results"]).unwrap_or_else(|| panic!("not a flat list of results: {answer}"))
    }

    /// The nearest items of several vectors in one binary request; ids and distances.
    pub async fn query_batch(
        &self,
        vectors: &[Vec<f32>],
        top_k: usize,
        mut settings: Value,
    ) -> Vec<Vec<Hit>> {
        settings["batch"] = json!({"vectors_b64": base64_of(vectors.iter()), "dimension": vectors[0].len()});
        settings["top_k"] = json!(top_k);
        settings["include"] = json!(["distance"]);
        let answer = self.must("vectors/query_binary", settings).await;
        let lists = answer["results"].as_array().expect("results is a list");
        lists
            .iter()
            .map(|list| hits_of(list).unwrap_or_else(|| panic!("not a list of results: {list}")))
            .collect()
    }

    /// Every id, in order.
    pub async fn ids(&self) -> Vec<String> {
        let answer = self.must("vectors/list_ids", json!({})).await;
        let ids = answer["ids"].as_array().expect("ids is a list");
        assert_eq!(
            answer["count"],
            json!(ids.len()),
            "count must be the number of ids"
        );
        let mut ids: Vec<String> = ids
            .iter()
            .map(|id| id.as_str().expect("an id is text").to_owned())
            .collect();
        ids.sort();
        ids
    }

    /// The number of items.
    pub async fn count(&self) -> u64 {
        self.must("vectors/num_vectors", json!({})).await["result"]
            .as_u64()
            .expect("result is a count")
    }

    /// What describe says.
    pub async fn describe(&self) -> Value {
        self.must("indexes/describe", json!({})).await
    }

    /// Trains with default parameters and waits.
    pub async fn train(&self) -> Value {
        let answer = self.must("indexes/train", json!({})).await;
        assert_eq!(answer["status"], "success", "{answer}");
        answer
    }

    /// True while the server says that this index is being trained.
    pub async fn is_training(&self) -> bool {
        let Ok(reply) = self.http.get("/v1/indexes/training-status").await else {
            return false;
        };
        let status = reply.json();
        status["training_indexes"]
            .as_array()
            .is_some_and(|names| names.iter().any(|name| *name == json!(self.name)))
            || status["currently_training"] == json!(self.name)
    }
}

/// The `batch` of `upsert_binary`.
pub fn binary_batch(items: &[Item]) -> Value {
    json!({
        "ids": items.iter().map(|item| &item.id).collect::<Vec<_>>(),
        "vectors_b64": base64_of(items.iter().map(|item| &item.vector)),
        "dimension": items[0].vector.len(),
        "metadata": items.iter().map(|item| &item.metadata).collect::<Vec<_>>(),
        "contents": items.iter().map(|item| &item.contents).collect::<Vec<_>>(),
    })
}

/// Little-endian float32, row-major, in standard base64.
pub fn base64_of<'a>(vectors: impl Iterator<Item = &'a Vec<f32>>) -> String {
    STANDARD.encode(
        vectors
            .flatten()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>(),
    )
}

/// The items of a `get` with every field; `None` if a row lacks one.
pub fn items_of(answer: &Value) -> Option<Vec<Item>> {
    answer["results"]
        .as_array()?
        .iter()
        .map(Item::from_json)
        .collect()
}

/// Items by id. Fails the test if an id comes twice.
pub fn by_id(items: Vec<Item>) -> BTreeMap<String, Item> {
    let count = items.len();
    let map: BTreeMap<String, Item> = items.into_iter().map(|item| (item.id.clone(), item)).collect();
    assert_eq!(map.len(), count, "an id was returned twice");
    map
}

/// The rows of one result list; `None` if it is not one.
pub fn hits_of(list: &Value) -> Option<Vec<Hit>> {
    let hit = |row: &Value| {
        Some(Hit {
            id: row.get("id")?.as_str()?.to_owned(),
            distance: row.get("distance").and_then(Value::as_f64).unwrap_or(f64::NAN),
            metadata: row.get("metadata").cloned().unwrap_or(Value::Null),
        })
    };
    list.as_array()?.iter().map(hit).collect()
}
