//! The handle of a group: its bounded queue and its end. What happens behind the queue is in `writer`.

use crate::writer::{self, Message, Proposal};
use crate::{Full, Purpose, Space, StateMachine, StorageFault};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Bytes of payload that may wait in one group's queue, in KiB: two of the largest request bodies.
const QUEUED_KIB_MAX: u32 = 128 * 1024;

/// One replicated group. Dropping it lets the queue run dry in the background; [`stop`](Self::stop) waits for that.
pub struct Group<S: StateMachine> {
    queue: mpsc::Sender<Message<S::Reply>>,
    room: Arc<Semaphore>,
    space: Arc<Space>,
    ended: watch::Receiver<()>,
}

/// Why a proposal has no reply.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProposeError {
    /// The queue is full: nothing was proposed, and the same proposal may go through later.
    #[error("too many proposals are waiting")]
    Busy,
    /// The disk is too full for it: nothing was proposed.
    #[error("{0}")]
    Full(#[from] Full),
    /// The group is stopping. Whether the entry was applied is unknown.
    #[error("the group is stopping")]
    Stopped,
}

impl<S: StateMachine> Group<S> {
    /// Starts the group's writer thread under `name`. At most `queue` proposals wait for it, and they must fit into
    /// `space`. The first storage fault ends the process.
    pub fn start(name: &str, state_machine: S, queue: usize, space: Arc<Space>) -> std::io::Result<Self> {
        Self::start_with(name, state_machine, queue, space, end_process)
    }

