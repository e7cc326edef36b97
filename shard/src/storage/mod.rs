//! Zone C: sealed records on disk. The only module that names RocksDB, and one that could not open a record.

mod db;
mod families;
mod format;
mod housekeeper;
mod keys;

pub(crate) use db::{Batch, Database, Pinned, View};
pub(crate) use families::Family;
pub(crate) use format::claim;
pub(crate) use housekeeper::{Dropped, Housekeeper};
pub(crate) use keys::{Keys, NODE_KEY, block_of, inbox_of, index_of, item_of, partition_key, prefix_end};
