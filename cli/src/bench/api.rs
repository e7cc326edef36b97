//! The calls of the REST contract that a run makes outside its measured loops. It measures nothing.

use super::error::BenchError;
use crate::client::{ClientError, Connection, Endpoint};
use bytes::Bytes;
use sealdex_core::Metric;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

pub(super) const UPSERT: &str = "/v1/vectors/upsert";
pub(super) const UPSERT_BINARY: &str = "/v1/vectors/upsert_binary";
pub(super) const QUERY: &str = "/v1/vectors/query";
pub(super) const QUERY_BINARY: &str = "/v1/vectors/query_binary";

/// An index and its key. Not printable: the key is in it.
pub(super) struct Index {
    name: String,
    key: String,
}

impl Index {
    /// The index to work on: `name`, or a fresh name; `key`, or a fresh key that nobody else will ever know.
    pub(super) fn new(name: Option<&str>, key: Option<&str>) -> Result<Self, BenchError> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => format!("sealdex-bench-{}", random_hex::<4>()?),
        };
        let key = match key {
            Some(key) => key.to_owned(),
            None => random_hex::<32>()?,
        };
        Ok(Self { name, key })
    }

    /// The index's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The beginning of every request: an open JSON object with name and key, to which `,"field":…` and `}` are added.
    pub(super) fn open_request(&self) -> Vec<u8> {
        let mut body = json!({"index_name": self.name, "index_key": self.key})
            .to_string()
            .into_bytes();
        body.pop();
        body
    }

    /// A request with the fields of `fields`, an object, besides name and key.
    fn request(&self, mut fields: Value) -> Bytes {
        fields["index_name"] = self.name.as_str().into();
        fields["index_key"] = self.key.as_str().into();
        fields.to_string().into()
    }
}

fn random_hex<const BYTES: usize>() -> Result<String, BenchError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| BenchError::Random(error.to_string()))?;
    Ok(bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    }))
}

/// What describe says of an index.
#[derive(Deserialize)]
pub(super) struct Description {
    pub(super) is_trained: bool,
    pub(super) n_lists: u64,
}

/// What training-status says of all indexes.
#[derive(Deserialize)]
pub(super) struct TrainingStatus {
    #[serde(default)]
    training_indexes: Vec<String>,
    #[serde(default)]
    queued_indexes: Vec<String>,
    #[serde(default)]
    currently_training: Option<String>,
    /// Items from which on an index is trained without being asked.
    pub(super) retrain_threshold: u64,
}

impl TrainingStatus {
    /// Whether training of `name` is under way or to come.
    pub(super) fn concerns(&self, name: &str) -> bool {
        let listed = self
            .training_indexes
            .iter()
            .chain(&self.queued_indexes)
            .chain(&self.currently_training);
        listed.into_iter().any(|listed| listed == name)
    }
}

/// What get says of an item.
#[derive(Deserialize)]
pub(super) struct Item {
    #[serde(default)]
    pub(super) vector: Vec<f32>,
    #[serde(default)]
    pub(super) metadata: Value,
}

#[derive(Deserialize)]
struct Outcome {
    status: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Health {
    version: String,
}

#[derive(Deserialize)]
struct Count {
    result: u64,
}

/// A connection for calls that are not part of a measured loop.
pub(super) struct Api {
    connection: Connection,
    endpoint: Endpoint,
}

impl Api {
    /// Calls to `endpoint`, each of at most `timeout`.
    pub(super) fn new(endpoint: &Endpoint, timeout: Duration) -> Self {
        Self {
            connection: Connection::new(endpoint, timeout),
            endpoint: endpoint.clone(),
        }
    }

    /// The server's version.
    pub(super) async fn version(&mut self) -> Result<String, ClientError> {
        let path = "/v1/health";
        let health: Health = parse(path, &self.connection.get(path).await?)?;
        Ok(health.version)
    }

    /// Creates the index.
    pub(super) async fn create(
        &mut self,
        index: &Index,
        dimension: usize,
        metric: Metric,
    ) -> Result<(), ClientError> {
        let fields = json!({"dimension": dimension, "metric": metric.as_str()});
        self.call::<Value>("/v1/indexes/create", index.request(fields))
            .await
            .map(drop)
    }

