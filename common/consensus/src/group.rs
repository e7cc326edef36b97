//! The handle of a group: proposals in, replies out, and who takes part.

use crate::barrier::ReadError;
use crate::host::Replicas;
use crate::raft::types::{Command, Metrics, Reply, Types, Waiter};
use crate::raft::wire::{self, ReadIndexReply, Request};
use crate::replica::{QUEUED_KIB_MAX, Replica};
use crate::{Full, GroupId, LogIndex, NodeId, Purpose, StateMachine, StorageFault};
use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, Fatal, InitializeError, RaftError};
use openraft::impls::EmptyNode;
use openraft::raft::ClientWriteResult;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};

/// One replicated group, as seen from this node. Stops when it is told to, not when it is dropped.
pub struct Group<S: StateMachine> {
    replica: Arc<Replica>,
    replicas: Replicas,
    reply: PhantomData<fn() -> S::Reply>,
}

impl<S: StateMachine> Clone for Group<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.replica), Arc::clone(&self.replicas))
    }
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
    /// This node does not lead the group, or no majority follows it any more: nothing was proposed.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// Leadership changed, or time ran out. Whether the entry was or will be applied is unknown.
    #[error("the outcome of the proposal is unknown")]
    Unknown,
    /// The group is stopping. Whether the entry was applied is unknown.
    #[error("the group is stopping")]
    Stopped,
}

/// Why the members of a group, or its leader, were not changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead the group.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, as far as is known.
        leader: Option<NodeId>,
    },
    /// A change before this one is not committed yet: ask again.
    #[error("another change of the group's members is under way")]
    InProgress,
    /// It cannot be done.
    #[error("{0}")]
    Refused(String),
    /// Leadership changed, or time ran out. The status will tell what became of it.
    #[error("the outcome of the change is unknown")]
    Unknown,
    /// The group is stopping.
    #[error("the group is stopping")]
    Stopped,
}

/// What a replica knows of its group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupStatus {
    /// Who leads, as far as is known.
    pub leader: Option<NodeId>,
    /// Whether it is this node. It may have been deposed without knowing.
    pub is_leader: bool,
    /// The election that this replica was last part of.
    pub term: u64,
    /// The last entry of the log here.
    pub last_log: LogIndex,
    /// The last entry applied here.
    pub applied: LogIndex,
    /// The last entry purged from the log here.
    pub purged: LogIndex,
    /// Who decides.
    pub voters: BTreeSet<NodeId>,
    /// Who follows without deciding.
    pub learners: BTreeSet<NodeId>,
    /// Whether the members are in the middle of a change.
    pub is_joint: bool,
    /// Up to where each member's log is known to be the leader's; told by the leader alone.
    pub replicated: BTreeMap<NodeId, LogIndex>,
}

impl<S: StateMachine> Group<S> {
    pub(crate) fn new(replica: Arc<Replica>, replicas: Replicas) -> Self {
        Self {
            replica,
            replicas,
            reply: PhantomData,
        }
    }

    /// Which group it is.
    pub fn id(&self) -> GroupId {
        self.replica.id
    }

    /// Proposes an entry and waits until it is durable on a majority, and applied here.
    ///
    /// A caller that stops waiting does not take its proposal back.
    pub async fn propose(&self, purpose: Purpose, payload: Bytes) -> Result<S::Reply, ProposeError> {
        match self.propose_once(purpose, payload.clone()).await {
            // Nothing was proposed.
            Err(ProposeError::NotLeader { leader: None }) if self.replica.is_followed_at_last().await => {
                self.propose_once(purpose, payload).await
            }
            outcome => outcome,
        }
    }

    async fn propose_once(&self, purpose: Purpose, payload: Bytes) -> Result<S::Reply, ProposeError> {
        let replica = &self.replica;
        let admitted = replica.space.admit(purpose, payload.len() as u64)?;
        let kib = u32::try_from(payload.len() / 1024 + 1)
            .unwrap_or(u32::MAX)
            .min(QUEUED_KIB_MAX);
        let held = (admitted, take(&replica.room, kib)?, take(&replica.turns, 1)?);
        let under_way = Arc::clone(&replica.handover).read_owned().await;
        let (waiter, outcome) = Waiter::new((held, under_way));
        replica
            .raft
            .client_write_ff(Command(payload), Some(waiter))
            .await
            .map_err(|_| ProposeError::Stopped)?;
        let outcome = self.unless_leaving(outcome).await;
        let reply = reply_of(outcome.ok_or(ProposeError::Unknown)?)?;
        Ok(reply
            .take()
            .expect("the state machine of this group replies with this type"))
    }

