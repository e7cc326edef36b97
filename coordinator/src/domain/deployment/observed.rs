//! What the leader of the metadata group has heard of nodes and groups since it leads. Soft: whoever leads next hears it anew.

use super::Group;
use sealdex_core::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Without word for so long, a node is not counted on. Several heartbeats, so that one lost message means nothing.
pub const LOST_AFTER: Duration = Duration::from_secs(10);

/// What a node says of itself with each heartbeat.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NodeReport {
    /// It is on its way out, and will be back: nothing new is given to it.
    pub stopping: bool,
    /// Its disk is too full to take replicas.
    pub full: bool,
}

/// What the leader of a group says of it. It must be true at a moment at which the reporter led the group for certain (a read
/// barrier) and had seen version `knows` of the group's assignment: a report from before a change must never pass for one from
/// after it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupReport {
    /// Which group.
    pub group: Group,
    /// Who reports, and leads it.
    pub leader: NodeId,
    /// The term that it leads in.
    pub term: u64,
    /// The version of the assignment that it had seen.
    pub knows: u64,
    /// Voters, of the membership committed last.
    pub voters: BTreeSet<NodeId>,
    /// Learners, of the same.
    pub learners: BTreeSet<NodeId>,
    /// A newer membership is not committed yet, or this one is a joint one.
    pub changing: bool,
    /// Entries that each follower lacks, as far as the leader knows.
    pub behind: BTreeMap<NodeId, u64>,
}

/// What was heard, and when. Moments are durations on a clock that never goes back.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    since: Duration,
    nodes: BTreeMap<NodeId, (Duration, NodeReport)>,
    groups: BTreeMap<Group, (Duration, GroupReport)>,
}

impl Observed {
    pub(super) fn since(now: Duration) -> Self {
        Self {
            since: now,
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    pub(super) fn heard(&mut self, node: NodeId, report: NodeReport, now: Duration) {
        self.nodes.insert(node, (now, report));
    }

    /// Takes a report, unless a later leader or the same one with more knowledge was heard before.
    pub(super) fn reported(&mut self, report: GroupReport, now: Duration) {
        let stale = self
            .groups
            .get(&report.group)
            .is_some_and(|(_, known)| (known.term, known.knows) > (report.term, report.knows));
        if !stale {
            self.groups.insert(report.group, (now, report));
        }
    }

    /// Whether the node was heard of lately. Of nobody this is taken for granted: a new leader waits until it hears.
    pub(super) fn is_live(&self, node: NodeId, now: Duration) -> bool {
        let heard = self.nodes.get(&node);
        heard.is_some_and(|(at, _)| now.saturating_sub(*at) < LOST_AFTER)
    }

    /// For how long nothing was heard of the node by this leader.
    pub(super) fn silence(&self, node: NodeId, now: Duration) -> Duration {
        let heard = self.nodes.get(&node).map_or(self.since, |(at, _)| *at);
        now.saturating_sub(heard)
    }

    /// The node's last word, if it was heard of lately.
    pub(super) fn node(&self, node: NodeId, now: Duration) -> Option<NodeReport> {
        let heard = self.nodes.get(&node)?;
        self.is_live(node, now).then_some(heard.1)
    }

    /// The group's last report, unless it is old.
    pub(super) fn group(&self, group: Group, now: Duration) -> Option<&GroupReport> {
        let (at, report) = self.groups.get(&group)?;
        (now.saturating_sub(*at) < LOST_AFTER).then_some(report)
    }
}
