//! Where the catalogue meets storage and its log format, where keys meet those who wrap them, and where shards are reached in other
//! processes.

mod catalog_codec;
mod catalog_store;
mod key_codec;
pub mod kms;
pub mod registry;
pub mod shard_grpc;

pub use catalog_store::{CatalogError, CatalogHandle};
