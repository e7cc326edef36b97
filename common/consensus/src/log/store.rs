//! The log of one group, as openraft asks for it. What was appended can be read at once, and counts when it is on the disk.

use super::database::{Database, LogStoreError};
use super::tail::Tail;
use super::writer::{Change, Done, Write, Writer};
use crate::GroupId;
use crate::raft::types::{Entry, LogId, Types, Vote};
use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// Bytes of entries that are read at once: of a message between nodes, and of a step when entries are applied.
const READ_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The log of one group: what writes it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Arc<Log>,
}

/// The log of one group: what reads it.
#[derive(Clone)]
pub(crate) struct LogReader {
    log: Arc<Log>,
}

struct Log {
    group: GroupId,
    database: Arc<Database>,
    writer: Writer,
    state: Mutex<State>,
    /// The index before which everything is on the disk.
    written: Arc<watch::Sender<u64>>,
}

struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    forgotten: Option<LogId>,
    tail: Tail,
}

fn next(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

fn ended<T>(_: T) -> io::Error {
    io::Error::other("the log is closed")
}

impl LogStore {
    /// The log of `group` as it is in the database. Blocks.
    pub(crate) fn open(
        group: GroupId,
        database: Arc<Database>,
        writer: Writer,
    ) -> Result<Self, LogStoreError> {
        let stored = database.load(group)?;
        let end = next(stored.last);
        let state = State {
            vote: stored.vote,
            purged: stored.purged,
            last: stored.last,
            forgotten: stored.forgotten,
            tail: Tail::new(end),
        };
        let log = Log {
            group,
            database,
            writer,
            state: Mutex::new(state),
            written: Arc::new(watch::Sender::new(end)),
        };
        Ok(Self { log: Arc::new(log) })
    }

    pub(crate) fn reader(&self) -> LogReader {
        LogReader {
            log: Arc::clone(&self.log),
        }
    }

    /// Deletes everything but the vote: a replica that comes back under the same name must not vote twice in a term. Waits
    /// until it is on the disk.
    pub(crate) async fn forget(&self) -> io::Result<()> {
        let last = {
            let mut state = self.log.state.lock();
            let last = state.last.max(state.forgotten);
            state.purged = None;
            state.last = None;
            state.forgotten = last;
            state.tail = Tail::new(0);
            last
        };
        self.log.write(Change::Forget(last)).await
    }

    /// Waits until everything that was handed in is on the disk.
    pub(crate) async fn settle(&self) -> io::Result<()> {
        self.log.write(Change::Settle).await
    }

    /// Whether [`erase_purged`](Self::erase_purged) has room to begin.
    pub(crate) fn has_room_to_flush(&self) -> bool {
        self.log.database.has_room_to_flush()
    }

    /// Rewrites the files that held what was purged. Blocks.
    pub(crate) fn erase_purged(&self) -> Result<(), LogStoreError> {
        self.log.database.erase_purged(self.log.group)
    }
}

impl LogReader {
    /// The id of the last entry that was purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.log.state.lock().purged
    }

    /// The index before which everything is on the disk.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.log.written.subscribe()
    }

    /// Whether the replica lacks entries that it had when it was forgotten. It may have promised them to others, so it takes
    /// no part in elections until it has them, or what took their place.
    pub(crate) fn is_recovering(&self) -> bool {
        let mut state = self.log.state.lock();
        let Some(forgotten) = state.forgotten else {
            return false;
        };
        if state.last < Some(forgotten) {
            return true;
        }
        state.forgotten = None;
        self.log.writer.send(Write {
            group: self.log.group,
            change: Change::Recall,
            done: Done::Nobody,
        });
        false
    }

    /// Entries of a range, from its start on, as many as fit into `bytes_max`, but one at least. They must be in the log.
    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let on_disk = {
            let state = self.log.state.lock();
            if range.start < next(state.purged) || range.start >= next(state.last) {
                return Err(io::Error::other("entries that are needed are not in the log"));
            }
            let start = state.tail.start();
            if start <= range.start {
                let end = range.end.min(state.tail.end());
                return Ok(state.tail.read(range.start..end, bytes_max));
            }
            range.start..range.end.min(start)
        };
        let (database, group) = (Arc::clone(&self.log.database), self.log.group);
        let read = tokio::task::spawn_blocking(move || database.read(group, on_disk, bytes_max));
        Ok(read.await.map_err(io::Error::other)??)
    }

    /// A range in numbers; without an end, it ends with the log.
    fn asked(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => next(self.log.state.lock().last),
        };
        start..end
    }

    /// The part of a range that is in the log.
    fn within(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let Range { start, end } = self.asked(range);
        let state = self.log.state.lock();
        start.max(next(state.purged))..end.min(next(state.last))
    }
}

impl Log {
    async fn write(&self, change: Change) -> io::Result<()> {
        let (done, waiter) = oneshot::channel();
        self.writer.send(Write {
            group: self.group,
            change,
            done: Done::Other(done),
        });
        waiter.await.map_err(ended)
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let mut range = self.within(&range);
        let mut entries = Vec::new();
        while !range.is_empty() {
            let read = self.read(range.clone(), usize::MAX).await?;
            if read.is_empty() {
                return Err(io::Error::other("entries that are needed are not in the log"));
            }
            range.start += read.len() as u64;
            entries.extend(read);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES_MAX).await
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let reader = self.clone();
        let asked = self.asked(&range);
        // What was purged is missed, what is not there yet is not.
        let end = asked.end.min(next(self.log.state.lock().last));
        let steps = stream::try_unfold(asked.start..end, move |range| {
            let reader = reader.clone();
            async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let entries = reader.read(range.clone(), READ_BYTES_MAX).await?;
                let rest = range.start + entries.len() as u64..range.end;
                Ok::<_, io::Error>(Some((stream::iter(entries.into_iter().map(Ok)), rest)))
            }
        });
        futures_util::TryStreamExt::try_flatten(steps)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.state.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.log.state.lock();
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.log.write(Change::Vote(*vote)).await?;
        self.log.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let end = {
            let mut state = self.log.state.lock();
            for entry in &entries {
                if entry.log_id.index != next(state.last) {
                    return Err(io::Error::other("an append would leave a hole in the log"));
                }
                state.last = Some(entry.log_id);
                state.tail.push(entry.clone());
            }
            let written = *self.log.written.borrow();
            state.tail.shrink(written);
            next(state.last)
        };
        self.log.writer.send(Write {
            group: self.log.group,
            change: Change::Append(entries),
            done: Done::Append(flushed, Arc::clone(&self.log.written), end),
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let end = next(last);
        let (done, waiter) = oneshot::channel();
        {
            let mut state = self.log.state.lock();
            if last >= state.last {
                // Nothing comes after it.
                return Ok(());
            }
            state.last = last.max(state.purged);
            state.tail.truncate(end);
        }
        self.log.writer.send(Write {
            group: self.log.group,
            change: Change::Truncate(end),
            done: Done::Truncate(done, Arc::clone(&self.log.written), end),
        });
        waiter.await.map_err(ended)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let from = {
            let mut state = self.log.state.lock();
            let from = next(state.purged);
            state.purged = state.purged.max(Some(upto));
            state.last = state.last.max(Some(upto));
            state.tail.advance(upto.index + 1);
            from
        };
        self.log.writer.send(Write {
            group: self.log.group,
            change: Change::Purge(from, upto),
            done: Done::Nobody,
        });
        Ok(())
    }
}