    fn start_with(
        name: &str,
        state_machine: S,
        queue: usize,
        space: Arc<Space>,
        on_fault: impl FnOnce(&StorageFault) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let (alive, ended) = watch::channel(());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(fault) = writer::run(state_machine, receiver) {
                on_fault(&fault);
            }
            drop(alive);
        })?;
        Ok(Self {
            queue: sender,
            room: Arc::new(Semaphore::new(QUEUED_KIB_MAX as usize)),
            space,
            ended,
        })
    }

    /// Proposes an entry and waits until it is durable and applied.
    ///
    /// A caller that stops waiting does not take its proposal back.
    pub async fn propose(&self, purpose: Purpose, payload: Bytes) -> Result<S::Reply, ProposeError> {
        let admitted = self.space.admit(purpose, payload.len() as u64)?;
        let kib = u32::try_from(payload.len() / 1024 + 1)
            .unwrap_or(u32::MAX)
            .min(QUEUED_KIB_MAX);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(kib)
            .map_err(|_| ProposeError::Busy)?;
        let (reply, answer) = oneshot::channel();
        self.queue
            .try_send(Message::Propose(Proposal {
                payload,
                reply,
                room,
                admitted,
            }))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ProposeError::Busy,
                mpsc::error::TrySendError::Closed(_) => ProposeError::Stopped,
            })?;
        answer.await.map_err(|_| ProposeError::Stopped)
    }

    /// Refuses new proposals, applies those that wait, and returns once the state machine is gone.
    pub async fn stop(&self) {
        // A closed queue means that somebody else stopped the group, or that it failed.
        let _ = self.queue.send(Message::Stop).await;
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

fn end_process(fault: &StorageFault) {
    tracing::error!(%fault, "a replica cannot go on; ending the process");
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, LogIndex};
    use parking_lot::Mutex;
    use std::sync::mpsc as sync_mpsc;

    /// Counts; a payload `fail` is a storage fault, `panic` a bug. Each apply waits for a permission, if there are any.
    struct Counter {
        applied: u64,
        permissions: Option<sync_mpsc::Receiver<()>>,
        batches: Arc<Mutex<Vec<usize>>>,
    }

    impl StateMachine for Counter {
        type Reply = (u64, Bytes);

        fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Self::Reply>, StorageFault> {
            self.batches.lock().push(entries.len());
            if let Some(permissions) = &self.permissions {
                // Whoever drops the sender allows everything.
                let _ = permissions.recv();
            }
            if entries.iter().any(|entry| entry.payload == "fail") {
                return Err(StorageFault {
                    reason: "no".to_owned(),
                });
            }
            assert!(entries.iter().all(|entry| entry.payload != "panic"));
            self.applied = entries.last().unwrap().index.0;
            Ok(entries
                .iter()
                .map(|entry| (entry.index.0, entry.payload.clone()))
                .collect())
        }

        fn applied(&self) -> LogIndex {
            LogIndex(self.applied)
        }
    }

    /// Of a disk that lets every write in.
    fn space() -> Arc<Space> {
        Arc::new(Space::open(&std::env::temp_dir(), Some(0)).unwrap())
    }

    fn counter() -> Counter {
        Counter {
            applied: 7,
            permissions: None,
            batches: Arc::default(),
        }
    }

    #[tokio::test]
    async fn entries_are_numbered_from_the_last_applied_one() {
        let group = Group::start("numbers", counter(), 4, space()).unwrap();
        for n in 8..20 {
            let payload = Bytes::from(vec![n as u8]);
            assert_eq!(
                group.propose(Purpose::Grow, payload.clone()).await,
                Ok((n, payload))
            );
        }
        group.stop().await;
    }

    /// A group whose writer is busy with a first entry until it is allowed to go on.
    async fn busy(queue: usize) -> (Arc<Group<Counter>>, sync_mpsc::Sender<()>, Arc<Mutex<Vec<usize>>>) {
        let (allow, permissions) = sync_mpsc::channel();
        let batches: Arc<Mutex<Vec<usize>>> = Arc::default();
        let machine = Counter {
            permissions: Some(permissions),
            batches: Arc::clone(&batches),
            ..counter()
        };
        let group = Arc::new(Group::start("busy", machine, queue, space()).unwrap());
        spawn(&group, 1);
        while batches.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        (group, allow, batches)
    }

    type Answer = tokio::task::JoinHandle<Result<(u64, Bytes), ProposeError>>;

    fn spawn(group: &Arc<Group<Counter>>, proposals: u8) -> Vec<Answer> {
        let propose = |n| {
            let group = Arc::clone(group);
            tokio::spawn(async move { group.propose(Purpose::Grow, Bytes::from(vec![n])).await })
        };
        (0..proposals).map(propose).collect()
    }

    #[tokio::test]
    async fn what_waits_is_applied_together_and_in_order() {
        let (group, allow, batches) = busy(64).await;
        let waiting = spawn(&group, 19);
        while group.queue.capacity() != 64 - 19 {
            tokio::task::yield_now().await;
        }
        drop(allow);
        for (n, proposal) in waiting.into_iter().enumerate() {
            assert_eq!(
                proposal.await.unwrap(),
                Ok((n as u64 + 9, Bytes::from(vec![n as u8])))
            );
        }
        assert_eq!(*batches.lock(), [1, 19]);
    }

    #[tokio::test]
    async fn a_full_queue_refuses() {
        let (group, allow, _) = busy(2).await;
        let waiting = spawn(&group, 2);
        while group.queue.capacity() != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            group.propose(Purpose::Grow, Bytes::new()).await,
            Err(ProposeError::Busy)
        );
        drop(allow);
        for proposal in waiting {
            assert!(proposal.await.unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn too_many_bytes_refuse() {
        let (allow, permissions) = sync_mpsc::channel();
        let group = Arc::new(
            Group::start(
                "bytes",
                Counter {
                    permissions: Some(permissions),
                    ..counter()
                },
                64,
                space(),
            )
            .unwrap(),
        );
        let large = Bytes::from(vec![0; QUEUED_KIB_MAX as usize * 1024 + 5]);
        let first = tokio::spawn({
            let (group, large) = (Arc::clone(&group), large.clone());
            async move { group.propose(Purpose::Grow, large).await.map(|(index, _)| index) }
        });
        while group.room.available_permits() != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            group.propose(Purpose::Grow, Bytes::new()).await,
            Err(ProposeError::Busy)
        );
        allow.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(8));
        allow.send(()).unwrap();
        assert_eq!(
            group.propose(Purpose::Grow, large).await.map(|(index, _)| index),
            Ok(9)
        );
    }

    #[tokio::test]
    async fn stop_applies_what_waits_and_drops_the_state() {
        let (group, allow, batches) = busy(8).await;
        let waiting = spawn(&group, 5);
        while group.queue.capacity() != 8 - 5 {
            tokio::task::yield_now().await;
        }
        drop(allow);
        tokio::join!(group.stop(), group.stop());
        assert_eq!(Arc::strong_count(&batches), 1, "the state machine is dropped");
        for proposal in waiting {
            assert!(proposal.await.unwrap().is_ok());
        }
        assert_eq!(
            group.propose(Purpose::Grow, Bytes::new()).await,
            Err(ProposeError::Stopped)
        );
    }

    #[tokio::test]
    async fn a_storage_fault_or_a_panic_ends_the_group() {
        for (payload, reason) in [("fail", "no"), ("panic", "the state machine panicked")] {
            let seen = Arc::new(Mutex::new(None));
            let report = Arc::clone(&seen);
            let on_fault = move |fault: &StorageFault| *report.lock() = Some(fault.reason.clone());
            let group = Group::start_with("fault", counter(), 4, space(), on_fault).unwrap();
            assert!(group.propose(Purpose::Grow, Bytes::new()).await.is_ok());
            assert_eq!(
                group.propose(Purpose::Grow, Bytes::from(payload)).await,
                Err(ProposeError::Stopped)
            );
            group.stop().await;
            assert_eq!(seen.lock().as_deref(), Some(reason));
        }
    }
}