    /// Waits until this node, which leads, has applied all that was committed before it began to. From then on its state lacks nothing
    /// that a leader before it acknowledged; that it still leads is another question, which a proposal or a barrier answers.
    pub async fn begun_to_lead(&self) -> Result<(), ReadError> {
        let mut metrics = self.replica.raft.metrics();
        let begun = async {
            loop {
                {
                    let seen = metrics.borrow_and_update();
                    if !seen.state.is_leader() {
                        let leader = seen.current_leader.map(NodeId);
                        return Err(ReadError::NotLeader { leader });
                    }
                    // A leader's first entry is applied after all that was there before it.
                    if seen
                        .last_applied
                        .is_some_and(|id| *id.leader_id == seen.current_term)
                    {
                        return Ok(());
                    }
                }
                metrics.changed().await.map_err(|_| ReadError::Stopped)?;
            }
        };
        self.unless_leaving(begun)
            .await
            .unwrap_or_else(|| Err(self.unread()))
    }

    /// Waits until everything that was acknowledged before this call is applied here, on the leader. What is read then is
    /// as new as any reader's.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        self.replica.confirm().await.map(|_| ())
    }

    /// On the leader: waits until everything that is in its log by now is applied, whether anybody was told so or not. What was proposed
    /// before and is not applied then never will be.
    pub async fn settle_log(&self) -> Result<LogIndex, ReadError> {
        self.replica.confirm().await?;
        let end = self
            .replica
            .metrics(|metrics| metrics.last_log_index.unwrap_or(0));
        self.wait_applied(LogIndex(end)).await?;
        Ok(LogIndex(end))
    }

    /// On any replica: an index such that whoever has applied it sees all that was acknowledged before this call. Asks the
    /// leader. [`wait_applied`](Self::wait_applied) is the other half of a read here.
    pub async fn read_index(&self) -> Result<LogIndex, ReadError> {
        let replica = &self.replica;
        let leader = match replica.confirm().await {
            Err(ReadError::NotLeader { leader: Some(leader) }) if leader != replica.node => leader,
            outcome => return outcome,
        };
        let message = wire::encode_request(replica.id, &Request::ReadIndex);
        let deadline = 2 * replica.timing.confirmation;
        let answer = replica.peers.call(leader, message, deadline);
        // Nobody waits for one who leads no more.
        let deposed = self.wait_status(|status| status.leader != Some(leader));
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            status = deposed => {
                let leader = status.ok_or(ReadError::Stopped)?.leader;
                return Err(ReadError::NotLeader { leader });
            }
        };
        match answer.map(wire::decode_read_index_reply) {
            Ok(Ok(ReadIndexReply::At(index))) => Ok(LogIndex(index)),
            Ok(Ok(ReadIndexReply::NotLeader(leader))) => Err(ReadError::NotLeader {
                leader: leader.map(NodeId),
            }),
            _ => Err(ReadError::Unknown),
        }
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn wait_applied(&self, index: LogIndex) -> Result<(), ReadError> {
        let mut applied = self.replica.progress.applied.subscribe();
        let reached = async { applied.wait_for(|end| *end > index.0).await.map(drop) };
        let waited = self.unless_leaving(reached).await;
        waited
            .ok_or_else(|| self.unread())?
            .map_err(|_| ReadError::Stopped)
    }

    /// From here on nobody who asks this node waits for what the others would have to tell it: they are about to lose sight of it.
    /// To be called before a planned stop, when leadership was handed over.
    pub fn leave(&self) {
        self.replica.leaving.send_replace(true);
    }

    /// What `waited` gives; `None` if it takes too long, or this node leaves meanwhile.
    async fn unless_leaving<T>(&self, waited: impl Future<Output = T>) -> Option<T> {
        let mut leaving = self.replica.leaving.subscribe();
        let waited = tokio::time::timeout(self.replica.timing.patience, waited);
        tokio::select! {
            biased;
            waited = waited => waited.ok(),
            _ = leaving.wait_for(|leaving| *leaving) => None,
        }
    }

    /// Why a read came to nothing: somebody else is to be asked if this node leaves.
    fn unread(&self) -> ReadError {
        match *self.replica.leaving.borrow() {
            true => ReadError::NotLeader {
                leader: self.leader().filter(|leader| *leader != self.replica.node),
            },
            false => ReadError::Unknown,
        }
    }

    /// Who leads, as far as is known here.
    pub fn leader(&self) -> Option<NodeId> {
        self.replica.metrics(|metrics| metrics.current_leader.map(NodeId))
    }

    /// Whether this node leads, as far as it knows: it may have been deposed.
    pub fn is_leader(&self) -> bool {
        self.replica.metrics(|metrics| metrics.state.is_leader())
    }

    /// Whether somebody leads, heard of here within the last seconds.
    pub fn is_led(&self) -> bool {
        self.replica.is_led()
    }

    /// What this replica knows of its group.
    pub fn status(&self) -> GroupStatus {
        self.replica.metrics(status)
    }

    /// Waits until the status fulfils a condition, and gives the status; `None` when the group stops.
    pub async fn wait_status(&self, condition: impl Fn(&GroupStatus) -> bool) -> Option<GroupStatus> {
        let mut metrics = self.replica.raft.metrics();
        loop {
            let status = status(&metrics.borrow_and_update());
            if condition(&status) {
                return Some(status);
            }
            metrics.changed().await.ok()?;
        }
    }

    /// Resolves when the group stopped because of a fault, here, and tells which. Never does if it was told to stop.
    pub async fn failed(&self) -> StorageFault {
        let mut metrics = self.replica.raft.metrics();
        loop {
            match &metrics.borrow_and_update().running_state {
                Ok(()) | Err(Fatal::Stopped) => {}
                Err(fatal) => return StorageFault::new(fatal),
            }
            if metrics.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Founds the group with these voters, all of which start it empty. To be called on one of them; again is no harm.
    pub async fn initialize(&self, voters: &BTreeSet<NodeId>) -> Result<(), ChangeError> {
        let members: BTreeMap<u64, EmptyNode> = voters.iter().map(|node| (node.0, EmptyNode {})).collect();
        match self.replica.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
                Err(ChangeError::Refused(error.to_string()))
            }
            Err(RaftError::Fatal(_)) => Err(ChangeError::Stopped),
        }
    }

    /// Lets a node follow, without deciding. Returns when that is committed, not when it has caught up. Whoever follows already
    /// is left as it is.
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        let status = self.status();
        if status.voters.contains(&node) || status.learners.contains(&node) {
            return Ok(());
        }
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(node.0, EmptyNode {})])))
            .await
    }

    /// Lets these nodes decide, all of which must follow already. Voters that are not among them leave the group. The
    /// caller sees to it that they have caught up: nobody else does. Refused unless a majority of them answered this leader
    /// within the last election time-out: a change that is begun needs a majority of them to end, and cannot be taken back.
    pub async fn change_voters(&self, voters: &BTreeSet<NodeId>) -> Result<(), ChangeError> {
        let answered = self.replica.answered_lately(voters);
        if self.status().is_leader && answered.len() <= voters.len() / 2 {
            return Err(ChangeError::Refused(format!(
                "only {} of the {} new voters answered lately, which is no majority",
                answered.len(),
                voters.len()
            )));
        }
        self.change(ChangeMembers::ReplaceAllVoters(
            voters.iter().map(|node| node.0).collect(),
        ))
        .await
    }

    /// Takes a node that does not decide out of the group.
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        if !self.status().learners.contains(&node) {
            return Ok(());
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])))
            .await
    }

    async fn change(&self, members: ChangeMembers<u64, EmptyNode>) -> Result<(), ChangeError> {
        let change = self.replica.raft.change_membership(members, false);
        let changed = tokio::time::timeout(self.replica.timing.patience, change).await;
        match changed.map_err(|_| ChangeError::Unknown)? {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(error)) => Err(change_error(error)),
            Err(RaftError::Fatal(_)) => Err(ChangeError::Stopped),
        }
    }

    /// Hands leadership over to another voter, and returns when it leads. Proposals and reads under way end before, and what comes
    /// meanwhile waits for the new leader: nobody meets a group without one.
    pub async fn transfer_to(&self, node: NodeId) -> Result<(), ChangeError> {
        let status = self.status();
        if !status.is_leader {
            return Err(ChangeError::NotLeader {
                leader: status.leader,
            });
        }
        if !status.voters.contains(&node) {
            return Err(ChangeError::Refused(format!(
                "node {node} is no voter of the group"
            )));
        }
        // Without a majority nothing ends, and there is nothing to wait for.
        let patience = self.replica.timing.election_max;
        let _quiet = tokio::time::timeout(patience, self.replica.handover.write()).await;
        let transfer = self.replica.raft.trigger().transfer_leader(node.0).await;
        transfer.map_err(|_| ChangeError::Stopped)?;
        let led = self.wait_status(|status| status.leader == Some(node));
        match tokio::time::timeout(2 * self.replica.timing.election_max, led).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(ChangeError::Stopped),
            Err(_) => Err(ChangeError::Unknown),
        }
    }

    /// Hands leadership over to the voter that is furthest of those that answer, if this node leads and there is another. To be called before a
    /// planned stop.
    pub async fn relinquish(&self) -> Result<(), ChangeError> {
        let status = self.status();
        let others = status.voters.iter().filter(|node| **node != self.replica.node);
        let answered = self.replica.answered_lately(&status.voters);
        let best =
            others.max_by_key(|node| (answered.contains(*node), status.replicated.get(*node).copied()));
        match best {
            Some(node) if status.is_leader => self.transfer_to(*node).await,
            _ => Ok(()),
        }
    }

    /// Makes the state durable and deletes every applied entry from the log's files, here. Waits until that is done; if a
    /// follower is being sent entries, until it has them.
    pub async fn purge_applied(&self) -> Result<(), StorageFault> {
        self.replica.purge_applied().await.map_err(StorageFault::new)
    }

    /// Refuses new proposals, waits for those under way, makes the state durable, and returns once the state machine is
    /// gone.
    pub async fn stop(&self) {
        self.replicas.write().remove(&self.replica.id);
        self.replica.stop().await;
    }
}

