//! Where replicas go: the first table, and the best place for one more.

use super::outlook::Outlook;
use super::{Group, NodeRecord};
use sealdex_core::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// The voters of each partition at first, once as many shard nodes as expected are there: spread over zones, then evenly over
/// nodes.
pub(super) fn first_table(outlook: Outlook<'_>) -> Option<Vec<Vec<NodeId>>> {
    let deployment = outlook.deployment;
    let nodes: Vec<&NodeRecord> = outlook
        .takers(Group::Partition(sealdex_core::PartitionId(0)))
        .collect();
    if !deployment.table.partitions.is_empty()
        || nodes.len() < usize::from(deployment.settings.expected_shards)
    {
        return None;
    }
    let replicas = nodes.len().min(deployment.settings.replicas.into());
    let mut loads = BTreeMap::new();
    let mut voters_of = || {
        let mut voters: Vec<&NodeRecord> = Vec::with_capacity(replicas);
        while voters.len() < replicas {
            let free = nodes.iter().filter(|node| voters.iter().all(|v| v.id != node.id));
            let next = free.min_by_key(|node| {
                let crowded = voters.iter().any(|voter| voter.node.zone == node.node.zone);
                (crowded, loads.get(&node.id).copied().unwrap_or(0), node.id)
            })?;
            *loads.entry(next.id).or_insert(0) += 1;
            voters.push(next);
        }
        Some(voters.iter().map(|voter| voter.id).collect())
    };
    (0..deployment.partitions).map(|_| voters_of()).collect()
}

/// The best node for one more replica of the group beside those that stay: in a zone that has none, with the fewest replicas.
pub(super) fn best_place(
    outlook: Outlook<'_>,
    group: Group,
    hosts: &BTreeSet<NodeId>,
    stay: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let free = outlook.takers(group).filter(|record| !hosts.contains(&record.id));
    let best = free.min_by_key(|record| {
        let crowded = outlook.is_in_zone(stay, &record.node.zone);
        (crowded, outlook.load(record.id), record.id)
    });
    best.map(|record| record.id)
}
