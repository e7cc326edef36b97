//! The catalogue and the deployment as the service has them: read from memory, as new as the metadata group's log is, and changed through
//! that log, by way of its leader.

use super::backoff::Backoff;
use super::eraser::Eraser;
use super::metadata_codec::{decode_metadata_command, encode_metadata_command};
use super::metadata_forward::Forward;
use super::metadata_purpose::purpose_of;
use super::metadata_store::{GROUP, MetadataStore};
use crate::domain::deployment::{self, Deployment, JobName};
use crate::domain::{Command, IndexRecord, Metadata, MetadataApplied, MetadataCommand, Rejection};
use bytes::Bytes;
use parking_lot::RwLock;
use sealdex_consensus::{
    ChangeError, Full, Group, GroupStatus, Host, LogIndex, ProposeError, ReadError, Room, Space, StorageFault,
};
use sealdex_core::{NodeId, limits};
use sealdex_peer::Channels;
use sealdex_telemetry::{Store, metrics};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};

/// How long a request waits for a leader: longer than an election takes.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(6);

/// Why the catalogue did not take a command, or could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The command does not fit the catalogue's state.
    #[error("refused: {0:?}")]
    Rejected(Rejection),
    /// The command does not fit the deployment's state.
    #[error("{0}")]
    DeploymentRejected(deployment::Rejection),
    /// The same, as the coordinator that leads puts it.
    #[error("{0}")]
    ChangeRefused(String),
    /// Another coordinator works on it.
    #[error("another coordinator works on it")]
    JobTaken,
    /// Another node leads the catalogue's group.
    #[error("another node leads the catalogue")]
    NotLeader(Option<NodeId>),
    /// Too much is under way.
    #[error("too many changes are under way")]
    Busy,
    /// The disk is too full for it. The catalogue is as it was.
    #[error("{0}")]
    Full(Full),
    /// Leadership changed, or time ran out: whether the change was made is unknown.
    #[error("the outcome of the change is unknown")]
    Unknown,
    /// The server is stopping.
    #[error("the catalogue is stopping")]
    Stopped,
    /// Storage failed or holds what cannot be read. For the operator.
    #[error("catalogue storage: {0}")]
    Storage(String),
}

/// The catalogue and the deployment.
pub struct CatalogHandle {
    node: NodeId,
    view: Arc<RwLock<Metadata>>,
    group: Group<MetadataStore>,
    space: Arc<Space>,
    eraser: Eraser,
    /// The way to other coordinators, where there may be some.
    forward: Option<Forward>,
    /// Places of requests that wait for a leader.
    waiting: Semaphore,
}

/// A request that waits until the metadata group has a leader.
struct Waiting<'a> {
    until: Instant,
    backoff: Backoff,
    _place: SemaphorePermit<'a>,
}

impl CatalogHandle {
    /// Opens the catalogue in `path`, making it if there is none. Its log is kept by `host`; `space` watches the disk; `channels`
    /// lead to other coordinators.
    pub async fn open(
        path: &Path,
        space: Arc<Space>,
        host: &Arc<Host>,
        channels: Option<Arc<Channels>>,
    ) -> Result<Self, CatalogError> {
        metrics().at_scrape(&space, |space| {
            if let Some(room) = space.room() {
                metrics()
                    .disk
                    .set(Store::Catalog, room.free_bytes, room.needed_bytes);
            }
        });
        let (path, on_disk) = (path.to_owned(), Arc::clone(&space));
        let store = tokio::task::spawn_blocking(move || MetadataStore::open(&path, on_disk))
            .await
            .map_err(|e| CatalogError::Storage(e.to_string()))??;
        let (view, erasures) = (store.view(), store.erasures());
        let storage = |e: sealdex_consensus::HostError| CatalogError::Storage(e.to_string());
        let group = host.start(GROUP, store).await.map_err(storage)?;
        let forward = channels.map(|channels| Forward { channels });
        Ok(Self {
            node: host.node(),
            view,
            eraser: Eraser::start(group.clone(), erasures),
            group,
            space,
            forward,
            waiting: Semaphore::new(limits::METADATA_CALLS_WAITING_MAX),
        })
    }

    /// Makes this node the first and only member, if the catalogue has none yet, and waits until it leads and what was erased before is
    /// in no file.
    pub async fn found(&self, node: NodeId) -> Result<(), CatalogError> {
        let founded = async {
            let founded = self.group.initialize(&[node].into()).await;
            founded.map_err(|e| CatalogError::Storage(e.to_string()))?;
            self.group.wait_status(|status| status.leader.is_some()).await;
            self.catch_up().await?;
            self.eraser.done().await;
            Ok(())
        };
        tokio::select! {
            // It ends every wait, and says more than that the group is stopping.
            biased;
            fault = self.failed() => Err(CatalogError::Storage(fault.to_string())),
            founded = founded => founded,
        }
    }

