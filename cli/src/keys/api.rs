//! The calls of the REST API about keys and users.

use super::error::KeysError;
use crate::client::{ClientError, Connection, Endpoint, segment};
use crate::connect::IndexKeyArgs;
use hyper::header::HeaderName;
use sealdex_core::SecretText;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the key of an index is held, as the server tells it.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct KeyInfo {
    pub(super) index_name: String,
    pub(super) created_at: u64,
    pub(super) epoch: u32,
    pub(super) provider: String,
    pub(super) wrapped: Option<Wrapped>,
    pub(super) users: Vec<User>,
}

/// The wrapped key of an index of a slot.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Wrapped {
    pub(super) kms_name: String,
    pub(super) key_id: String,
    pub(super) region: String,
    pub(super) version: u32,
    pub(super) wrapped_at: u64,
}

/// A user of an index.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct User {
    pub(super) user_id: String,
    pub(super) permissions: Vec<String>,
}

/// What `rotate` asks for. Not printable: keys are in it.
#[derive(Serialize)]
pub(super) struct Rotation<'a> {
    pub(super) index_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_index_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new_kms_name: Option<&'a str>,
    pub(super) epoch: bool,
}

/// How far an index is on its way to a new key epoch.
#[derive(Deserialize)]
pub(super) struct Progress {
    pub(super) rotating: bool,
    pub(super) phase: String,
    pub(super) items_done: u64,
    pub(super) items_total: u64,
    pub(super) error: Option<String>,
}

/// Calls to one server.
pub(super) struct Api {
    connection: Connection,
    endpoint: Endpoint,
    timeout: Duration,
}

impl Api {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self {
            connection: Connection::new(&endpoint, timeout),
            endpoint,
            timeout,
        }
    }

    /// The names of all indexes.
    pub(super) async fn names(&mut self) -> Result<Vec<String>, ClientError> {
        #[derive(Deserialize)]
        struct Reply {
            indexes: Vec<String>,
        }
        let reply: Reply = self.get("/v1/indexes/list").await?;
        Ok(reply.indexes)
    }

    /// How the key of an index is held.
    pub(super) async fn key(&mut self, index: &str) -> Result<KeyInfo, ClientError> {
        self.get(&path(index, "key")).await
    }

    /// Exchanges the key of an index.
    pub(super) async fn rotate(&mut self, index: &str, rotation: &Rotation<'_>) -> Result<(), ClientError> {
        let path = path(index, "rotate");
        let body = serde_json::to_vec(rotation).map_err(|source| ClientError::Reply {
            path: path.clone(),
            source,
        })?;
        self.connection.post(&path, body.into()).await.map(drop)
    }

    /// How far an index is on its way to a new key epoch.
    pub(super) async fn rotation(&mut self, index: &str) -> Result<Progress, ClientError> {
        self.get(&path(index, "rotation")).await
    }

    /// Revokes a user.
    pub(super) async fn revoke(&mut self, index: &str, user: &str) -> Result<(), ClientError> {
        let path = path(index, &format!("users/{}", segment(user)));
        self.connection.delete(&path).await.map(drop)
    }

    /// The key that calls about this index need; none for one whose key a slot wraps, even if one was given.
    pub(super) fn owners_key(
        &self,
        info: &KeyInfo,
        given: &IndexKeyArgs,
    ) -> Result<Option<SecretText>, KeysError> {
        match info.wrapped {
            Some(_) => Ok(None),
            None => match given.key()? {
                Some(key) => Ok(Some(key)),
                None => Err(KeysError::IndexKey(info.index_name.clone())),
            },
        }
    }

    /// Calls to the same server that carry the key of an index.
    pub(super) fn with_index_key(self, key: Option<&str>) -> Result<Self, ClientError> {
        let Some(key) = key else {
            return Ok(self);
        };
        let endpoint = self
            .endpoint
            .with_secret(HeaderName::from_static("x-index-key"), key)?;
        Ok(Self::new(endpoint, self.timeout))
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let body = self.connection.get(path).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Reply {
            path: path.into(),
            source,
        })
    }
}

fn path(index: &str, rest: &str) -> String {
    format!("/v1/indexes/{}/{rest}", segment(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_segment() {
        assert_eq!(path("a b/ü", "key"), "/v1/indexes/a%20b%2F%C3%BC/key");
        assert_eq!(path("..", "key"), "/v1/indexes/%2E%2E/key");
        assert_eq!(path("plain-name_1", "rotate"), "/v1/indexes/plain-name_1/rotate");
    }
}
