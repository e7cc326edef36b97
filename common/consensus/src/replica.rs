//! One replica of a group on this node: openraft's handle, the log and the state machine behind it, and what other replicas
//! may ask of it.

use crate::barrier::{Barrier, ReadError};
use crate::host::ReceiveError;
use crate::keeper::{self, Keeper, Upkeep};
use crate::log::{LogReader, LogStore};
use crate::machine::{Applier, Machine, Progress};
use crate::raft::config::Timing;
use crate::raft::network::Links;
use crate::raft::types::{Metrics, Raft, SnapshotMeta};
use crate::raft::wire::{self, ReadIndexReply, Request};
use crate::snapshot::{Header, Staging, Transfer};
use crate::{GroupId, LogIndex, NodeId, Peers, Space};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::AppendEntriesResponse;
use openraft::storage::Snapshot;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::{RwLock, Semaphore, watch};
use tokio::task::JoinHandle;

/// Bytes of payload that may wait in one group's queue, in KiB: two of the largest request bodies.
pub(crate) const QUEUED_KIB_MAX: u32 = 128 * 1024;

/// Elections that take longer than others are no reason to say that nobody leads.
const LED_ELECTIONS: u32 = 4;

/// Proposals under way in one group.
pub(crate) const PROPOSALS_MAX: usize = 4096;

pub(crate) struct Replica {
    pub(crate) id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) space: Arc<Space>,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) timing: Timing,
    pub(crate) barrier: Barrier,
    pub(crate) progress: Arc<Progress>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) turns: Arc<Semaphore>,
    /// Read by proposals and reads that are under way, written by who hands leadership over: what comes meanwhile waits and is then told
    /// who leads, what was there before has ended.
    pub(crate) handover: Arc<RwLock<()>>,
    /// Set once this node is about to be out of the others' reach.
    pub(crate) leaving: watch::Sender<bool>,
    machine: Machine,
    log: LogStore,
    reader: LogReader,
    staging: Staging,
    receiving: tokio::sync::Mutex<()>,
    recovering: AtomicBool,
    /// When a leader whom this replica follows was last heard.
    heard: Mutex<Option<Instant>>,
    keeper: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

/// What a replica is made of.
pub(crate) struct Parts {
    pub(crate) id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) machine: Machine,
    pub(crate) log: LogStore,
    pub(crate) staging: Staging,
    pub(crate) space: Arc<Space>,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) timing: Timing,
    pub(crate) config: Arc<openraft::Config>,
    pub(crate) upkeep: Upkeep,
}

impl Replica {
    /// Brings the state machine to where it was, and begins to take part in the group.
    pub(crate) async fn start(parts: Parts) -> io::Result<Self> {
        finish_installation(&parts.machine, &parts.staging).await?;
        let reader = parts.log.reader();
        let progress = Arc::new(Progress::default());
        let applier = Applier::new(parts.machine.clone(), reader.written(), Arc::clone(&progress)).await?;
        if applier.position().last_log_id < reader.purged() {
            return Err(io::Error::other(
                "the state lacks what was purged from the log; restore this node from a replica or a backup",
            ));
        }
        let links = Links {
            group: parts.id,
            peers: Arc::clone(&parts.peers),
            append_deadline: parts.timing.election_max,
        };
        let raft = Raft::new(parts.node.0, parts.config, links, parts.log.clone(), applier)
            .await
            .map_err(io::Error::other)?;
        let recovering = reader.is_recovering();
        raft.runtime_config().elect(!recovering);
        let keeper = Keeper {
            raft: raft.clone(),
            machine: parts.machine.clone(),
            progress: Arc::clone(&progress),
            upkeep: parts.upkeep,
        };
        let replica = Self {
            id: parts.id,
            node: parts.node,
            barrier: Barrier::start(raft.clone(), parts.timing.confirmation, parts.timing.patience),
            raft,
            space: parts.space,
            peers: parts.peers,
            timing: parts.timing,
            progress,
            room: Arc::new(Semaphore::new(QUEUED_KIB_MAX as usize)),
            turns: Arc::new(Semaphore::new(PROPOSALS_MAX)),
            handover: Arc::default(),
            leaving: watch::Sender::new(false),
            machine: parts.machine,
            log: parts.log,
            reader,
            staging: parts.staging,
            receiving: tokio::sync::Mutex::new(()),
            recovering: AtomicBool::new(recovering),
            heard: Mutex::default(),
            keeper: Mutex::new(Some(tokio::spawn(keeper.run()))),
        };
        replica.lead_if_alone().await?;
        Ok(replica)
    }

