//! What every handler has at hand.

use super::body::Bodies;
use super::dto::SentKey;
use super::reply;
use crate::auth::{Authenticator, Caller};
use crate::service::{IndexRef, KeyInput, OpenIndex, Service, ServiceError};
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;

/// Bodies and replies above this size are handled by the compute threads: the async threads have all connections to
/// serve. Below it, the way there and back costs more than it spares.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// The state of the router. Cheap to clone.
#[derive(Clone)]
pub(super) struct Edge {
    pub(super) service: Arc<Service>,
    pub(super) authenticator: Authenticator,
    pub(super) bodies: Bodies,
}

impl Edge {
    /// Opens the index that a request names, with the key that came with it.
    pub(super) async fn open(
        &self,
        caller: &Caller,
        name: String,
        key: SentKey,
    ) -> Result<OpenIndex, ServiceError> {
        // A user's rights come with their token; a key that they send beside it is not looked at. Their client may have been made when
        // the index had one, and goes on when a KMS keeps it.
        let key = match caller.token() {
            Some(_) => KeyInput::Absent,
            None => key.into_input()?,
        };
        self.service.open_index(caller, IndexRef { name, key }).await
    }

    /// Runs `task`, which handles about this many bytes, where it delays nobody else.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        bytes: usize,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        if bytes <= INLINE_BYTES_MAX {
            Ok(task())
        } else {
            self.service.cpu.run(task).await
        }
    }

    /// An answer of about this many bytes.
    pub(super) async fn reply<T: Serialize + Send + 'static>(
        &self,
        bytes: usize,
        body: T,
    ) -> Result<Response, ServiceError> {
        self.compute(bytes, move || reply::ok(&body)).await
    }
}
