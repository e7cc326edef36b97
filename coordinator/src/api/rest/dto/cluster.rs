//! What operators are told of the deployment, and the part of a list that they ask for.

use crate::domain::deployment::{DiskRoom, JobKind, ReplicaRole, Role, WorkState};
use crate::service::{
    DeploymentStatus, JobPhase, JobStatus, NodeNamed, NodePhase, NodeStatus, Page, PartitionStatus,
    ReplicaStatus, ServiceError,
};
use sealdex_core::{NodeId, PartitionId, limits};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many at most, 1 to 256; 100 if it is left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 256)]
    limit: Option<String>,
    /// Go on behind this place: the `next` of an earlier answer, unchanged.
    #[param(value_type = Option<String>)]
    after: Option<String>,
}

impl PageQuery {
    /// How many, and behind which node.
    pub(crate) fn of_nodes(self) -> Result<(usize, Option<NodeId>), ServiceError> {
        let (limit, after) = self.parsed('n')?;
        Ok((limit, after.map(NodeId)))
    }

    /// How many, and behind which partition.
    pub(crate) fn of_partitions(self) -> Result<(usize, Option<PartitionId>), ServiceError> {
        let (limit, after) = self.parsed('p')?;
        let partition = |number| u16::try_from(number).map(PartitionId).map_err(|_| no_place());
        Ok((limit, after.map(partition).transpose()?))
    }

    fn parsed(self, list: char) -> Result<(usize, Option<u64>), ServiceError> {
        let limit = match self.limit.as_deref() {
            None => limits::DEPLOYMENT_PAGE_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=limits::DEPLOYMENT_PAGE_MAX).contains(limit))
                .ok_or_else(|| {
                    let max = limits::DEPLOYMENT_PAGE_MAX;
                    ServiceError::invalid(format!("limit must be a whole number from 1 to {max}."))
                })?,
        };
        let after = self
            .after
            .as_deref()
            .map(|place| number_at(list, place).ok_or_else(no_place));
        Ok((limit, after.transpose()?))
    }
}

fn no_place() -> ServiceError {
    ServiceError::invalid(
        "after must be the next of an earlier answer of this route, unchanged; leave it out to begin.",
    )
}

/// A place in a list, as clients carry it: not to be understood by them.
fn place(list: char, number: u64) -> String {
    format!("{list}{number:x}")
}

fn number_at(list: char, place: &str) -> Option<u64> {
    let digits = place.strip_prefix(list)?;
    let is_ours = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(digits, 16).ok().filter(|_| is_ours)
}

/// A node, for people.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterNodeNamed {
    /// Its id.
    id: u64,
    /// Its name.
    name: String,
}

/// Room on a disk.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterDisk {
    /// Bytes that are free.
    free_bytes: u64,
    /// With fewer bytes free, writes are refused.
    needed_bytes: u64,
}

/// A node. What only it could say is null while it is not heard of.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterNode {
    /// Its id, never given again.
    id: u64,
    /// Its name.
    name: String,
    /// `coordinator`, `shard`, or `embedded`: both in one process.
    role: &'static str,
    /// What fails together with it; empty where nothing is known.
    zone: String,
    /// Where other nodes reach it.
    address: String,
    /// Its software's version.
    version: String,
    /// `joining`, `joined`, `draining`, `decommissioning`, `lost`; or gone for good: `decommissioned`, `replaced`.
    state: &'static str,
    /// Seconds since 1970 since when it is taken for lost; null if it is not.
    #[schema(required = true)]
    lost_since: Option<u64>,
    /// Seconds since it was last heard of by the coordinator that leads; null if that has not heard of it since it leads.
    #[schema(required = true)]
    last_heard_seconds_ago: Option<u64>,
    /// Whether it leads the metadata group.
    leads_metadata: bool,
    /// Partitions that it leads.
    leads: usize,
    /// Replicas of partitions that it is to have.
    replicas: usize,
    /// The most log entries that one of its replicas lacks.
    #[schema(required = true)]
    behind_entries: Option<u64>,
    /// The disk that its data is on.
    #[schema(required = true)]
    disk: Option<ClusterDisk>,
    /// Whether writes are refused on it because its disk is almost full.
    #[schema(required = true)]
    disk_full: Option<bool>,
    /// Key leases that it holds; null for coordinators, which hold none.
    #[schema(required = true)]
    leases: Option<u64>,
}

