//! Evens out: replicas over zones and nodes, leaders over nodes. Each step makes one measure smaller (partitions' replicas that
//! share a zone; then the sum of squares of what nodes host), so that it comes to an end and never goes to and fro.

use super::outlook::Outlook;
use super::{Action, Begin, Group};
use sealdex_core::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// The move that evens out most. None while a node that hosts replicas is not heard of: it may be back in a minute.
pub(super) fn next_move(outlook: Outlook<'_>) -> Option<(Group, Begin)> {
    let deployment = outlook.deployment;
    let loads: BTreeMap<NodeId, usize> = deployment
        .nodes()
        .map(|record| (record.id, outlook.load(record.id)))
        .collect();
    let mut hosts = loads.iter().filter(|(_, load)| **load > 0);
    if !deployment.settings.balance || !hosts.all(|(node, _)| outlook.is_live(*node)) {
        return None;
    }
    let partitions = deployment.table.iter().filter(|(group, assignment)| {
        *group != Group::Metadata && outlook.settled(*group, assignment).is_some()
    });
    let moves = partitions.flat_map(|(group, assignment)| {
        let loads = &loads;
        assignment.voters.iter().flat_map(move |from| {
            let free = outlook.takers(group).map(|record| record.id);
            let free = free.filter(move |to| !assignment.voters.contains(to));
            free.map(move |to| {
                (
                    gain(outlook, loads, &assignment.voters, *from, to),
                    group,
                    *from,
                    to,
                )
            })
        })
    });
    let (_, group, from, to) = moves.filter(|(gain, ..)| *gain < (0, 0)).min()?;
    let begin = Begin::Add {
        node: to,
        replaces: Some(from),
    };
    Some((group, begin))
}

/// By how much the move changes, first, the replicas that share a zone with another of their partition, and then the sum of
/// squares of replicas per node (half of it). Negative is better.
fn gain(
    outlook: Outlook<'_>,
    loads: &BTreeMap<NodeId, usize>,
    voters: &BTreeSet<NodeId>,
    from: NodeId,
    to: NodeId,
) -> (i8, i64) {
    let rest: BTreeSet<NodeId> = voters.iter().copied().filter(|node| *node != from).collect();
    let crowded = |node| {
        outlook
            .zone(node)
            .is_some_and(|zone| outlook.is_in_zone(&rest, zone))
    };
    let load = |node| loads.get(&node).map_or(0, |load| *load as i64);
    (
        i8::from(crowded(to)) - i8::from(crowded(from)),
        load(to) - load(from) + 1,
    )
}

/// A leadership that a node with many gives to one with at least two fewer. Only where a group is settled and the other has
/// caught up.
pub(super) fn next_transfer(outlook: Outlook<'_>) -> Option<Action> {
    let table = &outlook.deployment.table;
    let partitions = table.iter().filter(|(group, _)| *group != Group::Metadata);
    let settled: Vec<_> = partitions
        .filter_map(|(group, assignment)| outlook.settled(group, assignment))
        .collect();
    let leads = |node| settled.iter().filter(|report| report.leader == node).count();
    let transfers = settled.iter().copied().flat_map(|report| {
        let takers = outlook.takers(report.group).map(|record| record.id);
        let heirs =
            takers.filter(move |node| report.voters.contains(node) && Outlook::has_caught_up(report, *node));
        heirs.map(move |to| (leads(report.leader).saturating_sub(leads(to)), report, to))
    });
    let (difference, report, to) =
        transfers.max_by_key(|(difference, report, to)| (*difference, report.group, *to))?;
    (difference >= 2).then_some(Action::TransferLeader {
        group: report.group,
        leader: report.leader,
        to,
    })
}
