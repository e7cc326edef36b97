//! Zone C: what the log of a partition does to its records. Labels, counts and sealed bytes; no key comes in here.

mod blocks;
mod changes;
mod directory;
mod generations;
mod inbox;
mod index_state;
mod items;
mod locator;
mod snapshot;
mod state_machine;
mod write_keys;

#[cfg(test)]
mod tests;

pub(crate) use directory::{BlockRef, Directory};
pub(crate) use inbox::{list as list_inbox, read as read_inbox};
pub(crate) use index_state::WriteKey;
pub(crate) use locator::Locator;
pub(crate) use snapshot::clear;
pub(crate) use state_machine::Partition;
