//! Zone P: records are opened here, for the length of one request, and what is read from them goes back to the caller
//! and nowhere else: not to storage, not into the log, not into a log line.

mod access;
mod blocks;
mod fetch;
mod reservoir;
mod resolve;
mod scratch;
mod search;
mod sweep;
mod walk;

pub(crate) use access::{Access, ItemRecord};
pub(crate) use blocks::{DAMAGED, Place, cluster_rows};
pub(crate) use fetch::{current, fetch};
pub(crate) use resolve::resolve;
pub(crate) use scratch::Scratch;
pub(crate) use search::search;
#[cfg(test)]
pub(crate) use search::search_listed;
pub(crate) use walk::walk;
