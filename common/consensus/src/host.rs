//! A process's part in all groups: the log database that they share, and which replicas are here.

use crate::census;
use crate::group::status;
use crate::keeper::Upkeep;
use crate::log::{Database, LogStore, OnFault, Stream, Writer};
use crate::machine::Machine;
use crate::raft::config::{self, Timing};
use crate::raft::wire;
use crate::replica::{Parts, Replica};
use crate::snapshot::{Staging, read_header};
use crate::{Group, GroupId, GroupStatus, NodeId, Peers, Space, StateMachine, StorageFault};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::{Mutex, RwLock};
use sealdex_telemetry::metrics;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What a host needs.
pub struct HostOptions {
    /// A folder of its own, on the disk of `space`.
    pub path: PathBuf,
    /// Who this node is. An empty folder must never be opened under an id that was used before.
    pub node: NodeId,
    /// The guard of the disk.
    pub space: Arc<Space>,
    /// How fast the groups are.
    pub timing: Timing,
    /// The way to the other nodes.
    pub peers: Arc<dyn Peers>,
}

impl HostOptions {
    /// Of the only node of a deployment.
    pub fn alone(path: PathBuf, space: Arc<Space>) -> Self {
        Self {
            path,
            node: NodeId(1),
            space,
            timing: Timing::alone(),
            peers: Arc::new(crate::Alone),
        }
    }
}

/// See the module.
pub struct Host {
    node: NodeId,
    folder: PathBuf,
    space: Arc<Space>,
    timing: Timing,
    config: Arc<openraft::Config>,
    peers: Arc<dyn Peers>,
    upkeep: Upkeep,
    on_fault: OnFault,
    writer: Writer,
    /// Both go when the host stops.
    open: Mutex<Option<(Arc<Database>, Stream)>>,
    replicas: Replicas,
    /// Held by whoever starts or forgets a group, so that no log is opened twice.
    changing: tokio::sync::Mutex<()>,
}

/// The replicas that are here, shared with the handles of their groups.
pub(crate) type Replicas = Arc<RwLock<HashMap<GroupId, Arc<Replica>>>>;

/// Why a host or a group cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The group runs here already.
    #[error("the group {0} runs already")]
    Running(GroupId),
    /// The host has stopped.
    #[error("the host has stopped")]
    Stopped,
    /// The timing contradicts itself.
    #[error("the timing of groups: {0}")]
    Timing(String),
    /// Log, state or snapshots cannot be opened, or lack what was acknowledged. The text names the cure.
    #[error("{0}")]
    Storage(String),
}

/// Why a message has no answer. The sender is told; it counts as not having reached anybody.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReceiveError {
    /// There is no replica of the group on this node, or none any more.
    #[error("group {0} has no replica on this node")]
    UnknownGroup(GroupId),
    /// It is not a message, or one of an unknown version.
    #[error("{0}")]
    Message(&'static str),
    /// It says that it is from somebody else.
    #[error("a message from node {0} speaks for another node")]
    Forged(NodeId),
    /// The replica was forgotten once and lacks what it may have promised; it does not vote yet.
    #[error("the replica is recovering")]
    Recovering,
    /// A snapshot is being received already.
    #[error("a snapshot is being received already")]
    Busy,
    /// The disk has no room for a snapshot.
    #[error("the disk has no room for a snapshot")]
    Full,
    /// The snapshot did not arrive whole.
    #[error("the snapshot was not received: {0}")]
    Snapshot(String),
    /// The replica is stopping.
    #[error("the replica is stopping")]
    Stopped,
}

impl Host {
    /// Opens the logs. The first storage fault ends the process. Blocks; to be called within a tokio runtime.
    pub fn open(options: HostOptions) -> Result<Arc<Self>, HostError> {
        Self::open_with(options, Upkeep::default(), Arc::new(end_process))
    }

    pub(crate) fn open_with(
        options: HostOptions,
        upkeep: Upkeep,
        on_fault: OnFault,
    ) -> Result<Arc<Self>, HostError> {
        let config = config::config(&options.timing).map_err(|error| HostError::Timing(error.to_string()))?;
        let database = Database::open(&options.path.join("log"), Arc::clone(&options.space))
            .map_err(|error| HostError::Storage(error.to_string()))?;
        let database = Arc::new(database);
        let (writer, stream) = Writer::start(Arc::clone(&database), Arc::clone(&on_fault));
        let host = Arc::new(Self {
            node: options.node,
            folder: options.path,
            space: options.space,
            timing: options.timing,
            config,
            peers: options.peers,
            upkeep,
            on_fault,
            writer,
            open: Mutex::new(Some((database, stream))),
            replicas: Replicas::default(),
            changing: tokio::sync::Mutex::default(),
        });
        metrics().at_scrape(&host, |host| census::tell(host.node, &host.statuses()));
        Ok(host)
    }

    /// As it is counted: a group whose leader nobody has heard of lately has none.
    fn statuses(&self) -> Vec<(GroupId, GroupStatus)> {
        let replicas = self.replicas.read();
        let told = |(id, replica): (&GroupId, &Arc<Replica>)| {
            let status = replica.metrics(status);
            let leader = status.leader.filter(|_| replica.is_led());
            let is_leader = status.is_leader && leader.is_some();
            let status = GroupStatus {
                leader,
                is_leader,
                ..status
            };
            (*id, status)
        };
        replicas.iter().map(told).collect()
    }

