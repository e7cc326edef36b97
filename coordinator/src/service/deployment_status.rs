//! How a deployment is, as operators are told: made of what is decided about it and what its nodes have said lately. Pure.

use crate::domain::EpochStage;
use crate::domain::IndexRecord;
use crate::domain::deployment::{
    Assignment, DiskRoom, Group, GroupReport, JobKind, JobName, LOST_AFTER, NodeRecord, NodeReport,
    NodeState, ReplicaRole, Role, Work, WorkState,
};
use crate::ports::Survey;
use sealdex_core::{DeploymentId, IndexId, NodeId, PartitionId, limits};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A node, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeNamed {
    /// Its id.
    pub id: NodeId,
    /// Its name; empty for one that was forgotten.
    pub name: String,
}

/// How far a node is in its life, and whether it is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NodePhase {
    /// It has an id and has not been seen to run under it.
    Joining,
    /// It takes part.
    Joined,
    /// It is on its way out, and will be back.
    Draining,
    /// Its replicas move to other nodes; then it is gone.
    Decommissioning,
    /// Nothing was heard of it for a while.
    Lost,
    /// Gone, by decision of an operator. Its id is never given again.
    Decommissioned,
    /// Gone: a node of the same name joined with an empty disk.
    Replaced,
}

/// A node as it is. What only it could say is none if it was not heard of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeStatus {
    /// Who.
    pub node: NodeNamed,
    /// What for.
    pub role: Role,
    /// What fails together with it.
    pub zone: String,
    /// Where other nodes reach it.
    pub address: String,
    /// Its software's version.
    pub version: String,
    /// How far it is in its life.
    pub phase: NodePhase,
    /// Unix seconds since when it is taken for lost.
    pub lost_since: Option<u64>,
    /// How long ago the leader of the metadata group heard of it.
    pub heard_ago: Option<Duration>,
    /// Whether it leads the metadata group.
    pub leads_metadata: bool,
    /// Partitions that it leads.
    pub leads: usize,
    /// Replicas of partitions that it is to have.
    pub replicas: usize,
    /// The most entries that one of its replicas, metadata included, lacks, as far as leaders know.
    pub behind: Option<u64>,
    /// Its disk.
    pub disk: Option<DiskRoom>,
    /// Whether writes are refused on it for want of room.
    pub full: Option<bool>,
    /// Key leases that it holds; coordinators hold none.
    pub leases: Option<u64>,
}

/// A replica as its group's leader knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReplicaStatus {
    /// Where.
    pub node: NodeNamed,
    /// What it is to its group.
    pub role: ReplicaRole,
    /// Whether its node is lost.
    pub is_lost: bool,
    /// Entries that it lacks, as far as the leader knows.
    pub behind: Option<u64>,
}

/// A partition as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartitionStatus {
    /// Which.
    pub partition: PartitionId,
    /// Who leads it, if somebody has said so lately.
    pub leader: Option<NodeNamed>,
    /// Its replicas, in the order of their nodes' ids.
    pub replicas: Vec<ReplicaStatus>,
    /// Whether a replica is on its way from or to a node.
    pub is_changing: bool,
    /// Whether it is led, has as many voters as it should, and all of them are there and have caught up.
    pub is_well: bool,
}

/// What is said of a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JobPhase {
    /// What whoever is at it says.
    Work(WorkState),
    /// Nobody is at it before the index's key is there.
    WaitingForKey,
    /// Whoever was at it is lost; another coordinator takes it over.
    Unattended,
}

/// A background job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobStatus {
    /// What is done.
    pub kind: JobKind,
    /// To which index.
    pub index: String,
    /// How far.
    pub phase: JobPhase,
    /// Who is at it.
    pub node: Option<NodeNamed>,
    /// Items gone through, and to go through; 0 while that is not known.
    pub items: (u64, u64),
}

/// The whole at a glance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeploymentStatus {
    /// Which deployment.
    pub deployment: DeploymentId,
    /// Whether the leader of the metadata group was asked.
    pub is_current: bool,
    /// The coordinator that was asked by the caller.
    pub answered_by: NodeNamed,
    /// The metadata group: its leader and replicas.
    pub metadata: GroupStatus,
    /// Nodes by phase, without those that are gone.
    pub nodes: Vec<(NodePhase, usize)>,
    /// Nodes on whose disk writes are refused.
    pub full_nodes: usize,
    /// The least that is free on a disk, in bytes.
    pub free_bytes_min: Option<u64>,
    /// Partitions.
    pub partitions: PartitionCounts,
    /// Key leases that nodes hold.
    pub leases: u64,
    /// Background jobs, as many as [`limits::JOBS_TOLD_MAX`].
    pub jobs: Vec<JobStatus>,
    /// How many there are.
    pub jobs_total: usize,
}

/// Who leads a group, and its replicas.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupStatus {
    /// Who leads.
    pub leader: Option<NodeNamed>,
    /// Who else is of it.
    pub replicas: Vec<ReplicaStatus>,
}

