//! Between openraft and a state machine: entries in batches, off the async threads, and never before the log has them on the
//! disk. Whatever survives of the state after a crash is then in the log too.

use crate::raft::mark::Mark;
use crate::raft::types::{LogId, Payload, Reply, SnapshotMeta, StoredMembership, Types};
use crate::snapshot::Transfer;
use crate::{LogIndex, SnapshotReader, StateMachine, StorageFault};
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, watch};

use crate::log::OnFault;

type Snapshot = openraft::alias::SnapshotOf<Types, Transfer>;

/// Entries in one apply: bounds how long the first of them waits for the last.
const ENTRIES_PER_APPLY_MAX: usize = 512;

/// Bytes after which an apply takes no further entry.
const BYTES_PER_APPLY: usize = 16 * 1024 * 1024;

/// What an entry takes beside its payload, about.
const ENTRY_BYTES: usize = 64;

/// A state machine whose type of replies is not known.
pub(crate) trait Erased: Send {
    fn apply(&mut self, entries: &[crate::Entry], mark: &Mark) -> Result<Vec<Reply>, StorageFault>;
    fn mark(&self) -> Option<Mark>;
    fn flush(&mut self) -> Result<(), StorageFault>;
    fn durable(&self) -> Result<Option<Mark>, StorageFault>;
    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageFault>;
    fn install(&mut self, snapshot: &mut dyn SnapshotReader, mark: &Mark) -> Result<(), StorageFault>;
}

impl<S: StateMachine> Erased for S {
    fn apply(&mut self, entries: &[crate::Entry], mark: &Mark) -> Result<Vec<Reply>, StorageFault> {
        let replies = StateMachine::apply(self, entries, mark)?;
        assert_eq!(
            replies.len(),
            entries.len(),
            "a state machine replies once to each entry"
        );
        Ok(replies.into_iter().map(Reply::new).collect())
    }

    fn mark(&self) -> Option<Mark> {
        StateMachine::mark(self)
    }

    fn flush(&mut self) -> Result<(), StorageFault> {
        StateMachine::flush(self)
    }

    fn durable(&self) -> Result<Option<Mark>, StorageFault> {
        StateMachine::durable(self)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageFault> {
        StateMachine::snapshot(self)
    }

    fn install(&mut self, snapshot: &mut dyn SnapshotReader, mark: &Mark) -> Result<(), StorageFault> {
        StateMachine::install(self, snapshot, mark)
    }
}

/// The one door to a state machine. Calls run one at a time on a blocking thread; the first that fails is the last.
#[derive(Clone)]
pub(crate) struct Machine {
    inner: Arc<Mutex<Option<Box<dyn Erased>>>>,
    on_fault: OnFault,
}

impl Machine {
    pub(crate) fn new(machine: impl StateMachine, on_fault: OnFault) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Some(Box::new(machine)))),
            on_fault,
        }
    }

    pub(crate) async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Erased) -> Result<R, StorageFault> + Send + 'static,
    ) -> io::Result<R> {
        let machine = self.clone();
        let called = tokio::task::spawn_blocking(move || machine.call_here(call)).await;
        Ok(called.map_err(io::Error::other)??)
    }

    fn call_here<R>(
        &self,
        call: impl FnOnce(&mut dyn Erased) -> Result<R, StorageFault>,
    ) -> Result<R, StorageFault> {
        let mut inner = self.inner.lock();
        let Some(machine) = inner.as_mut() else {
            return Err(StorageFault::new("the replica is closed"));
        };
        // A panic leaves the state in memory half changed. It must not be used again, so it counts as a fault.
        let outcome = catch_unwind(AssertUnwindSafe(|| call(machine.as_mut())))
            .unwrap_or_else(|_| Err(StorageFault::new("the state machine panicked")));
        if let Err(fault) = &outcome {
            *inner = None;
            (self.on_fault)(fault);
        }
        outcome
    }

    /// Drops the state machine.
    pub(crate) async fn close(&self) {
        let machine = self.inner.lock().take();
        // Closing may block as well as anything else.
        let _ = tokio::task::spawn_blocking(move || drop(machine)).await;
    }
}

/// How far a replica's state machine is, for those who wait for it or clean up behind it.
#[derive(Default)]
pub(crate) struct Progress {
    /// The index before which everything is applied.
    pub(crate) applied: watch::Sender<u64>,
    /// Bytes of all entries that were applied since the start.
    pub(crate) bytes: AtomicU64,
    /// Told when there is something to clean up.
    pub(crate) grown: Notify,
}

/// What openraft takes for the state machine.
pub(crate) struct Applier {
    machine: Machine,
    at: SnapshotMeta,
    log: watch::Receiver<u64>,
    progress: Arc<Progress>,
}