    /// Who this node is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Takes part in a group with `machine`, from where both were left. A replica of a new group does nothing before it is
    /// [initialised](Group::initialize) or added by a leader.
    pub async fn start<S: StateMachine>(&self, id: GroupId, machine: S) -> Result<Group<S>, HostError> {
        let _changing = self.changing.lock().await;
        if self.replicas.read().contains_key(&id) {
            return Err(HostError::Running(id));
        }
        let parts = Parts {
            id,
            node: self.node,
            machine: Machine::new(machine, Arc::clone(&self.on_fault)),
            log: self.log(id).await?,
            staging: self.staging(id),
            space: Arc::clone(&self.space),
            peers: Arc::clone(&self.peers),
            timing: self.timing,
            config: Arc::clone(&self.config),
            upkeep: self.upkeep,
        };
        let replica = Replica::start(parts).await.map_err(storage)?;
        let replica = Arc::new(replica);
        self.replicas.write().insert(id, Arc::clone(&replica));
        Ok(Group::new(replica, Arc::clone(&self.replicas)))
    }

    /// Takes a message that another node's [`Peers::call`] brought, and gives its answer. `from` is who the connection
    /// proves to be at the other end.
    pub async fn receive(&self, from: NodeId, message: Bytes) -> Result<Bytes, ReceiveError> {
        let (group, request) =
            wire::decode_request(message).map_err(|error| ReceiveError::Message(error.0))?;
        if request.sender().is_some_and(|sender| sender != from.0) {
            return Err(ReceiveError::Forged(from));
        }
        self.replica(group)?.answer(request).await
    }

    /// Takes a snapshot that another node's [`Peers::send_snapshot`] brought.
    pub async fn receive_snapshot(
        &self,
        from: NodeId,
        mut chunks: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + Unpin,
    ) -> Result<Bytes, ReceiveError> {
        let first = chunks.next().await.and_then(Result::ok);
        let first = first.ok_or_else(|| ReceiveError::Snapshot("nothing came".to_owned()))?;
        let header = read_header(first.clone()).map_err(|error| ReceiveError::Message(error.0))?;
        if header.vote.leader_id.voted_for != from.0 {
            return Err(ReceiveError::Forged(from));
        }
        self.replica(header.group)?
            .receive_snapshot(header, first, chunks)
            .await
    }

    /// Deletes what is here of a group of which this node is no member any more: its log and received snapshots, but for the
    /// little that keeps it from contradicting itself if it should ever come back. The state is the caller's to delete.
    pub async fn forget(&self, id: GroupId) -> Result<(), HostError> {
        let _changing = self.changing.lock().await;
        let running = self.replicas.write().remove(&id);
        if let Some(replica) = running {
            replica.stop().await;
            return replica.forget().await.map_err(storage);
        }
        self.log(id).await?.forget().await.map_err(storage)?;
        let staging = self.staging(id);
        let cleared = tokio::task::spawn_blocking(move || staging.clear()).await;
        cleared.map_err(storage)?.map_err(storage)
    }

    /// Stops all groups, and closes the logs when everything in them is on the disk.
    pub async fn stop(&self) {
        let replicas: Vec<Arc<Replica>> = self
            .replicas
            .write()
            .drain()
            .map(|(_, replica)| replica)
            .collect();
        futures_util::future::join_all(replicas.iter().map(|replica| replica.stop())).await;
        let open = self.open.lock().take();
        if let Some((database, stream)) = open {
            stream.close().await;
            let closed = tokio::task::spawn_blocking(move || drop(database));
            let _ = closed.await;
        }
    }

    /// Ends everything at once, as a crash does. What was not on the disk is lost.
    #[cfg(test)]
    pub(crate) async fn abandon(&self) {
        let open = self.open.lock().take();
        if let Some((_, stream)) = open {
            stream.abandon().await;
        }
        let replicas: Vec<Arc<Replica>> = self
            .replicas
            .write()
            .drain()
            .map(|(_, replica)| replica)
            .collect();
        futures_util::future::join_all(replicas.iter().map(|replica| replica.abandon())).await;
    }

    fn replica(&self, id: GroupId) -> Result<Arc<Replica>, ReceiveError> {
        let replica = self.replicas.read().get(&id).map(Arc::clone);
        replica.ok_or(ReceiveError::UnknownGroup(id))
    }

    async fn log(&self, id: GroupId) -> Result<LogStore, HostError> {
        let open = self
            .open
            .lock()
            .as_ref()
            .map(|(database, _)| Arc::clone(database));
        let database = open.ok_or(HostError::Stopped)?;
        let writer = self.writer.clone();
        let opened = tokio::task::spawn_blocking(move || LogStore::open(id, database, writer)).await;
        opened.map_err(storage)?.map_err(storage)
    }

    fn staging(&self, id: GroupId) -> Staging {
        Staging::new(&self.folder.join("snapshots"), id)
    }
}

fn storage(error: impl std::fmt::Display) -> HostError {
    HostError::Storage(error.to_string())
}

fn end_process(fault: &StorageFault) {
    tracing::error!(%fault, "a replica cannot go on; ending the process");
    std::process::abort();
}