/// Nodes, by id.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterNodesResponse {
    nodes: Vec<ClusterNode>,
    /// Send it as `after` for those that follow; null if there are none.
    #[schema(required = true)]
    next: Option<String>,
}

/// A replica of a group.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterReplica {
    /// The id of its node.
    id: u64,
    /// The name of its node.
    name: String,
    /// `voter`; `learner`: it is copied to; `leaving`: it goes when the others have agreed.
    role: &'static str,
    /// Whether its node is lost.
    lost: bool,
    /// Log entries that it lacks, as far as the group's leader knows; null if nobody has said so lately.
    #[schema(required = true)]
    behind_entries: Option<u64>,
}

/// A partition and where its replicas are.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterPartition {
    /// Its number.
    partition: u16,
    /// Whether it is led, has as many voters as it should, and all of them are there and have caught up.
    healthy: bool,
    /// Whether a replica is on its way from or to a node.
    changing: bool,
    /// Who leads it; null if nobody has said so lately.
    #[schema(required = true)]
    leader: Option<ClusterNodeNamed>,
    /// Its replicas, by the ids of their nodes.
    replicas: Vec<ClusterReplica>,
}

/// Partitions in order; none before they are given to nodes.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterPartitionsResponse {
    partitions: Vec<ClusterPartition>,
    /// Send it as `after` for those that follow; null if there are none.
    #[schema(required = true)]
    next: Option<String>,
}

/// The metadata group.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterMetadata {
    /// The coordinator that leads it; null if none is known to.
    #[schema(required = true)]
    leader: Option<ClusterNodeNamed>,
    /// Its replicas, by the ids of their nodes.
    replicas: Vec<ClusterReplica>,
}

/// How many nodes are how. Those that are gone for good are not counted.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterNodeCounts {
    /// All of them.
    total: usize,
    joined: usize,
    joining: usize,
    draining: usize,
    decommissioning: usize,
    lost: usize,
    /// Those on whose disk writes are refused.
    disk_full: usize,
}

/// How many partitions are how.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterPartitionCounts {
    /// All of them.
    total: usize,
    /// Those that were given to nodes.
    assigned: usize,
    /// Those that are led, as far as is known.
    led: usize,
    /// Those that are led, have as many voters as they should, all of them there and caught up.
    healthy: usize,
    /// Those of which a replica is on its way.
    changing: usize,
    /// Replicas of all partitions.
    replicas: usize,
    /// Replicas that lack more than a few log entries.
    replicas_behind: usize,
    /// Replicas on nodes that are lost.
    replicas_lost: usize,
}

/// A background job.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterJob {
    /// `training` or `rotation`; later versions may know more.
    kind: &'static str,
    /// The index that it is done to.
    index_name: String,
    /// `queued`, `learning`, `preparing`, `running`, `purging`; `failing`: tried again by itself; `waiting_for_key`: send any request
    /// with the index's key, or mend its key provider; `unattended`: whoever was at it is lost.
    state: &'static str,
    /// Who is at it; null if nobody is.
    #[schema(required = true)]
    node: Option<ClusterNodeNamed>,
    /// Items gone through.
    items_done: u64,
    /// Items to go through; 0 while that is not known.
    items_total: u64,
}

