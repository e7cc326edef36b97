//! The one thread of a group: takes what waits, applies it as one batch, answers. Knows nothing of what is applied.

use crate::space::Admitted;
use crate::{Entry, StateMachine, StorageFault};
use bytes::Bytes;
use sealdex_telemetry::metrics;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Entries in one apply: bounds how long the first of them waits for the last.
const ENTRIES_PER_APPLY_MAX: usize = 512;

/// Bytes after which an apply takes no further entry: large enough that the sync costs little beside the writing.
const BYTES_PER_APPLY: usize = 16 * 1024 * 1024;

pub(crate) enum Message<R> {
    Propose(Proposal<R>),
    Stop,
}

pub(crate) struct Proposal<R> {
    pub(crate) payload: Bytes,
    pub(crate) reply: oneshot::Sender<R>,
    /// The payload's share of the bytes that may wait; given back once it is applied.
    pub(crate) room: OwnedSemaphorePermit,
    /// Its share of the disk that is spoken for; given back at the same time.
    pub(crate) admitted: Admitted,
}

/// Applies until the queue is closed and empty. The state machine is dropped before this returns.
pub(crate) fn run<S: StateMachine>(
    mut state_machine: S,
    mut queue: mpsc::Receiver<Message<S::Reply>>,
) -> Result<(), StorageFault> {
    while let Some(first) = queue.blocking_recv() {
        let batch = drain(first, &mut queue);
        apply(&mut state_machine, batch)?;
    }
    Ok(())
}

fn drain<R>(first: Message<R>, queue: &mut mpsc::Receiver<Message<R>>) -> Vec<Proposal<R>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Propose(proposal) => {
                bytes += proposal.payload.len();
                batch.push(proposal);
            }
            Message::Stop => queue.close(),
        }
        if batch.len() >= ENTRIES_PER_APPLY_MAX || bytes >= BYTES_PER_APPLY {
            break;
        }
        next = queue.try_recv().ok();
    }
    batch
}

fn apply<S: StateMachine>(state_machine: &mut S, batch: Vec<Proposal<S::Reply>>) -> Result<(), StorageFault> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut index = state_machine.applied();
    let mut entries = Vec::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for Proposal {
        payload,
        reply,
        room,
        admitted,
    } in batch
    {
        index = index.next();
        entries.push(Entry { index, payload });
        waiting.push((reply, (room, admitted)));
    }
    let begun = Instant::now();
    let apply = AssertUnwindSafe(|| {
        let replies = state_machine.apply(&entries)?;
        assert_eq!(
            replies.len(),
            entries.len(),
            "a state machine replies once to each entry"
        );
        assert_eq!(
            state_machine.applied(),
            index,
            "a state machine applies every entry"
        );
        Ok(replies)
    });
    // A panic leaves the state in memory half changed. It must not be used again, so it counts as a fault.
    let replies = catch_unwind(apply).unwrap_or_else(|_| {
        Err(StorageFault {
            reason: "the state machine panicked".to_owned(),
        })
    })?;
    metrics().log.synced(entries.len(), begun.elapsed());
    for ((waiter, room), reply) in waiting.into_iter().zip(replies) {
        drop(room);
        // A proposer that no longer waits is no concern of the log.
        let _ = waiter.send(reply);
    }
    Ok(())
}
