//! The data plane's values as messages and back: one function each way for each value, and nowhere else. What does not parse is
//! refused, never guessed. Rows are packed, so that a reply of many thousands is a few pieces of memory.

mod error;
mod fold;
mod inbox;
mod items;
mod packed;
mod place;
mod rows;
mod scan;

pub use error::{did_nothing, error_of_status, read_refusal, refusal, status_of_error};
pub use fold::{
    fold_request, read_fold_request, read_reseal_request, read_resealed, reseal_request, resealed,
};
pub use inbox::{inbox_reply, inbox_request, read_inbox_reply, read_inbox_request};
pub use items::{
    fetch_reply, fetch_request, read_fetch_reply, read_fetch_request, read_walk_reply, read_walk_request,
    walk_reply, walk_request,
};
pub use place::{applied, counted, partition, read_applied, read_counted, read_target, target};
pub use rows::{
    blob_reply, blob_request, cluster_rows, cluster_rows_request, current_reply, current_request,
    read_blob_reply, read_blob_request, read_cluster_rows, read_cluster_rows_request, read_current_reply,
    read_current_request,
};
pub use scan::{
    read_resolve_reply, read_resolve_request, read_scan_reply, read_scan_request, resolve_reply,
    resolve_request, scan_reply, scan_request,
};

use sealdex_index::dataplane::ShardError;

/// A message that does not say what it must.
pub const MALFORMED: ShardError = ShardError::BadEntry("payload");

#[cfg(test)]
mod tests;
