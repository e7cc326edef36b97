//! The coordinator: REST edge, authentication, catalogue, key custody, planning, fan-out and merge, background jobs.
//!
//! `api` (transport, thin) → `service` (use cases) → `domain` (pure) ← `ports` (what the service needs of others)
//! ← `adapters`. It never imports the shard crate: shards are reached through [`ports::ShardClient`] alone, as a
//! function call within one process or over the network.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![forbid(unsafe_code)]

pub mod adapters;
pub mod api;
pub mod auth;
pub mod domain;
pub mod own_word;
pub mod ports;
pub mod reporter;
pub mod service;
pub mod steward;
