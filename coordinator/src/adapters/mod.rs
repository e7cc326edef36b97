//! Where the catalogue meets storage and its log format, where keys meet those who wrap them, and where shards are reached in other
//! processes.

mod catalog_codec;
mod catalog_store;
mod deployment_codec;
mod deployment_command_codec;
mod key_codec;
pub mod kms;
mod metadata_codec;
pub mod registry;
pub mod shard_grpc;

pub use catalog_store::{CatalogError, CatalogHandle};
