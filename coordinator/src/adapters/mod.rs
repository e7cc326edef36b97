//! Where the catalogue meets storage and its log format, and where keys meet those who wrap them.

mod catalog_codec;
mod catalog_store;
mod deployment_codec;
mod deployment_command_codec;
mod key_codec;
pub mod kms;
mod metadata_codec;
pub mod registry;

pub use catalog_store::{CatalogError, CatalogHandle};
