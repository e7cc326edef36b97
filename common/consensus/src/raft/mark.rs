//! How far a state machine is: what it stores with its state, and what consensus finds its place in the log by.

use super::format::{self, FormatError, WirePosition};
use super::types::{LogId, SnapshotMeta};
use crate::LogIndex;
use bytes::Bytes;
use std::fmt;

/// A place in a group's log and the membership that held there. To whoever stores it, so many bytes: they carry a version and
/// a checksum of their own.
#[derive(Clone, Eq, PartialEq)]
pub struct Mark {
    meta: SnapshotMeta,
    bytes: Bytes,
}

/// Bytes that are not a mark: damaged, or of an unknown version.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the mark of a replica cannot be read ({0}); restore this node from a replica or a backup")]
pub struct MarkError(&'static str);

impl From<FormatError> for MarkError {
    fn from(error: FormatError) -> Self {
        Self(error.0)
    }
}

impl Mark {
    /// Reads a mark back from what [`as_bytes`](Self::as_bytes) gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MarkError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut content = format::open_record(bytes.clone())?;
        let position: WirePosition = format::take(&mut content)?;
        let meta = position.try_into()?;
        Ok(Self { meta, bytes })
    }

    /// The mark of a group without members whose last entry is at `index`: for tests of state machines.
    pub fn at(index: LogIndex) -> Self {
        Self::from_meta(SnapshotMeta {
            last_log_id: Some(LogId::new_term_index(0, index.0)),
            last_membership: Default::default(),
        })
    }

    /// What is to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The place in the log: every entry up to it is applied.
    pub fn index(&self) -> LogIndex {
        LogIndex(self.meta.last_log_id.map_or(0, |id| id.index))
    }

    pub(crate) fn from_meta(meta: SnapshotMeta) -> Self {
        let bytes = format::record(|out| format::put(out, &WirePosition::from(&meta)));
        Self {
            meta,
            bytes: bytes.into(),
        }
    }

    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.meta.last_log_id
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark({})", self.meta)
    }
}
