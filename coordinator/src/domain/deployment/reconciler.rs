//! Brings a group's membership to what the table says, one action at a time. Every action follows from table and report alone, so
//! that whoever leads the metadata group next goes on where the last one stopped.

use super::observed::GroupReport;
use super::outlook::Outlook;
use super::{Action, Assignment, Change, Command, Group, Step};
use sealdex_core::NodeId;
use std::collections::BTreeSet;

/// What the group needs next. None: nothing, or nothing that can be done at the moment.
pub(super) fn next_action(outlook: Outlook<'_>, group: Group, assignment: &Assignment) -> Option<Action> {
    let report = outlook.report(group)?;
    if report.changing || report.knows < assignment.version {
        return None;
    }
    let version = assignment.version;
    let advance = |step| Action::Propose(Command::AdvanceChange { group, version, step });
    if let Some(step) = way_back(outlook, assignment, report) {
        return Some(advance(step));
    }
    let learner = match assignment.change {
        Some(Change::CatchingUp { learner, .. }) => Some(learner),
        _ => None,
    };
    let wanted: BTreeSet<NodeId> = assignment.voters.iter().copied().chain(learner).collect();
    let leader = report.leader;
    if let Some(node) = missing(outlook, &wanted, report) {
        return Some(Action::AddLearner {
            group,
            version,
            leader,
            node,
        });
    }
    if report.voters != assignment.voters {
        return change_voters(outlook, group, assignment, report);
    }
    if let Some(node) = report.learners.difference(&wanted).next() {
        return Some(Action::RemoveLearner {
            group,
            version,
            leader,
            node: *node,
        });
    }
    match assignment.change? {
        Change::Switching { .. } => Some(advance(Step::Settle)),
        Change::CatchingUp { learner, .. } => {
            let ready = outlook.is_live(learner)
                && Outlook::has_caught_up(report, learner)
                && outlook.has_majority(&assignment.prospect());
            ready.then(|| advance(Step::Promote))
        }
    }
}

/// A change that leads nowhere is undone, as long as the group has not followed: its new node turned out to be of no use, or so
/// many of the others were lost for good meanwhile that the new voters would have no majority.
fn way_back(outlook: Outlook<'_>, assignment: &Assignment, report: &GroupReport) -> Option<Step> {
    match assignment.change? {
        Change::CatchingUp { learner, .. } => outlook.is_unfit(learner).then_some(Step::Abandon),
        Change::Switching { added, removed } => {
            let voters = &assignment.voters;
            let untouched = added.is_none_or(|node| !report.voters.contains(&node))
                && removed.is_none_or(|node| report.voters.contains(&node));
            let hopeless = !outlook.has_majority(voters) && voters.iter().any(|node| outlook.is_unfit(*node));
            let useless = added.is_some_and(|node| outlook.is_unfit(node));
            (untouched && (useless || hopeless)).then_some(Step::Retreat)
        }
    }
}

/// Somebody who is to be of the group, is not, and can be reached.
fn missing(outlook: Outlook<'_>, wanted: &BTreeSet<NodeId>, report: &GroupReport) -> Option<NodeId> {
    let outside = |node: &&NodeId| !report.voters.contains(*node) && !report.learners.contains(*node);
    let mut outside = wanted.iter().filter(outside);
    outside.find(|node| outlook.is_live(**node)).copied()
}

/// All new voters at once, when each of them has caught up and a majority before and after can be counted on. A leader that is to
/// leave hands over first, if anybody stays to whom it could.
fn change_voters(
    outlook: Outlook<'_>,
    group: Group,
    assignment: &Assignment,
    report: &GroupReport,
) -> Option<Action> {
    let (old, new) = (&report.voters, &assignment.voters);
    let ready = |node: &NodeId| outlook.is_live(*node) && Outlook::has_caught_up(report, *node);
    let safe = new.difference(old).all(ready) && outlook.has_majority(old) && outlook.has_majority(new);
    if !safe {
        return None;
    }
    if new.contains(&report.leader) || new.is_disjoint(old) {
        return Some(Action::ChangeVoters {
            group,
            version: assignment.version,
            leader: report.leader,
            voters: new.clone(),
        });
    }
    let heirs = new.intersection(old).copied().filter(ready);
    let to = heirs.min_by_key(|node| report.behind.get(node))?;
    Some(Action::TransferLeader {
        group,
        leader: report.leader,
        to,
    })
}