    /// Who has no other voter to wait for need not wait for a time-out either.
    async fn lead_if_alone(&self) -> io::Result<()> {
        let voters: Vec<u64> = self.metrics(|metrics| metrics.membership_config.voter_ids().collect());
        if voters == [self.node.0] && !self.recovering.load(Ordering::Relaxed) {
            self.raft.trigger().elect(false).await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub(crate) fn metrics<R>(&self, read: impl FnOnce(&Metrics) -> R) -> R {
        let metrics = self.raft.metrics();
        read(&metrics.borrow_watched())
    }

    /// Answers another replica.
    pub(crate) async fn answer(&self, request: Request) -> Result<Bytes, ReceiveError> {
        let reply = match request {
            Request::Append(request) => {
                let reply = self.raft.append_entries(request).await.map_err(stopped)?;
                if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
                    *self.heard.lock() = Some(Instant::now());
                }
                self.recover();
                wire::encode_append_reply(reply)
            }
            Request::Vote(_) | Request::PreVote(_) | Request::Transfer(_) if self.is_recovering() => {
                return Err(ReceiveError::Recovering);
            }
            Request::Vote(request) => {
                wire::encode_vote_reply(&self.raft.vote(request).await.map_err(stopped)?)
            }
            Request::PreVote(request) => {
                wire::encode_vote_reply(&self.raft.pre_vote(request).await.map_err(stopped)?)
            }
            Request::Transfer(request) => {
                wire::encode_transfer_reply(self.raft.handle_transfer_leader(request).await.map_err(stopped)?)
            }
            Request::ReadIndex => wire::encode_read_index_reply(self.read_index().await?),
        };
        Ok(reply)
    }

    /// Passes the barrier, after a handover if one is under way.
    pub(crate) async fn confirm(&self) -> Result<LogIndex, ReadError> {
        let _under_way = self.handover.read().await;
        self.barrier.pass().await
    }

    /// Whether this node has just begun to lead and a majority follows it now. A leader takes no proposal before the first answers.
    pub(crate) async fn is_followed_at_last(&self) -> bool {
        let begins = |metrics: &Metrics| metrics.state.is_leader() && metrics.last_quorum_acked.is_none();
        let mut metrics = self.raft.metrics();
        let followed = async {
            while begins(&metrics.borrow_and_update()) {
                metrics.changed().await.ok()?;
            }
            Some(())
        };
        self.metrics(begins)
            && tokio::time::timeout(self.timing.confirmation, followed).await == Ok(Some(()))
            && self.metrics(|metrics| metrics.state.is_leader())
    }

    /// Of `nodes`, those that have answered this leader within the last election time-out; it has itself.
    pub(crate) fn answered_lately(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        self.metrics(|metrics| {
            let answers = metrics.heartbeat.iter().flatten();
            let lately =
                answers.filter(|(_, at)| at.is_some_and(|at| at.elapsed() < self.timing.election_max));
            let lately = lately.map(|(node, _)| NodeId(*node)).chain([self.node]);
            lately.filter(|node| nodes.contains(node)).collect()
        })
    }

    /// Whether there is a leader, and not only was: a leader that a majority answers, or one that was heard here, in the time of a few
    /// elections. Who leads as far as is known stays known where nobody can be elected.
    pub(crate) fn is_led(&self) -> bool {
        let lately = LED_ELECTIONS * self.timing.election_max;
        let heard = *self.heard.lock();
        self.metrics(|metrics| match metrics.current_leader {
            None => false,
            Some(leader) if leader != self.node.0 => heard.is_some_and(|at| at.elapsed() < lately),
            Some(_) => {
                let mut voters = metrics.membership_config.voter_ids();
                voters.all(|voter| voter == self.node.0)
                    || metrics.last_quorum_acked.is_some_and(|at| at.elapsed() < lately)
            }
        })
    }

    async fn read_index(&self) -> Result<ReadIndexReply, ReceiveError> {
        match self.confirm().await {
            Ok(index) => Ok(ReadIndexReply::At(index.0)),
            Err(ReadError::NotLeader { leader }) => Ok(ReadIndexReply::NotLeader(leader.map(|node| node.0))),
            Err(ReadError::Unknown) => Ok(ReadIndexReply::Unconfirmed),
            Err(ReadError::Stopped) => Err(ReceiveError::Stopped),
        }
    }

    /// Receives a snapshot whole, and installs it.
    pub(crate) async fn receive_snapshot(
        &self,
        header: Header,
        first: Bytes,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
    ) -> Result<Bytes, ReceiveError> {
        let _receiving = self.receiving.try_lock().map_err(|_| ReceiveError::Busy)?;
        let vote = self.metrics(|metrics| metrics.vote);
        // A leader that was told late sends it again, and one that was deposed is told so before it has sent everything.
        let deposed = vote > header.vote;
        if deposed || self.has(&header.meta) {
            return Ok(wire::encode_snapshot_reply(if deposed {
                vote
            } else {
                header.vote
            }));
        }
        let staged = self.stage(first, pieces).await?;
        let snapshot = Snapshot {
            meta: header.meta,
            snapshot: Transfer::Staged(staged),
        };
        let installed = self.raft.install_full_snapshot(header.vote, snapshot).await;
        self.recover();
        Ok(wire::encode_snapshot_reply(installed.map_err(stopped)?.vote))
    }

    async fn stage(
        &self,
        first: Bytes,
        mut pieces: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
    ) -> Result<crate::snapshot::Staged, ReceiveError> {
        let staging = self.staging.clone();
        let mut incoming = blocking(move || staging.receive()).await?;
        let mut next = Some(first);
        while let Some(piece) = next {
            if !self.space.has(piece.len() as u64) {
                return Err(ReceiveError::Full);
            }
            incoming = blocking(move || incoming.push(piece).map(|()| incoming)).await?;
            let piece = tokio::time::timeout(self.timing.snapshot_idle, pieces.next()).await;
            let piece = piece.map_err(|_| ReceiveError::Snapshot("nothing came for too long".to_owned()))?;
            next = piece
                .transpose()
                .map_err(|error| ReceiveError::Snapshot(error.to_string()))?;
        }
        blocking(move || incoming.finish()).await
    }

    fn has(&self, meta: &SnapshotMeta) -> bool {
        self.metrics(|metrics| metrics.last_applied) >= meta.last_log_id
    }

    /// Whether it lacks what it may once have promised to others.
    fn is_recovering(&self) -> bool {
        self.recovering.load(Ordering::Relaxed) && self.reader.is_recovering()
    }

    fn recover(&self) {
        if self.recovering.load(Ordering::Relaxed) && !self.reader.is_recovering() {
            self.recovering.store(false, Ordering::Relaxed);
            self.raft.runtime_config().elect(true);
        }
    }

    /// See [`Group::purge_applied`](crate::Group::purge_applied).
    pub(crate) async fn purge_applied(&self) -> io::Result<()> {
        if !self.log.has_room_to_flush() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full"));
        }
        keeper::purge_applied(&self.raft, &self.machine).await?;
        self.log.settle().await?;
        let log = self.log.clone();
        let erased = tokio::task::spawn_blocking(move || log.erase_purged()).await;
        Ok(erased.map_err(io::Error::other)??)
    }

