//! Where the catalogue meets storage and its log format, and where keys meet those who wrap them.

mod catalog_codec;
mod catalog_store;
mod key_codec;
pub mod kms;
pub mod registry;

pub use catalog_store::{CatalogError, CatalogHandle};