/// How many partitions are how.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PartitionCounts {
    /// All there are.
    pub total: usize,
    /// Those that were given to nodes.
    pub assigned: usize,
    /// Those of which somebody says that they lead them.
    pub led: usize,
    /// Those at which everything is as it should be.
    pub well: usize,
    /// Those of which a replica is moving.
    pub changing: usize,
    /// Replicas of all of them.
    pub replicas: usize,
    /// Replicas that lack more than a few entries.
    pub replicas_behind: usize,
    /// Replicas on nodes that are lost.
    pub replicas_lost: usize,
}

/// What is said of nodes and partitions.
pub(super) struct View<'a>(pub(super) &'a Survey);

impl View<'_> {
    pub(super) fn named(&self, id: NodeId) -> NodeNamed {
        let record = self.0.deployment.node(id);
        let name = record.map(|record| record.node.name.clone()).unwrap_or_default();
        NodeNamed { id, name }
    }

    fn report(&self, group: Group) -> Option<&GroupReport> {
        self.0.sightings.as_ref()?.groups.get(&group)
    }

    fn word(&self, node: NodeId) -> Option<&(Duration, NodeReport)> {
        self.0.sightings.as_ref()?.nodes.get(&node)
    }

    /// The word of a node that is there.
    fn fresh_word(&self, node: NodeId) -> Option<&NodeReport> {
        let (ago, report) = self.word(node)?;
        (*ago < LOST_AFTER).then_some(report)
    }

    fn is_lost(&self, node: NodeId) -> bool {
        let member = self.0.deployment.member(node);
        member.is_none_or(|record| record.lost_since.is_some())
    }

    /// A node as it is.
    pub(super) fn node(&self, record: &NodeRecord) -> NodeStatus {
        let table = &self.0.deployment.table;
        let leads = |group| {
            self.report(group)
                .is_some_and(|report| report.leader == record.id)
        };
        let hosted = table.iter().filter(|(_, a)| a.role_of(record.id).is_some());
        let hosted: Vec<Group> = hosted.map(|(group, _)| group).collect();
        let partitions = hosted.iter().filter(|group| **group != Group::Metadata);
        let behind = hosted
            .iter()
            .filter_map(|group| behind(self.report(*group)?, record.id));
        let report = self.fresh_word(record.id);
        NodeStatus {
            node: self.named(record.id),
            role: record.node.role,
            zone: record.node.zone.clone(),
            address: record.node.address.clone(),
            version: record.node.version.clone(),
            phase: phase(record, report),
            lost_since: record.lost_since,
            heard_ago: self.word(record.id).map(|(ago, _)| *ago),
            leads_metadata: leads(Group::Metadata),
            leads: table
                .iter()
                .filter(|(group, _)| *group != Group::Metadata && leads(*group))
                .count(),
            replicas: partitions.count(),
            behind: behind.max(),
            disk: report.and_then(|report| report.disk),
            full: report.map(|report| report.full),
            leases: report
                .filter(|_| record.node.role != Role::Coordinator)
                .map(|report| report.leases),
        }
    }

    /// A partition as it is; `None` before it was given to nodes.
    pub(super) fn partition(&self, partition: PartitionId) -> Option<PartitionStatus> {
        let deployment = &self.0.deployment;
        let assignment = deployment.table.get(Group::Partition(partition))?;
        let GroupStatus { leader, replicas } = self.group(Group::Partition(partition), assignment);
        let hosts = deployment
            .nodes()
            .filter(|record| record.is_member() && record.node.role.hosts(Group::Partition(partition)));
        let wanted = usize::from(deployment.settings.replicas).min(hosts.count());
        let is_changing = assignment.change.is_some();
        let is_well = leader.is_some()
            && !is_changing
            && assignment.voters.len() >= wanted
            && replicas.iter().all(ReplicaStatus::is_well);
        Some(PartitionStatus {
            partition,
            leader,
            replicas,
            is_changing,
            is_well,
        })
    }

    fn group(&self, group: Group, assignment: &Assignment) -> GroupStatus {
        let report = self.report(group);
        let mut replicas: Vec<_> = assignment.replicas().collect();
        replicas.sort_unstable_by_key(|(node, _)| *node);
        let replica = |(node, role)| ReplicaStatus {
            node: self.named(node),
            role,
            is_lost: self.is_lost(node),
            behind: report.and_then(|report| behind(report, node)),
        };
        GroupStatus {
            leader: report.map(|report| self.named(report.leader)),
            replicas: replicas.into_iter().map(replica).collect(),
        }
    }

    /// The whole at a glance.
    pub(super) fn whole(&self, jobs: Vec<JobStatus>) -> DeploymentStatus {
        let deployment = &self.0.deployment;
        let members = deployment.nodes().filter(|record| record.is_member());
        let nodes: Vec<NodeStatus> = members.map(|record| self.node(record)).collect();
        let count = |phase| nodes.iter().filter(|node| node.phase == phase).count();
        let free = nodes.iter().filter_map(|node| Some(node.disk?.free_bytes));
        let jobs_total = jobs.len();
        DeploymentStatus {
            deployment: deployment.id,
            is_current: self.0.sightings.is_some(),
            answered_by: self.named(self.0.asked),
            metadata: self.group(Group::Metadata, &deployment.table.metadata),
            nodes: NodePhase::OF_MEMBERS.map(|phase| (phase, count(phase))).to_vec(),
            full_nodes: nodes.iter().filter(|node| node.full == Some(true)).count(),
            free_bytes_min: free.min(),
            partitions: self.counts(),
            leases: nodes.iter().filter_map(|node| node.leases).sum(),
            jobs: jobs.into_iter().take(limits::JOBS_TOLD_MAX).collect(),
            jobs_total,
        }
    }

    fn counts(&self) -> PartitionCounts {
        let all = (0..self.0.deployment.partitions).map(PartitionId);
        let mut counts = PartitionCounts {
            total: all.len(),
            ..PartitionCounts::default()
        };
        for partition in all.filter_map(|partition| self.partition(partition)) {
            let replicas = &partition.replicas;
            counts.assigned += 1;
            counts.led += usize::from(partition.leader.is_some());
            counts.well += usize::from(partition.is_well);
            counts.changing += usize::from(partition.is_changing);
            counts.replicas += replicas.len();
            counts.replicas_behind += replicas.iter().filter(|replica| replica.is_behind()).count();
            counts.replicas_lost += replicas.iter().filter(|replica| replica.is_lost).count();
        }
        counts
    }

    /// All background jobs: what coordinators say that they are at, and what nobody is at.
    pub(super) fn jobs(&self, own: Vec<Work>, indexes: &[Arc<IndexRecord>]) -> Vec<JobStatus> {
        let names: HashMap<IndexId, &str> = indexes
            .iter()
            .map(|record| (record.id, record.name.as_str()))
            .collect();
        let asked = self.0.asked;
        let heard = self
            .0
            .sightings
            .iter()
            .flat_map(|sightings| sightings.nodes.keys());
        let others = heard.filter(|node| **node != asked).filter_map(|node| {
            let report = self.fresh_word(*node)?;
            Some(report.work.iter().map(|work| (*node, *work)))
        });
        let own = own.into_iter().map(|work| (asked, work));
        let works: Vec<(NodeId, Work)> = own.chain(others.flatten()).collect();
        let is_at_work = |job: JobName| works.iter().any(|(_, work)| work.job == job);

        let told = works.iter().map(|(node, work)| {
            (
                work.job,
                JobPhase::Work(work.state),
                Some(*node),
                (work.done, work.total),
            )
        });
        let claimed = self.0.deployment.jobs().filter(|record| !is_at_work(record.name));
        let claimed = claimed.map(|record| {
            let phase = match self.is_lost(record.owner) {
                true => JobPhase::Unattended,
                // It has not said so yet.
                false => JobPhase::Work(WorkState::Preparing),
            };
            (record.name, phase, Some(record.owner), (0, 0))
        });
        let halted = indexes.iter().filter_map(|record| {
            let job = JobName {
                kind: JobKind::Rotation,
                index: record.id,
            };
            let is_claimed = self.0.deployment.jobs().any(|claimed| claimed.name == job);
            let is_on_its_way = record.key.epochs().stage() != EpochStage::Settled;
            let halted = is_on_its_way && !is_claimed && !is_at_work(job);
            halted.then_some((job, JobPhase::WaitingForKey, None, (0, 0)))
        });
        let status = |(job, phase, node, items): (JobName, JobPhase, Option<NodeId>, (u64, u64))| {
            Some(JobStatus {
                kind: job.kind,
                index: (*names.get(&job.index)?).to_owned(),
                phase,
                node: node.map(|node| self.named(node)),
                items,
            })
        };
        told.chain(claimed).chain(halted).filter_map(status).collect()
    }
}

