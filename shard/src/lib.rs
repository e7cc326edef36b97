//! A shard node: sealed records of its partitions, and what is read from them under a lease.
//!
//! - **Zone C**, `storage` and `partition`: ciphertext on disk and the log that changes it. Could not open a record.
//! - **Zone K**, `lease`: the keys lent to this node, for a minute after their last use.
//! - **Zone P**, `scan` and `maintenance`: records are opened for the length of one request.
//!
//! This crate must never know an index's name, an item's home, a client or a route: whoever asks has found out which
//! partition to ask. It depends on the common crates and on no coordinator; the `cli` joins the two in one process.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod lease;
mod maintenance;
mod node;
mod partition;
mod pool;
mod scan;
mod storage;

pub use node::{Node, Options};