/// How the deployment is at a glance.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClusterStatusResponse {
    /// The deployment's id, 32 hexadecimal digits.
    deployment: String,
    /// Whether this was told by the coordinator that leads. False: it cannot be asked from here, so nodes and partitions are as this
    /// coordinator last knew them, and nothing is known of who is there.
    current: bool,
    /// The coordinator that took this request.
    answered_by: ClusterNodeNamed,
    metadata: ClusterMetadata,
    nodes: ClusterNodeCounts,
    partitions: ClusterPartitionCounts,
    /// The least that is free on a disk, in bytes; null if no node has said.
    #[schema(required = true)]
    disk_free_bytes_min: Option<u64>,
    /// Key leases that nodes hold.
    leases: u64,
    /// Background jobs, the first 100 of them.
    jobs: Vec<ClusterJob>,
    /// How many background jobs there are.
    jobs_total: usize,
}

impl From<NodeNamed> for ClusterNodeNamed {
    fn from(node: NodeNamed) -> Self {
        Self {
            id: node.id.0,
            name: node.name,
        }
    }
}

impl From<DiskRoom> for ClusterDisk {
    fn from(room: DiskRoom) -> Self {
        Self {
            free_bytes: room.free_bytes,
            needed_bytes: room.needed_bytes,
        }
    }
}

impl From<NodeStatus> for ClusterNode {
    fn from(status: NodeStatus) -> Self {
        Self {
            id: status.node.id.0,
            name: status.node.name,
            role: match status.role {
                Role::Coordinator => "coordinator",
                Role::Shard => "shard",
                Role::Embedded => "embedded",
            },
            zone: status.zone,
            address: status.address,
            version: status.version,
            state: match status.phase {
                NodePhase::Joining => "joining",
                NodePhase::Joined => "joined",
                NodePhase::Draining => "draining",
                NodePhase::Decommissioning => "decommissioning",
                NodePhase::Lost => "lost",
                NodePhase::Decommissioned => "decommissioned",
                NodePhase::Replaced => "replaced",
            },
            lost_since: status.lost_since,
            last_heard_seconds_ago: status.heard_ago.map(|ago| ago.as_secs()),
            leads_metadata: status.leads_metadata,
            leads: status.leads,
            replicas: status.replicas,
            behind_entries: status.behind,
            disk: status.disk.map(ClusterDisk::from),
            disk_full: status.full,
            leases: status.leases,
        }
    }
}

impl From<Page<NodeStatus, NodeId>> for ClusterNodesResponse {
    fn from(page: Page<NodeStatus, NodeId>) -> Self {
        Self {
            nodes: page.items.into_iter().map(ClusterNode::from).collect(),
            next: page.next.map(|node| place('n', node.0)),
        }
    }
}

impl From<ReplicaStatus> for ClusterReplica {
    fn from(replica: ReplicaStatus) -> Self {
        Self {
            id: replica.node.id.0,
            name: replica.node.name,
            role: match replica.role {
                ReplicaRole::Voter => "voter",
                ReplicaRole::Learner => "learner",
                ReplicaRole::Leaving => "leaving",
            },
            lost: replica.is_lost,
            behind_entries: replica.behind,
        }
    }
}

impl From<PartitionStatus> for ClusterPartition {
    fn from(status: PartitionStatus) -> Self {
        Self {
            partition: status.partition.0,
            healthy: status.is_well,
            changing: status.is_changing,
            leader: status.leader.map(ClusterNodeNamed::from),
            replicas: status.replicas.into_iter().map(ClusterReplica::from).collect(),
        }
    }
}

impl From<Page<PartitionStatus, PartitionId>> for ClusterPartitionsResponse {
    fn from(page: Page<PartitionStatus, PartitionId>) -> Self {
        Self {
            partitions: page.items.into_iter().map(ClusterPartition::from).collect(),
            next: page.next.map(|partition| place('p', partition.0.into())),
        }
    }
}

