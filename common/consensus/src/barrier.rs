//! Before a read: the majority confirms that this node still leads, and what was acknowledged until then is applied here. Whoever
//! asks while a confirmation is under way shares the next one; the one under way may have begun too early for them.

use crate::raft::types::{Raft, Types};
use crate::{LogIndex, NodeId};
use openraft::LinearizerOption;
use openraft::errors::{LinearizableReadError, RaftError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Why a read must not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead the group.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// No majority confirmed in time that this node leads.
    #[error("the majority of the group cannot be reached")]
    Unknown,
    /// The group is stopping.
    #[error("the group is stopping")]
    Stopped,
}

type Outcome = Result<LogIndex, ReadError>;

/// Reads that share one confirmation.
const READS_MAX: usize = 4096;

/// Where a group's reads line up.
pub(crate) struct Barrier {
    queue: mpsc::UnboundedSender<oneshot::Sender<Outcome>>,
}

impl Barrier {
    /// Ends with the last handle to it. `confirmation` bounds how long the majority may take, `patience` how long applying may.
    pub(crate) fn start(raft: Raft, confirmation: Duration, patience: Duration) -> Self {
        let (queue, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(raft, confirmation, patience, receiver));
        Self { queue }
    }

    /// The index up to which everything is applied here, at least; it includes all that was acknowledged before this call.
    pub(crate) async fn pass(&self) -> Outcome {
        let (waiter, outcome) = oneshot::channel();
        self.queue.send(waiter).map_err(|_| ReadError::Stopped)?;
        outcome.await.map_err(|_| ReadError::Stopped)?
    }
}

async fn run(
    raft: Raft,
    confirmation: Duration,
    patience: Duration,
    mut queue: mpsc::UnboundedReceiver<oneshot::Sender<Outcome>>,
) {
    let mut waiters = Vec::new();
    while queue.recv_many(&mut waiters, READS_MAX).await > 0 {
        // Whoever asks in the same moment shares the confirmation.
        tokio::task::yield_now().await;
        while waiters.len() < READS_MAX
            && let Ok(waiter) = queue.try_recv()
        {
            waiters.push(waiter);
        }
        let outcome = confirm(&raft, confirmation, patience).await;
        for waiter in waiters.drain(..) {
            // Who no longer waits does not read.
            let _ = waiter.send(outcome);
        }
    }
}

async fn confirm(raft: &Raft, confirmation: Duration, patience: Duration) -> Outcome {
    let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(confirmation);
    let asked = tokio::time::timeout(2 * confirmation, raft.get_read_linearizer(option)).await;
    let linearizer = asked.map_err(|_| ReadError::Unknown)?.map_err(read_error)?;
    let applied = linearizer.try_await_ready(raft, Some(patience)).await;
    match applied {
        Ok(Ok(state)) => Ok(LogIndex(state.read_log_id().index())),
        Ok(Err(_)) => Err(ReadError::Unknown),
        Err(_) => Err(ReadError::Stopped),
    }
}

fn read_error(error: RaftError<Types, LinearizableReadError<Types>>) -> ReadError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => ReadError::NotLeader {
            leader: forward.leader_id.map(NodeId),
        },
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ReadError::Unknown,
        RaftError::Fatal(_) => ReadError::Stopped,
    }
}
