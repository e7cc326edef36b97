//! The deployment for those who read it at every request: which nodes host a partition, and what a node hosts.

use super::{Assignment, Deployment, Group, NodeRecord, ReplicaRole};
use sealdex_core::{NodeId, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A replica that a node is to host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hosted {
    /// Of which group.
    pub group: Group,
    /// What the node is to it.
    pub role: ReplicaRole,
    /// The version of the group's assignment. A node never goes back to an earlier one.
    pub version: u64,
    /// The voters to initialise the group with, if it has not begun yet. None: the replica waits for the group's leader.
    pub genesis: Option<BTreeSet<NodeId>>,
}

/// One state of the deployment, indexed for look-up.
#[derive(Clone)]
pub struct MetadataView {
    deployment: Arc<Deployment>,
    hosted: BTreeMap<NodeId, Vec<Hosted>>,
}

impl MetadataView {
    /// Indexes a state.
    pub fn new(deployment: Arc<Deployment>) -> Self {
        let mut hosted: BTreeMap<NodeId, Vec<Hosted>> = BTreeMap::new();
        for (group, assignment) in deployment.table.iter() {
            for (node, role) in assignment.replicas() {
                hosted.entry(node).or_default().push(Hosted {
                    group,
                    role,
                    version: assignment.version,
                    genesis: assignment.genesis().cloned(),
                });
            }
        }
        Self { deployment, hosted }
    }

    /// All that is decided.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The node of that id, also if it is gone. None: it never was, or is gone for long; either way it is refused.
    pub fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.deployment.node(id)
    }

    /// The assignment of a partition. None before the table is made.
    pub fn partition(&self, partition: PartitionId) -> Option<&Assignment> {
        self.deployment.table.get(Group::Partition(partition))
    }

    /// Nodes that may answer for a partition: its voters that are not lost, then those that are.
    pub fn candidates(&self, partition: PartitionId) -> Vec<&NodeRecord> {
        let voters = self.partition(partition).map(|a| &a.voters);
        let voters = voters.into_iter().flatten();
        let mut nodes: Vec<_> = voters.filter_map(|node| self.deployment.member(*node)).collect();
        nodes.sort_by_key(|record| record.lost_since.is_some());
        nodes
    }

    /// What a node hosts, metadata first, then by partition.
    pub fn hosted(&self, node: NodeId) -> &[Hosted] {
        self.hosted.get(&node).map_or(&[], Vec::as_slice)
    }
}