    /// Lets what was proposed end, leaves the group, makes the state durable and drops the state machine.
    pub(crate) async fn stop(&self) {
        self.room.close();
        let all = u32::try_from(PROPOSALS_MAX).unwrap_or(u32::MAX);
        let ended = tokio::time::timeout(self.timing.patience, self.turns.acquire_many(all)).await;
        if ended.is_err() {
            tracing::warn!(
                group = self.id.0,
                "proposals are still under way: their outcome is left to the others"
            );
        }
        self.turns.close();
        if let Some(keeper) = self.keeper.lock().take() {
            keeper.abort();
        }
        // It has stopped if there was a fault.
        let _ = self.raft.shutdown().await;
        // Not being able to is not dangerous: it is applied again at the next start.
        let _ = self.machine.call(|machine| machine.flush()).await;
        self.machine.close().await;
    }

    /// Deletes the log and whatever was received. Only after [`stop`](Self::stop).
    pub(crate) async fn forget(&self) -> io::Result<()> {
        self.log.forget().await?;
        let (staging, log) = (self.staging.clone(), self.log.clone());
        let cleared = tokio::task::spawn_blocking(move || {
            staging.clear()?;
            log.erase_purged().map_err(io::Error::from)
        });
        cleared.await.map_err(io::Error::other)?
    }

    /// Ends at once and without a trace, as a crash does.
    #[cfg(test)]
    pub(crate) async fn abandon(&self) {
        self.room.close();
        self.turns.close();
        if let Some(keeper) = self.keeper.lock().take() {
            keeper.abort();
        }
        self.machine.close().await;
        let _ = self.raft.shutdown().await;
    }
}

/// Goes on with an installation that a crash interrupted.
async fn finish_installation(machine: &Machine, staging: &Staging) -> io::Result<()> {
    let staging = staging.clone();
    let interrupted = tokio::task::spawn_blocking(move || staging.interrupted()).await;
    let Some((staged, mark)) = interrupted.map_err(io::Error::other)?? else {
        return Ok(());
    };
    tracing::info!(?mark, "a snapshot is installed again");
    machine
        .call(move |machine| crate::machine::install(machine, staged, &mark))
        .await
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, ReceiveError> {
    let outcome = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    outcome
        .flatten()
        .map_err(|error| ReceiveError::Snapshot(error.to_string()))
}

fn stopped(_: impl std::error::Error) -> ReceiveError {
    ReceiveError::Stopped
}
