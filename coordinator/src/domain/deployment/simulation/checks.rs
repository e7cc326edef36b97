//! What must hold: of every action when it is asked for, and of the whole when calm has returned.

use super::world::World;
use crate::domain::deployment::*;
use sealdex_core::{NodeId, limits};
use std::collections::{BTreeMap, BTreeSet};

/// Seconds that a controller needs to notice: the time after which a node is not counted on, and a few lost heartbeats.
const NOTICE: u64 = LOST_AFTER.as_secs() + 5;

/// Entries that a node may have fallen behind since the report that a decision rests on.
const SLACK: u64 = 10 * (LOST_AFTER.as_secs() + 5);

/// Who is removed has no replica left. A change of voters leaves a majority that the controller may count on, and gives no vote to who lacks entries.
pub(super) fn action_is_safe(world: &World, action: &Action) -> Result<(), String> {
    let (group, voters) = match action {
        Action::ChangeVoters { group, voters, .. } => (group, voters),
        Action::Propose(Command::SetNode {
            node,
            to: NodeChange::Remove,
        }) => {
            return removal_is_clean(world, *node);
        }
        _ => return Ok(()),
    };
    let counted_on = |node: &&NodeId| {
        let fresh = world
            .machine(**node)
            .is_some_and(|machine| world.now - machine.since < NOTICE);
        world.is_up(**node) || fresh
    };
    if voters.iter().filter(counted_on).count() <= voters.len() / 2 {
        return Err(format!(
            "{group:?} is to have voters {voters:?}, most of them lost"
        ));
    }
    let raft = &world.groups[group];
    let short = |node: &&NodeId| {
        let behind = raft.behind.get(*node);
        world.is_up(**node) && behind.is_none_or(|behind| *behind > limits::CAUGHT_UP_ENTRIES + SLACK)
    };
    match voters.difference(&raft.voters).find(short) {
        None => Ok(()),
        Some(node) => Err(format!(
            "node {node} is to vote in {group:?} and has not caught up"
        )),
    }
}

/// A node that is heard of is not removed while it has a replica: nobody could tell it any more to delete it.
fn removal_is_clean(world: &World, node: NodeId) -> Result<(), String> {
    let is_lost = |node| {
        let record = world.deployment.node(node);
        record.is_none_or(|record| record.lost_since.is_some())
    };
    let mut partitions = world.groups.values().filter(|raft| raft.group != Group::Metadata);
    match partitions.find(|raft| raft.behind.contains_key(&node) && !is_lost(node)) {
        Some(raft) => Err(format!(
            "node {node} is removed with a replica of {:?}",
            raft.group
        )),
        None => Ok(()),
    }
}

/// Why the deployment is not yet as it should be; none if it is.
pub(super) fn unfinished(world: &World) -> Option<String> {
    let deployment = &world.deployment;
    if deployment.table.partitions.is_empty() {
        let shards = able(world, Role::Shard).len();
        let expected = usize::from(deployment.settings.expected_shards);
        return (shards >= expected).then(|| "no table".into());
    }
    deployment
        .table
        .iter()
        .find_map(|(group, assignment)| group_unfinished(world, group, assignment))
        .or_else(|| nodes_unfinished(world))
        .or_else(|| unbalanced(world))
        .or_else(|| leaders_uneven(world))
}

/// Nodes that run, and may host replicas.
fn able(world: &World, role: Role) -> BTreeSet<NodeId> {
    let nodes = world.deployment.nodes();
    let able = nodes.filter(|node| node.node.role == role && node.takes_replicas() && world.is_up(node.id));
    able.map(|node| node.id).collect()
}

fn group_unfinished(world: &World, group: Group, assignment: &Assignment) -> Option<String> {
    let raft = world.groups.get(&group)?;
    if assignment.change.is_some() || raft.voters != assignment.voters || !raft.learners.is_empty() {
        return Some(format!("{group:?} is changing: {assignment:?}"));
    }
    let (able, wanted) = match group {
        Group::Metadata => (able(world, Role::Coordinator), limits::METADATA_VOTERS_MAX),
        Group::Partition(_) => (
            able(world, Role::Shard),
            usize::from(world.deployment.settings.replicas),
        ),
    };
    let good = assignment.voters.intersection(&able).count();
    (good != able.len().min(wanted) || assignment.voters.len() > wanted)
        .then(|| format!("{group:?} has {good} good replicas of {wanted}: {assignment:?}"))
}

fn nodes_unfinished(world: &World) -> Option<String> {
    let mut leaving = world
        .deployment
        .nodes()
        .filter(|node| node.state == NodeState::Decommissioning);
    let stuck = leaving.find(|node| {
        let able = able(world, node.node.role);
        let bound = |(_, assignment): (Group, &Assignment)| {
            assignment.voters.contains(&node.id) && able.is_subset(&assignment.voters)
        };
        !world.deployment.table.iter().any(bound)
    });
    stuck.map(|node| format!("node {} is still being decommissioned", node.id))
}

/// Replicas are spread over zones as far as there are zones, and no move would even out nodes.
fn unbalanced(world: &World) -> Option<String> {
    let deployment = &world.deployment;
    let able = able(world, Role::Shard);
    let partitions = &deployment.table.partitions;
    if partitions.iter().any(|a| !a.voters.is_subset(&able)) {
        return None;
    }
    let zone = |node: &NodeId| &deployment.nodes[node].node.zone;
    let zones_of = |nodes: &BTreeSet<NodeId>| nodes.iter().map(zone).collect::<BTreeSet<_>>().len();
    let zones = zones_of(&able);
    if let Some(crowded) = partitions
        .iter()
        .find(|a| zones_of(&a.voters) < zones.min(a.voters.len()))
    {
        return Some(format!("replicas share a zone: {crowded:?}"));
    }
    let mut loads: BTreeMap<NodeId, usize> = able.iter().map(|node| (*node, 0)).collect();
    for node in partitions.iter().flat_map(|a| &a.voters) {
        loads.entry(*node).and_modify(|load| *load += 1);
    }
    let (low, high) = (loads.values().min()?, loads.values().max()?);
    if zones == 1 && high - low > 1 {
        return Some(format!("uneven: {loads:?}"));
    }
    let uneven = partitions.iter().any(|a| {
        let better = |from: &NodeId, to: &NodeId| {
            let moved: BTreeSet<NodeId> = a
                .voters
                .iter()
                .filter(|n| *n != from)
                .chain([to])
                .copied()
                .collect();
            loads[from] >= loads[to] + 2 && zones_of(&moved) == zones_of(&a.voters)
        };
        let free = able.difference(&a.voters);
        free.clone()
            .any(|to| a.voters.iter().any(|from| better(from, to)))
    });
    uneven.then(|| format!("a move would even out: {loads:?}"))
}

/// No node leads two partitions more than a voter of one of them that could lead it as well.
fn leaders_uneven(world: &World) -> Option<String> {
    let partitions = world.groups.values().filter(|raft| raft.group != Group::Metadata);
    let leads = |node: NodeId| {
        let partitions = partitions.clone();
        partitions.filter(|raft| raft.leader == Some(node)).count()
    };
    let able = able(world, Role::Shard);
    let uneven = partitions.clone().find(|raft| {
        let could = |node: &&NodeId| able.contains(*node) && raft.behind[*node] <= limits::CAUGHT_UP_ENTRIES;
        let mut others = raft.voters.iter().filter(could);
        raft.leader
            .is_some_and(|leader| others.any(|node| leads(leader) >= leads(*node) + 2))
    });
    uneven.map(|raft| format!("{:?} is led by a node that leads many", raft.group))
}