impl NodePhase {
    /// Those of nodes that belong to the deployment.
    const OF_MEMBERS: [Self; 5] = [
        Self::Joined,
        Self::Joining,
        Self::Draining,
        Self::Decommissioning,
        Self::Lost,
    ];
}

impl ReplicaStatus {
    fn is_behind(&self) -> bool {
        self.behind
            .is_some_and(|behind| behind > limits::CAUGHT_UP_ENTRIES)
    }

    fn is_well(&self) -> bool {
        !self.is_lost && self.behind.is_some() && !self.is_behind()
    }
}

fn phase(record: &NodeRecord, report: Option<&NodeReport>) -> NodePhase {
    match record.state {
        NodeState::Removed => NodePhase::Decommissioned,
        NodeState::Replaced { .. } => NodePhase::Replaced,
        NodeState::Decommissioning => NodePhase::Decommissioning,
        _ if record.lost_since.is_some() => NodePhase::Lost,
        NodeState::Joining => NodePhase::Joining,
        NodeState::Active if report.is_some_and(|report| report.stopping) => NodePhase::Draining,
        NodeState::Active => NodePhase::Joined,
    }
}

/// Entries that a replica lacks. Whoever leads lacks none.
fn behind(report: &GroupReport, node: NodeId) -> Option<u64> {
    match report.leader == node {
        true => Some(0),
        false => report.behind.get(&node).copied(),
    }
}

#[cfg(test)]
mod tests;
