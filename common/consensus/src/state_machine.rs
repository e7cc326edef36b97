//! What a group asks of the state it replicates. Knows nothing of queues, threads, networks or the log's own storage.

use crate::Mark;
use bytes::Bytes;
use std::fmt;

/// State that changes by applying log entries, and by nothing else.
///
/// Its changes need not be durable when they are made: the log is, and what was lost is applied again from
/// [`durable`](Self::durable) on. What must hold is that changes and mark are one: whatever state survives a crash is
/// exactly the one that its mark names.
pub trait StateMachine: Send + 'static {
    /// What a proposer gets back. A refusal is a reply too: every replica must reach the same one.
    type Reply: Send + 'static;

    /// Applies `entries` in order, replaces the mark by `mark`, and returns one reply for each entry. Readers see all of
    /// it or nothing, and so does whoever opens the state after a crash. There may be no entry: then only the mark moves.
    ///
    /// A pure function of state and entries: no clock, no randomness, no keys. An error is a failure of storage and
    /// ends the process.
    fn apply(&mut self, entries: &[Entry], mark: &Mark) -> Result<Vec<Self::Reply>, StorageFault>;

    /// The mark of what was applied last; `None` if nothing ever was.
    fn mark(&self) -> Option<Mark>;

    /// Makes everything that was applied so far durable.
    fn flush(&mut self) -> Result<(), StorageFault>;

    /// The mark that a power cut at this moment would leave.
    fn durable(&self) -> Result<Option<Mark>, StorageFault>;

    /// The whole state as it is now, to be read later, elsewhere, while this one goes on changing.
    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageFault>;

    /// Replaces the whole state by that of `snapshot`, and the mark by `mark`. It may be called again with the same snapshot
    /// after a crash in the middle: until then the state is nobody's, and no one reads it.
    fn install(&mut self, snapshot: &mut dyn SnapshotReader, mark: &Mark) -> Result<(), StorageFault>;
}

/// A snapshot in pieces, whose content is the state machine's own affair.
pub trait SnapshotReader: Send {
    /// The next piece, of one MiB or little more; `None` after the last. May block.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageFault>;
}

/// One entry of a group's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its place in the log.
    pub index: LogIndex,
    /// What was proposed.
    pub payload: Bytes,
}

/// A place in a group's log. What is proposed has 1 and more; 0 is the founding of the group, and stands for "nothing
/// yet".
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogIndex(pub u64);

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

impl StorageFault {
    pub(crate) fn new(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}

impl From<StorageFault> for std::io::Error {
    fn from(fault: StorageFault) -> Self {
        Self::other(fault)
    }
}
