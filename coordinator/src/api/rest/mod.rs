//! The REST edge: the HTTP API that existing clients speak.
//!
//! ```text
//! server ── accepts, shutdown; connections (who may hold one); connection (deadlines, places)
//!   router ── request_log ── authentication, request id, one log line, panics
//!     call ── body (bytes, within limits) ── json (grammar, shapes) ── dto (a request of the service)
//!       indexes, users, vectors, cluster, health, docs ── handlers: open the index, call one use case, reply
//! ```
//!
//! It knows nothing of storage, ciphers or consensus, and holds no state of its own. An index's key passes through it
//! only as [`KeyInput`](crate::service::KeyInput).

mod body;
mod call;
mod cluster;
mod connection;
mod connections;
mod docs;
mod dto;
mod edge;
mod errors;
mod health;
mod indexes;
mod json;
mod openapi;
mod reply;
mod request_log;
mod router;
mod server;
mod users;
mod vectors;

pub use openapi::openapi;
pub use server::{ServerOptions, serve};