/// What is applied at once.
#[derive(Default)]
struct Batch {
    entries: Vec<crate::Entry>,
    responders: Vec<Option<ApplyResponder<Types>>>,
    others: Vec<ApplyResponder<Types>>,
    bytes: usize,
    len: usize,
}

impl Applier {
    /// Goes on from where `machine` is. Nothing is applied that is not before the index in `log`.
    pub(crate) async fn new(
        machine: Machine,
        log: watch::Receiver<u64>,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        let mark = machine.call(|machine| Ok(machine.mark())).await?;
        let at = mark.map(|mark| mark.meta().clone()).unwrap_or_default();
        progress.applied.send_replace(after(at.last_log_id));
        Ok(Self {
            machine,
            at,
            log,
            progress,
        })
    }

    /// Where it is.
    pub(crate) fn position(&self) -> &SnapshotMeta {
        &self.at
    }

    fn take(&mut self, batch: &mut Batch, (entry, responder): EntryResponder<Types>) {
        self.at.last_log_id = Some(entry.log_id);
        batch.len += 1;
        batch.bytes += ENTRY_BYTES;
        match entry.payload {
            Payload::Normal(command) => {
                batch.bytes += command.0.len();
                batch.entries.push(crate::Entry {
                    index: LogIndex(entry.log_id.index),
                    payload: command.0,
                });
                batch.responders.push(responder);
            }
            Payload::Blank => batch.others.extend(responder),
            Payload::Membership(membership) => {
                self.at.last_membership = StoredMembership::new(Some(entry.log_id), membership);
                batch.others.extend(responder);
            }
        }
    }

    async fn apply_batch(&mut self, batch: Batch) -> io::Result<()> {
        let end = after(self.at.last_log_id);
        self.log
            .wait_for(|written| *written >= end)
            .await
            .map_err(|_| io::Error::other("the log is closed"))?;
        let Batch {
            entries,
            responders,
            others,
            bytes,
            ..
        } = batch;
        let mark = Mark::from_meta(self.at.clone());
        let replies = self
            .machine
            .call(move |machine| machine.apply(&entries, &mark))
            .await?;
        self.progress.applied.send_replace(end);
        self.progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress.grown.notify_one();
        for (responder, reply) in responders.into_iter().zip(replies) {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        others
            .into_iter()
            .for_each(|responder| responder.send(Reply::default()));
        Ok(())
    }
}

fn after(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = Transfer;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.at.last_log_id, self.at.last_membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        loop {
            let mut batch = Batch::default();
            let mut more = true;
            while batch.len < ENTRIES_PER_APPLY_MAX && batch.bytes < BYTES_PER_APPLY && more {
                match entries.try_next().await? {
                    Some(entry) => self.take(&mut batch, entry),
                    None => more = false,
                }
            }
            if batch.len > 0 {
                self.apply_batch(batch).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        Some(Builder {
            machine: self.machine.clone(),
            flush: force,
        })
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            machine: self.machine.clone(),
            flush: false,
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Transfer) -> io::Result<()> {
        let mark = Mark::from_meta(meta.clone());
        self.machine
            .call(move |machine| match snapshot {
                Transfer::Position => Err(StorageFault::new("a snapshot has no content")),
                Transfer::Reading(mut reader) => machine.install(reader.as_mut(), &mark),
                Transfer::Staged(staged) => {
                    staged.adopt().map_err(StorageFault::new)?;
                    install(machine, staged, &mark)
                }
            })
            .await?;
        self.at = meta.clone();
        self.progress.applied.send_replace(after(meta.last_log_id));
        Ok(())
    }

    /// The state as it is now. It may be further than what openraft was told of: whoever gets it goes on from there.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.machine
            .call(|machine| {
                let Some(mark) = machine.mark() else {
                    return Ok(None);
                };
                Ok(Some(Snapshot {
                    meta: mark.meta().clone(),
                    snapshot: Transfer::Reading(machine.snapshot()?),
                }))
            })
            .await
    }
}

/// Installs a snapshot that has the name under which a start finds it, until its content is durable. Blocks.
pub(crate) fn install(
    machine: &mut dyn Erased,
    staged: crate::snapshot::Staged,
    mark: &Mark,
) -> Result<(), StorageFault> {
    let mut reader = staged.open().map_err(StorageFault::new)?;
    machine.install(&mut reader, mark)?;
    machine.flush()?;
    staged.discard().map_err(StorageFault::new)
}

/// To openraft, a snapshot is what lets the log be purged: the state that a power cut leaves.
pub(crate) struct Builder {
    machine: Machine,
    flush: bool,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Transfer;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let flush = self.flush;
        let mark = self
            .machine
            .call(move |machine| {
                if flush {
                    machine.flush()?;
                }
                machine.durable()
            })
            .await?;
        Ok(Snapshot {
            meta: mark.map(|mark| mark.meta().clone()).unwrap_or_default(),
            snapshot: Transfer::Position,
        })
    }
}
