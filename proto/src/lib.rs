//! Formats that cross a process or outlive one: the entries of the logs and what is stored beside sealed records.
//!
//! Wire types only; no logic, no domain types. Generated types have no `Debug`, so that a record cannot end up in a log
//! line by accident.

/// The version written into every entry and every stored message. A reader refuses what is newer than itself.
pub const ENTRY_VERSION: u32 = 1;

/// The log of one partition.
#[allow(missing_docs, unreachable_pub, clippy::doc_markdown)]
pub mod partition {
    include!(concat!(env!("OUT_DIR"), "/sealdex.partition.v1.rs"));
}

/// The metadata of a deployment.
#[allow(missing_docs, unreachable_pub, clippy::doc_markdown)]
pub mod catalog {
    include!(concat!(env!("OUT_DIR"), "/sealdex.catalog.v1.rs"));
}
