//! The life of the scratch index: everything that a client does with an index, in the words of the REST API.

use super::canaries::{Canaries, DIMENSION, base64_of};
use super::error::ProveError;
use crate::client::{ClientError, Connection, Endpoint};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealdex_canary::Scanner;
use serde_json::{Value, json};
use std::time::Duration;

/// Items of one request.
const BATCH: usize = 1_000;

/// Training of what a proof writes takes seconds.
const TRAINING_TIME_MAX: Duration = Duration::from_secs(600);

/// Bytes of a token's body that name its user, which is no secret.
const TOKEN_USER_BYTES: usize = 16;

pub(super) struct Life {
    endpoint: Endpoint,
    timeout: Duration,
    connection: Connection,
    canaries: Canaries,
    exists: bool,
    token: Option<String>,
}

impl Life {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration, canaries: Canaries) -> Self {
        Self {
            connection: Connection::new(&endpoint, timeout),
            endpoint,
            timeout,
            canaries,
            exists: false,
            token: None,
        }
    }

    /// The same index, at another address after a restart.
    pub(super) fn reach(&mut self, endpoint: Endpoint) {
        self.connection = Connection::new(&endpoint, self.timeout);
        self.endpoint = endpoint;
    }

    /// The part of the index's name that no earlier proof has left behind.
    pub(super) fn index_letters(&self) -> &str {
        self.canaries.index_name.rsplit('-').next().unwrap_or_default()
    }

    /// Writes every canary, before a training and after it, asks for them in every way, and replaces and deletes some.
    pub(super) async fn live(&mut self) -> Result<(), ProveError> {
        self.call(
            "indexes/create",
            json!({"dimension": DIMENSION, "metric": "euclidean"}),
        )
        .await?;
        self.exists = true;
        let half = self.canaries.items.len() / 2;
        self.upsert(0..half).await?;
        self.upsert_binary(half..self.canaries.items.len()).await?;
        self.upsert_others().await?;
        self.query().await?;
        let training = Connection::new(&self.endpoint, TRAINING_TIME_MAX);
        let patient = std::mem::replace(&mut self.connection, training);
        self.call("indexes/train", json!({})).await?;
        self.connection = patient;
        let described = self.call("indexes/describe", json!({})).await?;
        if described["is_trained"] != true {
            return Err(ProveError::Answer("the training"));
        }
        self.upsert(0..half.min(20)).await?;
        let deleted: Vec<String> = self
            .canaries
            .items
            .iter()
            .skip(half)
            .take(5)
            .map(|item| item.id.clone())
            .collect();
        self.call("vectors/delete", json!({"ids": deleted})).await?;
        self.query().await?;
        self.refused().await?;
        self.make_user().await?;
        println!(
            "wrote       {} items, {} of them canaries, into a scratch index; trained, queried, replaced, deleted{}",
            self.canaries.items.len() + self.canaries.others.len(),
            self.canaries.items.len(),
            if self.token.is_some() { "; a user" } else { "" }
        );
        Ok(())
    }

    /// Deletes the index, if it was made.
    pub(super) async fn end(&mut self) -> Result<(), ProveError> {
        if self.exists {
            self.call("indexes/delete", json!({})).await?;
            self.exists = false;
        }
        Ok(())
    }

    /// Adds what the server made: the user's token.
    pub(super) fn add_secrets(&self, scanner: &mut Scanner) {
        let Some(token) = &self.token else { return };
        // The alphabet of the body has the character that joins the parts.
        let body = token.splitn(3, '_').last().unwrap_or_default();
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(body) {
            scanner.add_text("user token", bytes.get(TOKEN_USER_BYTES..).unwrap_or(&bytes));
        }
    }

    /// Finds a canary by vector, by filter and by id, and looks for one that is not there.
    pub(super) async fn query(&mut self) -> Result<(), ProveError> {
        let canary = self.canaries.items.last().ok_or(ProveError::Answer("nothing"))?;
        let (id, vector) = (canary.id.clone(), canary.vector.clone());
        let filter = json!({&canary.key: canary.value});
        let found = json!({"query_vectors": vector, "top_k": 3, "include": ["distance", "metadata"], "filters": filter});
        let found = self.call("vectors/query", found).await?;
        if found["results"][0]["id"] != id.as_str() {
            return Err(ProveError::Answer("a query"));
        }
        let nobody = json!({"query_vectors": self.canaries.query, "filters": {"$or": [{"kind": self.canaries.operand}]}});
        self.call("vectors/query", nobody).await?;
        let all = json!({"query_vectors": self.canaries.query, "top_k": 50});
        self.call("vectors/query", all).await?;
        let got = self.call("vectors/get", json!({"ids": [id]})).await?;
        if got["results"][0]["id"] != id.as_str() {
            return Err(ProveError::Answer("a request for an item"));
        }
        self.call("vectors/list_ids", json!({})).await?;
        Ok(())
    }

    async fn upsert(&mut self, which: std::ops::Range<usize>) -> Result<(), ProveError> {
        let item = |n: usize| {
            let canary = &self.canaries.items[n];
            json!({"id": canary.id, "vector": canary.vector, "metadata": canary.metadata(), "contents": canary.contents})
        };
        let items: Vec<Value> = which.map(item).collect();
        self.call("vectors/upsert", json!({"items": items})).await?;
        Ok(())
    }

    async fn upsert_binary(&mut self, which: std::ops::Range<usize>) -> Result<(), ProveError> {
        let items = &self.canaries.items[which];
        let batch = json!({
            "ids": items.iter().map(|item| &item.id).collect::<Vec<_>>(),
            "vectors_b64": base64_of(items.iter().map(|item| &item.vector)),
            "dimension": DIMENSION,
            "metadata": items.iter().map(|item| item.metadata()).collect::<Vec<_>>(),
            "contents": items.iter().map(|item| &item.contents).collect::<Vec<_>>(),
        });
        self.call("vectors/upsert_binary", json!({"batch": batch}))
            .await?;
        Ok(())
    }

    async fn upsert_others(&mut self) -> Result<(), ProveError> {
        let batches: Vec<Value> = self
            .canaries
            .others
            .chunks(BATCH)
            .enumerate()
            .map(|(n, vectors)| {
                let ids: Vec<String> = (0..vectors.len())
                    .map(|i| format!("filler-{}", n * BATCH + i))
                    .collect();
                json!({"ids": ids, "vectors_b64": base64_of(vectors.iter()), "dimension": DIMENSION})
            })
            .collect();
        for batch in batches {
            self.call("vectors/upsert_binary", json!({"batch": batch}))
                .await?;
        }
        Ok(())
    }

    /// Requests that fail must leave as little behind as those that succeed.
    async fn refused(&mut self) -> Result<(), ProveError> {
        let canary = &self.canaries.items[0];
        let ragged = json!({"items": [{"id": canary.id, "vector": [1.0], "contents": canary.contents}]});
        let pattern = json!({"query_vectors": canary.vector, "filters": {"kind": {"$regex": format!("({}", canary.id)}}});
        for (route, body) in [("vectors/upsert", ragged), ("vectors/query", pattern)] {
            match self.call(route, body).await {
                Err(ClientError::Status { status: 400, .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Err(ProveError::Answer("a request that cannot be carried out")),
            }
        }
        Ok(())
    }

    /// A user, where the server has users: it takes a root key.
    async fn make_user(&mut self) -> Result<(), ProveError> {
        let users = format!("indexes/{}/users", self.canaries.index_name);
        let made = match self.call(&users, json!({"permissions": ["read", "write"]})).await {
            Ok(made) => made,
            Err(ClientError::Status { status: 403, .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.token = made["api_key"].as_str().map(str::to_owned);
        if self.token.is_none() {
            return Err(ProveError::Answer("a request for a user"));
        }
        Ok(())
    }

    async fn call(&mut self, route: &str, mut body: Value) -> Result<Value, ClientError> {
        body["index_name"] = json!(self.canaries.index_name);
        body["index_key"] = json!(self.canaries.index_key.expose());
        let path = format!("/v1/{route}");
        let answer = self.connection.post(&path, body.to_string().into()).await?;
        serde_json::from_slice(&answer).map_err(|source| ClientError::Reply { path, source })
    }
}
