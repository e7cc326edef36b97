//! What the leader of the metadata group has heard of nodes and groups since it leads. Soft: whoever leads next hears it anew.

use super::{Group, Work};
use sealdex_core::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Without word for so long, a node is not counted on. Several heartbeats, so that one lost message means nothing.
pub const LOST_AFTER: Duration = Duration::from_secs(10);

/// What a node says of itself with each heartbeat.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeReport {
    /// It is on its way out, and will be back: nothing new is given to it.
    pub stopping: bool,
    /// Its disk is too full to take replicas.
    pub full: bool,
    /// The disk that its data is on; none where the file system does not say. This and what follows concerns nobody who decides
    /// about replicas, but for `replicas`.
    pub disk: Option<DiskRoom>,
    /// Key leases that it holds.
    pub leases: u64,
    /// Replicas of partitions that are on its disk, named by the table or not.
    pub replicas: u64,
    /// The background work that it is at.
    pub work: Vec<Work>,
}

/// How much room there is on a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiskRoom {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that have to be free for a write that begins something: with fewer, such writes are refused.
    pub needed_bytes: u64,
}

impl DiskRoom {
    /// Whether writes that begin something are refused.
    pub fn is_full(self) -> bool {
        self.free_bytes < self.needed_bytes
    }
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

/// What the leader of the metadata group has heard, for whoever asks how the deployment is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sightings {
    /// Each node's last word, and how long ago that was.
    pub nodes: BTreeMap<NodeId, (Duration, NodeReport)>,
    /// The last report of each group, unless it is old.
    pub groups: BTreeMap<Group, GroupReport>,
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
    pub(super) fn node(&self, node: NodeId, now: Duration) -> Option<&NodeReport> {
        let (_, report) = self.nodes.get(&node)?;
        self.is_live(node, now).then_some(report)
    }

    /// The group's last report, unless it is old.
    pub(super) fn group(&self, group: Group, now: Duration) -> Option<&GroupReport> {
        let (at, report) = self.groups.get(&group)?;
        (now.saturating_sub(*at) < LOST_AFTER).then_some(report)
    }

    pub(super) fn sightings(&self, now: Duration) -> Sightings {
        let nodes = self.nodes.iter();
        let groups = self.groups.keys();
        Sightings {
            nodes: nodes
                .map(|(node, (at, report))| (*node, (now.saturating_sub(*at), report.clone())))
                .collect(),
            groups: groups
                .filter_map(|group| Some((*group, self.group(*group, now)?.clone())))
                .collect(),
        }
    }
}
