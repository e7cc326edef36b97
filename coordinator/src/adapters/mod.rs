//! Where the catalogue meets storage and its log format.

mod catalog_codec;
mod catalog_store;
mod key_codec;

pub use catalog_store::{CatalogError, CatalogHandle};
