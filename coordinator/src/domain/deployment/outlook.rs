//! The deployment as it was decided, beside what was heard of it: what every decision looks at.

use super::observed::{GroupReport, NodeReport, Observed};
use super::{Assignment, Deployment, Group, NodeRecord, NodeState};
use sealdex_core::{NodeId, limits};
use std::collections::BTreeSet;
use std::time::Duration;

/// One moment's view.
#[derive(Clone, Copy)]
pub(super) struct Outlook<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) observed: &'a Observed,
    pub(super) now: Duration,
}

impl<'a> Outlook<'a> {
    /// Whether the node can be counted on to vote.
    pub(super) fn is_live(&self, node: NodeId) -> bool {
        self.deployment.member(node).is_some() && self.observed.is_live(node, self.now)
    }

    /// Whether a majority of them can be counted on.
    pub(super) fn has_majority(&self, voters: &BTreeSet<NodeId>) -> bool {
        let live = voters.iter().filter(|node| self.is_live(**node)).count();
        live > voters.len() / 2
    }

    /// Whether its replicas belong elsewhere: it is gone, on its way out, or lost for longer than the grace period.
    pub(super) fn is_unfit(&self, node: NodeId) -> bool {
        self.deployment.member(node).is_none_or(|record| {
            let silent = self.observed.silence(node, self.now) >= self.deployment.settings.grace();
            record.state == NodeState::Decommissioning || (record.lost_since.is_some() && silent)
        })
    }

    /// Nodes that may be given a replica of the group.
    pub(super) fn takers(&self, group: Group) -> impl Iterator<Item = &'a NodeRecord> + use<'a> {
        let Self {
            deployment,
            observed,
            now,
        } = *self;
        let ready = |report: &NodeReport| !report.stopping && !report.full;
        deployment.nodes().filter(move |record| {
            record.takes_replicas()
                && record.node.role.hosts(group)
                && observed.node(record.id, now).is_some_and(ready)
        })
    }

    /// The group's last report, unless it is old.
    pub(super) fn report(&self, group: Group) -> Option<&'a GroupReport> {
        self.observed.group(group, self.now)
    }

    /// The report of a group that has done all that the table says and is asked for nothing else.
    pub(super) fn settled(&self, group: Group, assignment: &Assignment) -> Option<&'a GroupReport> {
        self.report(group).filter(|report| {
            assignment.change.is_none()
                && report.knows >= assignment.version
                && !report.changing
                && report.voters == assignment.voters
                && report.learners.is_empty()
        })
    }

    /// Replicas that the node hosts, or will when all changes are through.
    pub(super) fn load(&self, node: NodeId) -> usize {
        let partitions = &self.deployment.table.partitions;
        partitions.iter().filter(|a| a.is_to_stay(node)).count()
    }

    /// The zone of a node; that of one unknown is nobody else's.
    pub(super) fn zone(&self, node: NodeId) -> Option<&'a str> {
        self.deployment.node(node).map(|record| record.node.zone.as_str())
    }

    /// Whether one of them is in that zone.
    pub(super) fn is_in_zone(&self, nodes: &BTreeSet<NodeId>, zone: &str) -> bool {
        nodes.iter().any(|node| self.zone(*node) == Some(zone))
    }

    /// Whether the group's leader knows the node to lack next to nothing.
    pub(super) fn has_caught_up(report: &GroupReport, node: NodeId) -> bool {
        let behind = report.behind.get(&node);
        report.leader == node || behind.is_some_and(|behind| *behind <= limits::CAUGHT_UP_ENTRIES)
    }
}