/// A share of what is bounded, until it is dropped.
fn take(of: &Arc<Semaphore>, share: u32) -> Result<tokio::sync::OwnedSemaphorePermit, ProposeError> {
    use tokio::sync::TryAcquireError;
    Arc::clone(of)
        .try_acquire_many_owned(share)
        .map_err(|error| match error {
            TryAcquireError::NoPermits => ProposeError::Busy,
            // The replica is on its way out, and took nothing.
            TryAcquireError::Closed => ProposeError::NotLeader { leader: None },
        })
}

fn reply_of(
    outcome: Result<ClientWriteResult<Types>, oneshot::error::RecvError>,
) -> Result<Reply, ProposeError> {
    match outcome {
        Ok(Ok(response)) => Ok(response.data),
        Ok(Err(ClientWriteError::ForwardToLeader(forward))) => Err(ProposeError::NotLeader {
            leader: forward.leader_id.map(NodeId),
        }),
        Ok(Err(_)) => Err(ProposeError::Unknown),
        Err(_) => Err(ProposeError::Stopped),
    }
}

fn change_error(error: ClientWriteError<Types>) -> ChangeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => ChangeError::NotLeader {
            leader: forward.leader_id.map(NodeId),
        },
        ClientWriteError::LogEntryDiscarded(_) => ChangeError::Unknown,
        ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ) => ChangeError::InProgress,
        ClientWriteError::ChangeMembershipError(error) => ChangeError::Refused(error.to_string()),
        ClientWriteError::PreconditionFailed(error) => ChangeError::Refused(error.to_string()),
    }
}

pub(crate) fn status(metrics: &Metrics) -> GroupStatus {
    let index = |index: Option<u64>| LogIndex(index.unwrap_or(0));
    let membership = metrics.membership_config.membership();
    let replicated = metrics.replication.iter().flatten();
    GroupStatus {
        leader: metrics.current_leader.map(NodeId),
        is_leader: metrics.state.is_leader(),
        term: metrics.current_term,
        last_log: index(metrics.last_log_index),
        applied: index(metrics.last_applied.map(|id| id.index)),
        purged: index(metrics.purged.map(|id| id.index)),
        voters: membership.voter_ids().map(NodeId).collect(),
        learners: membership.learner_ids().map(NodeId).collect(),
        is_joint: membership.get_joint_config().len() > 1,
        replicated: replicated
            .map(|(node, id)| (NodeId(*node), index(id.as_ref().map(|id| id.index))))
            .collect(),
    }
}
