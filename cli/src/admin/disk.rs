//! How a disk bears on the readiness of the node that writes to it.

use super::{Condition, Readiness};
use sealdex_consensus::Space;
use std::sync::Arc;

impl Readiness {
    /// The node writes to the disk that `space` watches.
    pub(crate) fn depend_on_disk(&self, space: &Arc<Space>) {
        let space = Arc::downgrade(space);
        self.depend("disk", move || match space.upgrade() {
            Some(space) => condition(&space),
            None => Condition::Bad("closed".to_owned()),
        });
    }
}

/// A full disk is no reason to send requests elsewhere: it takes no growth, but answers all else.
fn condition(space: &Space) -> Condition {
    match space.room() {
        Some(room) if room.free_bytes < room.needed_bytes => Condition::Impaired(format!(
            "writes are refused: {} bytes are free of {} needed; free some space",
            room.free_bytes, room.needed_bytes
        )),
        _ => Condition::Good,
    }
}
