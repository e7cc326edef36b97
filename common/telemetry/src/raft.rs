//! The groups of this process's replicas, by what they replicate. A group is not named: with as many as there may be, sums and the worst
//! of them say more, and `GET /v1/cluster/partitions` has them one by one.

use crate::label::label;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

label! {
    /// What a group replicates.
    Replicated {
        /// The metadata of the deployment.
        Metadata = "metadata",
        /// A partition.
        Partition = "partition",
    }
}

label! {
    /// What a replica is to its group.
    RaftRole {
        /// It leads.
        Leader = "leader",
        /// It votes, and somebody else leads.
        Follower = "follower",
        /// It follows without a vote.
        Learner = "learner",
        /// It knows nobody who leads.
        Leaderless = "leaderless",
    }
}

/// Observes groups.
pub struct Raft {
    replicas: Family<OfRole, Gauge>,
    unapplied: Family<OfReplicated, Gauge>,
    behind: Family<OfReplicated, Gauge>,
    followers_behind: Family<OfReplicated, Gauge>,
    changing: Family<OfReplicated, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfRole {
    of: Replicated,
    role: RaftRole,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfReplicated {
    of: Replicated,
}

/// The groups that replicate the same kind of thing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RaftFigures {
    /// Replicas that lead.
    pub leaders: u64,
    /// Replicas that vote and do not lead.
    pub followers: u64,
    /// Replicas that follow without a vote.
    pub learners: u64,
    /// Replicas that know nobody who leads.
    pub leaderless: u64,
    /// The most entries that are in a log here and not applied here.
    pub unapplied_max: u64,
    /// Of groups that are led here: the most entries that a follower lacks.
    pub behind_max: u64,
    /// Of groups that are led here: followers that lack more than a few entries.
    pub followers_behind: u64,
    /// Of groups that are led here: those whose members are in the middle of a change.
    pub changing: u64,
}

impl Raft {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let raft = Self {
            replicas: Family::default(),
            unapplied: Family::default(),
            behind: Family::default(),
            followers_behind: Family::default(),
            changing: Family::default(),
        };
        registry.register(
            "raft_replicas",
            "Replicas of groups that are here, by what they are to their group",
            raft.replicas.clone(),
        );
        registry.register(
            "raft_unapplied_entries_max",
            "The most entries of a group that are in the log here and not applied here",
            raft.unapplied.clone(),
        );
        registry.register(
            "raft_behind_entries_max",
            "The most entries that a follower lacks of a group that is led here",
            raft.behind.clone(),
        );
        registry.register(
            "raft_followers_behind",
            "Followers of groups that are led here which lack more than a few entries",
            raft.followers_behind.clone(),
        );
        registry.register(
            "raft_groups_changing",
            "Groups that are led here whose members are in the middle of a change",
            raft.changing.clone(),
        );
        raft
    }

    /// How the groups are at the moment.
    pub fn set(&self, of: Replicated, figures: RaftFigures) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for (role, replicas) in [
            (RaftRole::Leader, figures.leaders),
            (RaftRole::Follower, figures.followers),
            (RaftRole::Learner, figures.learners),
            (RaftRole::Leaderless, figures.leaderless),
        ] {
            self.replicas
                .get_or_create(&OfRole { of, role })
                .set(number(replicas));
        }
        let labels = OfReplicated { of };
        self.unapplied
            .get_or_create(&labels)
            .set(number(figures.unapplied_max));
        self.behind.get_or_create(&labels).set(number(figures.behind_max));
        self.followers_behind
            .get_or_create(&labels)
            .set(number(figures.followers_behind));
        self.changing.get_or_create(&labels).set(number(figures.changing));
    }
}
