//! Snapshots on their way from one replica to another: as a stream of pieces, and as a file that is complete before it is
//! installed. What is in them is the state machine's affair.

mod piece;
mod staging;

pub(crate) use piece::{Header, outgoing, read_header};
pub(crate) use staging::{Staged, Staging};

use crate::SnapshotReader;

/// What openraft hands around as a snapshot.
pub(crate) enum Transfer {
    /// Nothing but its position was asked for.
    Position,
    /// The state of this node, to be sent.
    Reading(Box<dyn SnapshotReader>),
    /// The state of another node, received whole.
    Staged(Staged),
}
