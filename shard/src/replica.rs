//! A partition as this node keeps it: the door to its log, and what readers see of it. Knows nothing of what is asked.

use crate::partition::{Directory, Partition};
use crate::storage::Database;
use bytes::Bytes;
use sealdex_consensus::{
    ChangeError, Full, Group, GroupId, GroupStatus, Host, LogIndex, ProposeError, Purpose, ReadError,
};
use sealdex_core::{NodeId, PartitionId, ReadIndex};
use sealdex_index::dataplane::{Applied, ShardError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How a replica comes to its first members.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The partition is new: these nodes, and nobody else, begin it. The same on all of them.
    Founding(BTreeSet<NodeId>),
    /// The partition is older than this replica, which waits until its leader takes it in.
    Joining,
}

/// One replica of a partition.
pub(crate) struct Replica {
    group: Group<Partition>,
    directory: Arc<Directory>,
}

/// The group of a partition. The metadata group is 0.
pub(crate) fn group_of(partition: PartitionId) -> GroupId {
    GroupId(1 + u64::from(partition.0))
}

impl Replica {
    /// Starts the replica, from what is on disk if anything is.
    pub(crate) async fn start(
        host: &Arc<Host>,
        database: &Arc<Database>,
        id: PartitionId,
        origin: &Origin,
    ) -> Result<Self, ShardError> {
        let database = Arc::clone(database);
        let opened = tokio::task::spawn_blocking(move || Partition::open(database, id)).await;
        let partition = opened.map_err(|error| ShardError::Storage(error.to_string()))??;
        let directory = partition.directory();
        let not_started = |error: sealdex_consensus::HostError| ShardError::Storage(error.to_string());
        let group = host.start(group_of(id), partition).await.map_err(not_started)?;
        if let Origin::Founding(voters) = origin {
            let founded = group.initialize(voters).await;
            founded.map_err(|error| ShardError::Storage(error.to_string()))?;
        }
        Ok(Self { group, directory })
    }

    /// What readers see, as of a moment after this was called: everything that was acknowledged before is in it. Whoever leads the
    /// partition says how much that is; a replica that follows waits until it has applied it.
    pub(crate) async fn current(&self) -> Result<Arc<Directory>, ShardError> {
        let (directory, _) = self.current_at().await?;
        Ok(directory)
    }

    /// The same, and how much of the log it takes in at least.
    pub(crate) async fn current_at(&self) -> Result<(Arc<Directory>, ReadIndex), ShardError> {
        let index = self.group.read_index().await.map_err(not_led)?;
        self.group.wait_applied(index).await.map_err(not_led)?;
        Ok((Arc::clone(&self.directory), ReadIndex(index.0)))
    }

    /// What readers see who know how much of the log they have to see, because that was confirmed since they began. A replica that
    /// follows finds out what is to be seen now all the same: it may lag behind what such a reader saw of the leader just now.
    pub(crate) async fn since(&self, index: Option<ReadIndex>) -> Result<Arc<Directory>, ShardError> {
        match index {
            Some(index) if self.group.is_leader() => {
                let applied = self.group.wait_applied(LogIndex(index.0)).await;
                applied.map_err(not_led)?;
                Ok(Arc::clone(&self.directory))
            }
            _ => self.current().await,
        }
    }

    /// Waits, on the node that leads, until nothing that was proposed before is undecided; tells how much of the log that was.
    pub(crate) async fn settle(&self) -> Result<ReadIndex, ShardError> {
        let index = self.group.settle_log().await.map_err(not_led)?;
        Ok(ReadIndex(index.0))
    }

    /// What readers see on the node that leads, from when it has everything that was acknowledged before it began to.
    pub(crate) async fn as_leader(&self) -> Result<&Arc<Directory>, ShardError> {
        self.group.begun_to_lead().await.map_err(not_led)?;
        Ok(&self.directory)
    }

    /// Who leads, as far as is known here.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.group.leader()
    }

    /// What readers see, perhaps not the latest.
    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// What is known of the group, if this node leads it at a moment after this was called.
    pub(crate) async fn led_here(&self) -> Result<GroupStatus, ShardError> {
        self.group.read_barrier().await.map_err(not_led)?;
        Ok(self.group.status())
    }

    /// Lets a node follow. Its copy begins with a snapshot: a node that had a replica before must not meet, in the log's history, a
    /// membership in which it voted.
    pub(crate) async fn add_learner(&self, node: NodeId) -> Result<(), ChangeError> {
        let purged = self.group.purge_applied().await;
        purged.map_err(|fault| ChangeError::Refused(fault.to_string()))?;
        self.group.add_learner(node).await
    }

    /// The group, for who changes its members.
    pub(crate) fn group(&self) -> &Group<Partition> {
        &self.group
    }

    /// Waits until some node leads.
    pub(crate) async fn led(&self) {
        self.group.wait_status(|status| status.leader.is_some()).await;
    }

    /// Whether some node leads, as far as was heard lately.
    pub(crate) fn is_led(&self) -> bool {
        self.group.is_led()
    }

    /// Puts an encoded entry into the log and waits until it is durable and applied.
    pub(crate) async fn propose(&self, purpose: Purpose, entry: Bytes) -> Result<Applied, ShardError> {
        self.group
            .propose(purpose, entry)
            .await
            .map_err(|error| match error {
                ProposeError::Busy => ShardError::Busy,
                ProposeError::Full(full) => disk_full(full),
                ProposeError::NotLeader { leader } => ShardError::NotLeader { leader },
                ProposeError::Stopped | ProposeError::Unknown => ShardError::Stopped,
            })?
    }

    pub(crate) async fn stop(&self) {
        self.group.stop().await;
    }
}

fn not_led(error: ReadError) -> ShardError {
    match error {
        ReadError::NotLeader { leader } => ShardError::NotLeader { leader },
        ReadError::Unknown => ShardError::NotLeader { leader: None },
        ReadError::Stopped => ShardError::Stopped,
    }
}

pub(crate) fn disk_full(full: Full) -> ShardError {
    ShardError::DiskFull {
        free_bytes: full.free_bytes,
        needed_bytes: full.needed_bytes,
    }
}