impl From<JobStatus> for ClusterJob {
    fn from(job: JobStatus) -> Self {
        Self {
            kind: match job.kind {
                JobKind::Training => "training",
                JobKind::Rotation => "rotation",
                JobKind::Promotion => "promotion",
                JobKind::Fold => "fold",
                JobKind::Tidying => "tidying",
            },
            index_name: job.index,
            state: match job.phase {
                JobPhase::Work(WorkState::Queued) => "queued",
                JobPhase::Work(WorkState::Learning) => "learning",
                JobPhase::Work(WorkState::Preparing) => "preparing",
                JobPhase::Work(WorkState::Running) => "running",
                JobPhase::Work(WorkState::Purging) => "purging",
                JobPhase::Work(WorkState::Failing) => "failing",
                JobPhase::WaitingForKey => "waiting_for_key",
                JobPhase::Unattended => "unattended",
            },
            node: job.node.map(ClusterNodeNamed::from),
            items_done: job.items.0,
            items_total: job.items.1,
        }
    }
}

impl From<DeploymentStatus> for ClusterStatusResponse {
    fn from(status: DeploymentStatus) -> Self {
        let nodes = |phase| {
            let mut counts = status.nodes.iter();
            counts
                .find(|(counted, _)| *counted == phase)
                .map_or(0, |(_, count)| *count)
        };
        let partitions = status.partitions;
        Self {
            deployment: status.deployment.to_string(),
            current: status.is_current,
            answered_by: status.answered_by.into(),
            nodes: ClusterNodeCounts {
                total: status.nodes.iter().map(|(_, count)| count).sum(),
                joined: nodes(NodePhase::Joined),
                joining: nodes(NodePhase::Joining),
                draining: nodes(NodePhase::Draining),
                decommissioning: nodes(NodePhase::Decommissioning),
                lost: nodes(NodePhase::Lost),
                disk_full: status.full_nodes,
            },
            metadata: ClusterMetadata {
                leader: status.metadata.leader.map(ClusterNodeNamed::from),
                replicas: status
                    .metadata
                    .replicas
                    .into_iter()
                    .map(ClusterReplica::from)
                    .collect(),
            },
            partitions: ClusterPartitionCounts {
                total: partitions.total,
                assigned: partitions.assigned,
                led: partitions.led,
                healthy: partitions.well,
                changing: partitions.changing,
                replicas: partitions.replicas,
                replicas_behind: partitions.replicas_behind,
                replicas_lost: partitions.replicas_lost,
            },
            disk_free_bytes_min: status.free_bytes_min,
            leases: status.leases,
            jobs: status.jobs.into_iter().map(ClusterJob::from).collect(),
            jobs_total: status.jobs_total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(limit: Option<&str>, after: Option<&str>) -> PageQuery {
        PageQuery {
            limit: limit.map(str::to_owned),
            after: after.map(str::to_owned),
        }
    }

    #[test]
    fn a_page_has_bounds_and_a_place_is_of_its_list() {
        let default = limits::DEPLOYMENT_PAGE_DEFAULT;
        assert_eq!(query(None, None).of_nodes().unwrap(), (default, None));
        assert_eq!(
            query(Some("7"), Some(&place('n', 300))).of_nodes().unwrap(),
            (7, Some(NodeId(300)))
        );
        let partition = query(Some("256"), Some(&place('p', 12))).of_partitions().unwrap();
        assert_eq!(partition, (256, Some(PartitionId(12))));
        for limit in ["0", "257", "-1", "", "1.5", "many", "99999999999999999999999"] {
            let refused = query(Some(limit), None).of_nodes().unwrap_err();
            assert!(refused.detail().contains("1 to 256"), "{limit}");
        }
        for after in ["", "12", "n", "p1", "n+1", "nG", "n1 ", "nffffffffffffffffff"] {
            let refused = query(None, Some(after)).of_nodes().unwrap_err();
            assert!(refused.detail().contains("next"), "{after}");
        }
        assert!(query(None, Some("p10000")).of_partitions().is_err());
    }
}
