//! Which group needs another replica: in place of one that is lost or on its way out, or because it has too few or too many.

use super::outlook::Outlook;
use super::planner::best_place;
use super::{Assignment, Begin, Group, NodeState};
use sealdex_core::{NodeId, limits};
use std::collections::BTreeSet;

/// The most urgent change: the group with the fewest live voters first. Groups that are changing, or whose leader was not heard of
/// lately, are left alone.
pub(super) fn next_change(outlook: Outlook<'_>) -> Option<(Group, Begin)> {
    let groups = outlook.deployment.table.iter();
    let mut groups: Vec<_> = groups
        .filter(|(group, assignment)| outlook.settled(*group, assignment).is_some())
        .collect();
    groups.sort_by_key(|(group, assignment)| {
        let voters = assignment.voters.iter();
        let lost = voters.clone().filter(|node| outlook.is_unfit(**node)).count();
        let live = voters.filter(|node| outlook.is_live(**node)).count();
        (lost == 0, live, *group)
    });
    let mut changes = groups
        .into_iter()
        .filter_map(|(group, assignment)| change_of(outlook, group, assignment).map(|begin| (group, begin)));
    changes.next()
}

/// What the group needs by itself. Of those that are unfit, the ones that are lost come first.
fn change_of(outlook: Outlook<'_>, group: Group, assignment: &Assignment) -> Option<Begin> {
    let voters = &assignment.voters;
    let wanted = match group {
        Group::Metadata => limits::METADATA_VOTERS_MAX,
        Group::Partition(_) => outlook.deployment.settings.replicas.into(),
    };
    let mut unfit: Vec<NodeId> = voters
        .iter()
        .copied()
        .filter(|node| outlook.is_unfit(*node))
        .collect();
    unfit.sort_by_key(|node| outlook.is_live(*node));
    if voters.len() > wanted {
        let most_loaded = voters.iter().copied().max_by_key(|node| outlook.load(*node));
        let mut candidates = unfit.into_iter().chain(most_loaded);
        return candidates.find_map(|node| removal(outlook, voters, node));
    }
    let Some(old) = unfit.first().copied() else {
        let grow = |node| Begin::Add { node, replaces: None };
        let place = (voters.len() < wanted).then(|| best_place(outlook, group, voters, voters));
        return place.flatten().map(grow);
    };
    let rest = without(voters, old);
    match best_place(outlook, group, voters, &rest) {
        Some(node) => Some(Begin::Add {
            node,
            replaces: Some(old),
        }),
        None if group == Group::Metadata => {
            let mut leaving = unfit.into_iter().filter(|node| leaves_for_good(outlook, *node));
            leaving.find_map(|node| removal(outlook, voters, node))
        }
        None => None,
    }
}

/// Coordinators hold the same state, all of them: one that leaves needs no successor. One that is merely lost keeps its vote, for
/// it may come back.
fn leaves_for_good(outlook: Outlook<'_>, node: NodeId) -> bool {
    let record = outlook.deployment.member(node);
    record.is_none_or(|record| record.state == NodeState::Decommissioning)
}

fn removal(outlook: Outlook<'_>, voters: &BTreeSet<NodeId>, node: NodeId) -> Option<Begin> {
    let rest = without(voters, node);
    (!rest.is_empty() && outlook.has_majority(&rest)).then_some(Begin::Remove { node })
}

fn without(voters: &BTreeSet<NodeId>, node: NodeId) -> BTreeSet<NodeId> {
    voters.iter().copied().filter(|other| *other != node).collect()
}