    /// Resolves when the metadata group stopped here because of a fault, and tells which: nothing of this node can go on then.
    pub async fn failed(&self) -> StorageFault {
        self.group.failed().await
    }

    /// What this node knows of the metadata group.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// How much room the disk has that the catalogue is on. `None` if the file system does not say.
    pub fn room(&self) -> Option<Room> {
        self.space.room()
    }

    /// Makes sure that this node leads the metadata group, at a moment after this was called.
    pub async fn leads(&self) -> bool {
        self.group.read_barrier().await.is_ok()
    }

    /// Lets a coordinator follow the metadata group. Its copy begins with a snapshot: who was of the group before must not meet, in the
    /// log's history, a membership in which it voted.
    pub async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        let purged = self.group.purge_applied().await;
        purged.map_err(|fault| ChangeError::Refused(fault.to_string()))?;
        self.group.add_learner(node).await
    }

    /// Takes a coordinator that does not vote out of the metadata group.
    pub async fn remove_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        self.group.remove_learner(node).await
    }

    /// Lets these coordinators vote.
    pub async fn change_voters(&self, voters: &BTreeSet<NodeId>) -> Result<(), ChangeError> {
        self.group.change_voters(voters).await
    }

    /// Hands the lead over.
    pub async fn transfer_to(&self, node: NodeId) -> Result<(), ChangeError> {
        self.group.transfer_to(node).await
    }

    /// Whether some coordinator leads, as far as was heard lately.
    pub fn is_led(&self) -> bool {
        self.group.is_led()
    }

    /// Hands the lead over to whoever is furthest, if this node has it.
    pub async fn relinquish(&self) -> Result<(), ChangeError> {
        self.group.relinquish().await
    }

    /// Waits until what is read here holds everything that was acknowledged anywhere before this was called. Outlasts the
    /// election of a leader.
    pub async fn catch_up(&self) -> Result<(), CatalogError> {
        let mut waiting = None;
        loop {
            let read = async {
                let index = self.group.read_index().await?;
                self.group.wait_applied(index).await
            };
            let error = match read.await {
                Ok(()) => return Ok(()),
                Err(ReadError::Stopped) => return Err(CatalogError::Stopped),
                Err(ReadError::NotLeader { leader }) => CatalogError::NotLeader(leader),
                Err(ReadError::Unknown) => CatalogError::Busy,
            };
            self.wait(&mut waiting, error).await?;
        }
    }

    /// Pauses before a request looks for a leader again. Gives `error` back if it has waited for long enough, or if there is no place for
    /// one more that waits.
    async fn wait<'a>(
        &'a self,
        waiting: &mut Option<Waiting<'a>>,
        error: CatalogError,
    ) -> Result<(), CatalogError> {
        let waiting = match waiting {
            Some(waiting) => waiting,
            none => none.insert(Waiting {
                until: Instant::now() + LEADER_WAIT_MAX,
                backoff: Backoff::default(),
                _place: self.waiting.try_acquire().map_err(|_| CatalogError::Busy)?,
            }),
        };
        if Instant::now() >= waiting.until {
            return Err(error);
        }
        sleep(waiting.backoff.next()).await;
        Ok(())
    }

    /// The index of that name.
    pub fn get(&self, name: &str) -> Option<Arc<IndexRecord>> {
        self.view.read().catalog.get(name)
    }

    /// All indexes, by name in bytewise order.
    pub fn all(&self) -> Vec<Arc<IndexRecord>> {
        self.view.read().catalog.iter().cloned().collect()
    }

    /// The deployment as of now, once it is bootstrapped.
    pub fn deployment(&self) -> Option<Arc<Deployment>> {
        self.view.read().deployment.clone()
    }

    /// Changes the catalogue; returns when the change is durable, and what it erases is in no file. See [`Catalog::apply`](crate::domain::Catalog::apply)
    /// for what comes back.
    pub async fn change(&self, command: Command) -> Result<Arc<IndexRecord>, CatalogError> {
        match self.propose(MetadataCommand::Catalog(command)).await? {
            MetadataApplied::Index(record) => Ok(record),
            MetadataApplied::Deployment(_) => Err(CatalogError::Storage("a reply of another kind".into())),
        }
    }

    /// Changes the deployment; returns when the change is durable. See [`Deployment::apply`](crate::domain::deployment::Deployment::apply) for what comes back.
    pub async fn change_deployment(
        &self,
        command: deployment::Command,
    ) -> Result<deployment::Applied, CatalogError> {
        match self.propose(MetadataCommand::Deployment(command)).await? {
            MetadataApplied::Deployment(applied) => Ok(applied),
            MetadataApplied::Index(_) => Err(CatalogError::Storage("a reply of another kind".into())),
        }
    }

    /// Takes a job on an index for this node, so that no other coordinator does the same; there is nothing to take where there is one
    /// coordinator.
    pub async fn claim_job(&self, job: JobName) -> Result<(), CatalogError> {
        if self.deployment().is_none() {
            return Ok(());
        }
        let owner = self.node;
        let claim = MetadataCommand::Deployment(deployment::Command::ClaimJob { job, owner });
        match self.propose(claim).await {
            Err(CatalogError::DeploymentRejected(_) | CatalogError::ChangeRefused(_)) => {
                Err(CatalogError::JobTaken)
            }
            outcome => outcome.map(drop),
        }
    }

    /// Gives a job back that this node has taken. If that fails, the job is taken over when this node is lost, or taken again by it.
    pub async fn finish_job(&self, job: JobName) {
        let deployment = self.deployment();
        let held = deployment.as_ref().and_then(|deployment| {
            deployment
                .jobs()
                .find(|held| held.name == job && held.owner == self.node)
                .copied()
        });
        let Some(held) = held else { return };
        let finish = deployment::Command::FinishJob {
            job,
            claim: held.claim,
        };
        if let Err(error) = self.propose(MetadataCommand::Deployment(finish)).await {
            tracing::debug!(%error, "a finished job was not given back");
        }
    }

    /// Whether another coordinator that is there works on a job.
    pub fn is_taken_elsewhere(&self, job: JobName) -> bool {
        let is_live = |deployment: &Deployment, node| {
            deployment
                .member(node)
                .is_some_and(|record| record.lost_since.is_none())
        };
        self.deployment().is_some_and(|deployment| {
            let mut jobs = deployment.jobs();
            jobs.any(|held| held.name == job && held.owner != self.node && is_live(&deployment, held.owner))
        })
    }

    /// Proposes an entry that another coordinator forwarded; answers with what came of it, and with how much of the log it takes to
    /// see it.
    pub(crate) async fn propose_forwarded(
        &self,
        entry: Bytes,
    ) -> (Result<MetadataApplied, CatalogError>, u64) {
        use deployment::Command::{ClaimJob, FinishJob, SetNode};
        use deployment::NodeChange::{Decommission, Recommission};
        let outcome = match decode_metadata_command(&entry) {
            Ok(
                command @ (MetadataCommand::Catalog(_)
                | MetadataCommand::Deployment(
                    ClaimJob { .. }
                    | FinishJob { .. }
                    | SetNode {
                        to: Decommission | Recommission,
                        ..
                    },
                )),
            ) => self.propose_here(&command).await,
            _ => Err(CatalogError::Storage("an entry that nobody may forward".into())),
        };
        (outcome, self.status().applied.0)
    }

    /// Proposes here or at the leader, and waits for one if there is none.
    async fn propose(&self, command: MetadataCommand) -> Result<MetadataApplied, CatalogError> {
        let mut waiting = None;
        loop {
            let outcome = match (self.propose_here(&command).await, &self.forward) {
                (Err(CatalogError::NotLeader(Some(leader))), Some(forward)) => {
                    self.propose_at(forward, leader, &command).await
                }
                (outcome, _) => outcome,
            };
            match outcome {
                Err(error @ CatalogError::NotLeader(_)) => self.wait(&mut waiting, error).await?,
                outcome => return outcome,
            }
        }
    }

    async fn propose_here(&self, command: &MetadataCommand) -> Result<MetadataApplied, CatalogError> {
        let payload = encode_metadata_command(command).into();
        match self.group.propose(purpose_of(command), payload).await {
            Ok(reply) => {
                self.erased(command).await;
                reply
            }
            Err(ProposeError::Full(full)) => Err(CatalogError::Full(full)),
            Err(ProposeError::Busy) => Err(CatalogError::Busy),
            Err(ProposeError::NotLeader { leader }) => Err(CatalogError::NotLeader(leader)),
            Err(ProposeError::Unknown) => Err(CatalogError::Unknown),
            Err(ProposeError::Stopped) => Err(CatalogError::Stopped),
        }
    }

    async fn propose_at(
        &self,
        forward: &Forward,
        leader: NodeId,
        command: &MetadataCommand,
    ) -> Result<MetadataApplied, CatalogError> {
        let forwarded = forward.propose(leader, encode_metadata_command(command)).await?;
        let applied = forwarded.outcome?;
        // Who made a change sees it.
        let seen = self.group.wait_applied(LogIndex(forwarded.applied)).await;
        seen.map_err(|_| CatalogError::Unknown)?;
        self.erased(command).await;
        Ok(applied)
    }

    /// Waits until what the command erased is in no file here. Others wait for nobody's erasure.
    async fn erased(&self, command: &MetadataCommand) {
        if command.erases() {
            self.eraser.done_soon().await;
        }
    }

    /// Finishes what is under way and closes the log.
    pub async fn stop(&self) {
        self.group.stop().await;
    }
}