    /// Deletes the index and all in it.
    pub(super) async fn delete(&mut self, index: &Index) -> Result<(), ClientError> {
        self.call::<Value>("/v1/indexes/delete", index.request(json!({})))
            .await
            .map(drop)
    }

    /// Deletes the index and all in it, if there is one.
    pub(super) async fn delete_if_there(&mut self, index: &Index) -> Result<(), ClientError> {
        match self.delete(index).await {
            Err(ClientError::Status { status: 404, .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// Whether it is trained, and into how many clusters.
    pub(super) async fn describe(&mut self, index: &Index) -> Result<Description, ClientError> {
        self.call("/v1/indexes/describe", index.request(json!({}))).await
    }

    /// How many items it holds.
    pub(super) async fn count(&mut self, index: &Index) -> Result<u64, ClientError> {
        let count: Count = self
            .call("/v1/vectors/num_vectors", index.request(json!({})))
            .await?;
        Ok(count.result)
    }

    /// The item of this id, if there is one.
    pub(super) async fn item(&mut self, index: &Index, id: &str) -> Result<Option<Item>, ClientError> {
        #[derive(Deserialize)]
        struct Reply {
            results: Vec<Item>,
        }
        let fields = json!({"ids": [id], "include": ["vector", "metadata"]});
        let reply: Reply = self.call("/v1/vectors/get", index.request(fields)).await?;
        Ok(reply.results.into_iter().next())
    }

    /// What is being trained.
    pub(super) async fn training_status(&mut self) -> Result<TrainingStatus, ClientError> {
        let path = "/v1/indexes/training-status";
        parse(path, &self.connection.get(path).await?)
    }

    /// Trains and waits for the end. A server may report failure in a successful answer.
    pub(super) async fn train(
        &mut self,
        index: &Index,
        lists: Option<u32>,
        timeout: Duration,
    ) -> Result<(), BenchError> {
        let path = "/v1/indexes/train";
        let mut patient = Connection::new(&self.endpoint, timeout);
        let outcome: Outcome = parse(
            path,
            &patient
                .post(path, index.request(json!({"n_lists": lists})))
                .await?,
        )?;
        if outcome.status == "success" {
            return Ok(());
        }
        let cure = "see the server's log; --no-train measures without training";
        Err(BenchError::Training(format!(
            "the server could not train: {}; {cure}",
            outcome.message
        )))
    }

    /// Deletes items.
    pub(super) async fn delete_items(&mut self, index: &Index, ids: &[String]) -> Result<(), ClientError> {
        self.call::<Value>("/v1/vectors/delete", index.request(json!({"ids": ids})))
            .await
            .map(drop)
    }

    /// The ids of the `top_k` nearest items, nearest first.
    pub(super) async fn nearest_ids(
        &mut self,
        index: &Index,
        query: &[f32],
        top_k: usize,
    ) -> Result<Vec<String>, ClientError> {
        #[derive(Deserialize)]
        struct Hit {
            id: String,
        }
        #[derive(Deserialize)]
        struct Reply {
            results: Vec<Hit>,
        }
        let fields = json!({"query_vectors": query, "top_k": top_k});
        let reply: Reply = self.call(QUERY, index.request(fields)).await?;
        Ok(reply.results.into_iter().map(|hit| hit.id).collect())
    }

    async fn call<T: DeserializeOwned>(&mut self, path: &'static str, body: Bytes) -> Result<T, ClientError> {
        parse(path, &self.connection.post(path, body).await?)
    }
}

fn parse<T: DeserializeOwned>(path: &'static str, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|source| ClientError::Reply {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_request_closes_to_an_object_with_name_and_key() {
        let index = Index::new(Some("a\"b"), None).unwrap();
        let mut body = index.open_request();
        body.extend_from_slice(b",\"top_k\":3}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["index_name"], "a\"b");
        assert_eq!(body["index_key"].as_str().unwrap().len(), 64);
        assert_eq!(body["top_k"], 3);
    }

    #[test]
    fn fresh_names_and_keys_differ() {
        let (a, b) = (Index::new(None, None).unwrap(), Index::new(None, None).unwrap());
        assert!(a.name != b.name && a.key != b.key);
    }
}
