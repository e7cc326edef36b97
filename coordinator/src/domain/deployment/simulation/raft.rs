//! A Raft group as far as the controller can tell: who votes, who leads, who lacks how much. What openraft guarantees is taken
//! for granted; what it leaves to its user is not.

use super::rng::Rng;
use crate::domain::deployment::{Action, Assignment, Group, GroupReport};
use sealdex_core::{NodeId, limits};
use std::collections::{BTreeMap, BTreeSet};

/// Entries a second that a group takes.
const WRITES: u64 = 10;

pub(super) struct Raft {
    pub(super) group: Group,
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
    pub(super) leader: Option<NodeId>,
    /// A joint change in the log, and when it may be through.
    pub(super) pending: Option<(u64, BTreeSet<NodeId>)>,
    /// Who holds a replica, and how many entries it lacks.
    pub(super) behind: BTreeMap<NodeId, u64>,
    term: u64,
}

impl Raft {
    pub(super) fn new(group: Group, voters: &BTreeSet<NodeId>) -> Self {
        Self {
            group,
            voters: voters.clone(),
            learners: BTreeSet::new(),
            leader: None,
            pending: None,
            behind: voters.iter().map(|node| (*node, 0)).collect(),
            term: 0,
        }
    }

    /// Whether those make a majority of every set of voters that counts at the moment.
    pub(super) fn has_quorum(&self, up: impl Fn(NodeId) -> bool) -> bool {
        let quorum = |voters: &BTreeSet<NodeId>| {
            let counted = voters
                .iter()
                .filter(|node| up(**node) && self.behind.contains_key(*node));
            counted.count() > voters.len() / 2
        };
        quorum(&self.voters) && self.pending.iter().all(|(_, voters)| quorum(voters))
    }

    /// A second passes.
    pub(super) fn tick(
        &mut self,
        rng: &mut Rng,
        now: u64,
        up: impl Fn(NodeId) -> bool,
        speed: impl Fn(NodeId) -> u64,
    ) {
        let quorum = self.has_quorum(&up);
        if self.leader.is_some_and(|leader| !up(leader) || !quorum) {
            self.leader = None;
            // What was not replicated before the leader fell may be gone.
            if rng.percent(50) {
                self.pending = None;
            }
        }
        if self.leader.is_none() && self.has_quorum(&up) && rng.percent(40) {
            let able = self
                .voters
                .iter()
                .filter(|node| up(**node) && self.behind.contains_key(*node));
            let best = able.min_by_key(|node| (self.behind[*node], rng.next()));
            let best = *best.expect("a majority is up");
            self.lead(best);
        }
        let Some(leader) = self.leader else { return };
        for (node, behind) in &mut self.behind {
            let copied = if up(*node) { speed(*node) } else { 0 };
            *behind = (*behind + WRITES).saturating_sub(copied);
        }
        self.behind.insert(leader, 0);
        if let Some((_, voters)) = self.pending.take_if(|(due, _)| *due <= now) {
            self.learners.retain(|node| !voters.contains(node));
            self.voters = voters;
            self.leader = Some(leader).filter(|leader| self.voters.contains(leader));
        }
    }

    fn lead(&mut self, node: NodeId) {
        self.leader = Some(node);
        self.term += 1;
        self.behind.insert(node, 0);
    }

    /// Does what is asked, if that is possible; `known` is the assignment as the leader knows it.
    pub(super) fn carry_out(&mut self, action: &Action, known: &Assignment, due: u64, up: &BTreeSet<NodeId>) {
        if self.pending.is_some() {
            return;
        }
        match action {
            Action::AddLearner {
                version,
                leader,
                node,
                ..
            } if self.obeys(*leader, *version, known) && !self.voters.contains(node) => {
                self.learners.insert(*node);
            }
            Action::RemoveLearner {
                version,
                leader,
                node,
                ..
            } if self.obeys(*leader, *version, known) => {
                self.learners.remove(node);
            }
            Action::ChangeVoters {
                version,
                leader,
                voters,
                ..
            } if self.obeys(*leader, *version, known)
                && voters.intersection(up).count() > voters.len() / 2
                && voters
                    .iter()
                    .all(|node| self.voters.contains(node) || self.learners.contains(node)) =>
            {
                self.pending = Some((due, voters.clone()));
            }
            Action::TransferLeader { leader, to, .. }
                if self.leader == Some(*leader)
                    && self.voters.contains(to)
                    && self
                        .behind
                        .get(to)
                        .is_some_and(|behind| *behind <= limits::CAUGHT_UP_ENTRIES) =>
            {
                self.lead(*to);
            }
            _ => {}
        }
    }

    fn obeys(&self, leader: NodeId, version: u64, known: &Assignment) -> bool {
        self.leader == Some(leader) && known.version == version
    }

    /// What the leader says, having made sure that it leads.
    pub(super) fn report(&self, knows: u64, up: impl Fn(NodeId) -> bool) -> Option<GroupReport> {
        let leader = self.leader.filter(|_| self.has_quorum(up))?;
        let members = |node: &&NodeId| self.voters.contains(*node) || self.learners.contains(*node);
        Some(GroupReport {
            group: self.group,
            leader,
            term: self.term,
            knows,
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            changing: self.pending.is_some(),
            behind: self
                .behind
                .iter()
                .filter(|(node, _)| members(node))
                .map(|(n, b)| (*n, *b))
                .collect(),
        })
    }
}
