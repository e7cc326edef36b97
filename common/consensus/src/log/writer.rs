//! The one ordered stream of writes into the log database. What waits is written and synced together, for all groups; each
//! write is told its end once, in order, and only when it is on the disk. Votes and entries must not overtake each other.

use super::database::{Batch, Database};
use crate::raft::types::{Entry, LogId, Types, Vote};
use crate::{GroupId, StorageFault};
use openraft::storage::IOFlushed;
use sealdex_telemetry::metrics;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// Writes in one batch at most.
const WRITES_PER_BATCH_MAX: usize = 1024;

/// What to do when storage fails: end the process.
pub(crate) type OnFault = Arc<dyn Fn(&StorageFault) + Send + Sync>;

/// A change of one group's log.
pub(super) struct Write {
    pub(super) group: GroupId,
    pub(super) change: Change,
    pub(super) done: Done,
}

pub(super) enum Change {
    Append(Vec<Entry>),
    Vote(Vote),
    /// Entries from here on go.
    Truncate(u64),
    /// Entries from the index to that of the id go.
    Purge(u64, LogId),
    /// All go but the vote; with the last entry that there was.
    Forget(Option<LogId>),
    /// A forgotten group has again what it once had.
    Recall,
    /// None: what came before it is on the disk when it is told.
    Settle,
}

/// Who is told.
pub(super) enum Done {
    /// The log has been written up to before this index.
    Append(IOFlushed<Types>, Arc<watch::Sender<u64>>, u64),
    Truncate(oneshot::Sender<()>, Arc<watch::Sender<u64>>, u64),
    Other(oneshot::Sender<()>),
    Nobody,
}

/// The way into the stream.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::UnboundedSender<Write>,
}

impl Writer {
    /// Starts the stream into `database`. What waits in it is bounded by those who fill it: proposals have a limit, a leader
    /// has one message to a follower under way.
    pub(crate) fn start(database: Arc<Database>, on_fault: OnFault) -> (Self, Stream) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let (close, closed) = oneshot::channel();
        let task = tokio::spawn(run(database, receiver, closed, on_fault));
        (Self { queue }, Stream { close, task })
    }

    /// Hands a write in.
    pub(super) fn send(&self, write: Write) {
        if let Err(mpsc::error::SendError(write)) = self.queue.send(write) {
            write.done.fail(&closed());
        }
    }
}

/// The stream itself.
pub(crate) struct Stream {
    close: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Stream {
    /// Ends it when everything that was handed in is on the disk, and lets go of the database.
    pub(crate) async fn close(self) {
        // It has ended if there was a fault.
        let _ = self.close.send(());
        let _ = self.task.await;
    }

    /// Ends it at once, whatever waits, as a crash does.
    #[cfg(test)]
    pub(crate) async fn abandon(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn run(
    database: Arc<Database>,
    mut queue: mpsc::UnboundedReceiver<Write>,
    mut close: oneshot::Receiver<()>,
    on_fault: OnFault,
) {
    let mut writes = Vec::new();
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            received = queue.recv_many(&mut writes, WRITES_PER_BATCH_MAX) => if received == 0 {
                return;
            },
            // Whoever started the stream may also forget about it: it lasts as long as there is something to write.
            closed = &mut close, if open => {
                open = false;
                if closed.is_ok() {
                    queue.close();
                }
                continue;
            }
        }
        let batch = std::mem::take(&mut writes);
        let database = Arc::clone(&database);
        let commit = tokio::task::spawn_blocking(move || {
            let outcome = commit(&database, &batch);
            drop(database);
            (batch, outcome)
        });
        match commit.await {
            Ok((batch, Ok(()))) => batch.into_iter().for_each(|write| write.done.tell()),
            Ok((batch, Err(fault))) => {
                on_fault(&fault);
                batch.into_iter().for_each(|write| write.done.fail(&fault));
                break;
            }
            Err(error) => {
                on_fault(&StorageFault::new(error));
                break;
            }
        }
    }
    queue.close();
    while let Some(write) = queue.recv().await {
        write.done.fail(&closed());
    }
}

fn closed() -> StorageFault {
    StorageFault::new("the log is closed")
}

fn commit(database: &Database, writes: &[Write]) -> Result<(), StorageFault> {
    let begun = Instant::now();
    let mut batch = database.batch();
    for Write { group, change, .. } in writes {
        put(&mut batch, *group, change);
    }
    database.commit(batch)?;
    let entries = writes.iter().map(|write| write.change.entries()).sum();
    metrics().log.synced(entries, begun.elapsed());
    Ok(())
}

fn put(batch: &mut Batch<'_>, group: GroupId, change: &Change) {
    match change {
        Change::Append(entries) => entries.iter().for_each(|entry| batch.append(group, entry)),
        Change::Vote(vote) => batch.vote(group, *vote),
        Change::Truncate(from) => batch.delete(group, *from..u64::MAX),
        Change::Purge(from, upto) => {
            batch.purged(group, *upto);
            batch.delete(group, *from..upto.index + 1);
        }
        Change::Forget(last) => batch.forget(group, *last),
        Change::Recall => batch.recalled(group),
        Change::Settle => {}
    }
}

impl Change {
    /// Entries that it adds.
    fn entries(&self) -> usize {
        match self {
            Self::Append(entries) => entries.len(),
            _ => 0,
        }
    }
}

impl Done {
    fn tell(self) {
        match self {
            Self::Append(flushed, written, end) => {
                written.send_replace(end);
                flushed.io_completed(Ok(()));
            }
            Self::Truncate(waiter, written, end) => {
                written.send_replace(end);
                // Nobody waits any more: the group is gone.
                let _ = waiter.send(());
            }
            Self::Other(waiter) => {
                let _ = waiter.send(());
            }
            Self::Nobody => {}
        }
    }

    /// Whoever waits at a channel learns it from the channel's end.
    fn fail(self, fault: &StorageFault) {
        if let Self::Append(flushed, ..) = self {
            flushed.io_completed(Err(fault.clone().into()));
        }
    }
}
