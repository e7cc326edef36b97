//! Where the catalogue meets storage and its log format.

mod catalog_codec;
mod catalog_store;

pub use catalog_store::{CatalogError, CatalogHandle};
