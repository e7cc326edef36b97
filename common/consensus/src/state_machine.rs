//! What a group asks of the state it replicates. Knows nothing of queues, threads or networks.

use bytes::Bytes;
use std::fmt;

/// State that changes by applying log entries, and by nothing else.
pub trait StateMachine: Send + 'static {
    /// What a proposer gets back. A refusal is a reply too: every replica must reach the same one.
    type Reply: Send + 'static;

    /// Applies `entries` in order and returns one reply for each. All of them, together with the new
    /// [`applied`](Self::applied), are durable (synced to disk) before this returns, or none is.
    ///
    /// A pure function of state and entries: no clock, no randomness, no keys. An error is a failure of storage and
    /// ends the process; the state on disk must then still be the one before the call or the one after it.
    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Self::Reply>, StorageFault>;

    /// The last applied entry, as it is on disk.
    fn applied(&self) -> LogIndex;
}

/// One entry of a group's log.
pub struct Entry {
    /// Its place in the log.
    pub index: LogIndex,
    /// What was proposed.
    pub payload: Bytes,
}

/// A place in a group's log. The first entry has 1; 0 stands for "nothing yet".
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The place after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Storage did not do what it must. Nothing can be promised after it: after a failed fsync the kernel forgets which
/// pages were dirty, and trying again may report success for data that is lost.
#[derive(Clone, Debug, thiserror::Error)]
#[error("storage failed: {reason}; check the disk and the file system, then start the process again")]
pub struct StorageFault {
    /// What storage said, for the operator.
    pub reason: String,
}
