//! The logs of all groups of a process: one database, one ordered stream of writes into it, and for each group what openraft
//! asks of a log.

mod database;
mod keys;
mod store;
mod tail;
mod writer;

pub(crate) use database::Database;
pub(crate) use store::{LogReader, LogStore};
pub(crate) use writer::{OnFault, Stream, Writer};

#[cfg(test)]
pub(crate) mod tests;
