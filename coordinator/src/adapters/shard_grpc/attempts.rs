//! Whom to ask next after a failure, and when to give up. Pure: no clock, no network.

use sealdex_core::NodeId;
use sealdex_index::dataplane::ShardError;
use std::collections::{BTreeSet, VecDeque};

/// Hints that are followed in one round: two nodes that name each other must not keep it for ever.
const HOPS_MAX: u8 = 2;

/// Whether a call may be carried out twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Repeat {
    /// It reads, or writes what a second time changes nothing, whatever happened in between.
    Safe,
    /// A second time it could undo what somebody else wrote after the first.
    Unsafe,
}

/// What to do after a failure.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Ask this node.
    Ask(NodeId),
    /// Everybody was asked, and nobody leads: wait a little, then ask [`again`](Attempts::again).
    Wait,
    /// Answer this.
    GiveUp(ShardError),
}

/// The attempts of one call: rounds over the replicas, until one answers.
pub(super) struct Attempts {
    replicas: VecDeque<NodeId>,
    repeat: Repeat,
    hops: u8,
    asked: Option<NodeId>,
    /// Nodes that hints lead to in vain: they could not be reached in this round.
    away: BTreeSet<NodeId>,
    /// A node that is being asked by somebody else.
    avoided: Option<NodeId>,
}

impl Attempts {
    /// All but `avoided`, if there is one.
    pub(super) fn new(repeat: Repeat, avoided: Option<NodeId>) -> Self {
        Self {
            replicas: VecDeque::new(),
            repeat,
            hops: 0,
            asked: None,
            away: BTreeSet::new(),
            avoided,
        }
    }

    /// Begins a round. `replicas` in the order to ask them.
    pub(super) fn again(&mut self, replicas: Vec<NodeId>) -> Next {
        self.replicas = replicas.into();
        let avoided = self.avoided;
        self.replicas.retain(|node| Some(*node) != avoided);
        self.hops = 0;
        self.away = avoided.into_iter().collect();
        self.next_replica()
    }

    /// Whom to ask after `error`. Nobody, if asking somebody else makes it no better.
    pub(super) fn after(&mut self, error: ShardError) -> Next {
        match error {
            ShardError::NotLeader { leader: Some(leader) }
                if self.hops < HOPS_MAX && !self.away.contains(&leader) =>
            {
                self.hops += 1;
                self.replicas.retain(|node| *node != leader);
                self.ask(leader)
            }
            // Nothing was done.
            ShardError::NotLeader { .. } | ShardError::NotHosted => self.next_replica(),
            ShardError::Unreachable => {
                self.away.extend(self.asked);
                self.next_replica()
            }
            // It may have been done.
            ShardError::OutcomeUnknown | ShardError::Stopped => match self.repeat {
                Repeat::Safe => {
                    self.away.extend(self.asked);
                    self.next_replica()
                }
                Repeat::Unsafe => Next::GiveUp(ShardError::OutcomeUnknown),
            },
            error => Next::GiveUp(error),
        }
    }

    fn next_replica(&mut self) -> Next {
        match self.replicas.pop_front() {
            Some(node) => self.ask(node),
            None => Next::Wait,
        }
    }

    fn ask(&mut self, node: NodeId) -> Next {
        self.asked = Some(node);
        Next::Ask(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<NodeId> {
        [1, 2, 3].map(NodeId).to_vec()
    }

    fn attempts(repeat: Repeat) -> Attempts {
        let mut attempts = Attempts::new(repeat, None);
        assert_eq!(attempts.again(nodes()), ask(1));
        attempts
    }

    fn ask(node: u64) -> Next {
        Next::Ask(NodeId(node))
    }

    fn hint(node: u64) -> ShardError {
        ShardError::NotLeader {
            leader: Some(NodeId(node)),
        }
    }

    #[test]
    fn every_replica_is_asked_once_a_round() {
        let mut attempts = attempts(Repeat::Unsafe);
        for _ in 0..3 {
            assert_eq!(attempts.after(ShardError::Unreachable), ask(2));
            assert_eq!(attempts.after(ShardError::NotLeader { leader: None }), ask(3));
            assert_eq!(attempts.after(ShardError::NotHosted), Next::Wait);
            assert_eq!(attempts.again(nodes()), ask(1));
        }
    }

    #[test]
    fn hints_are_followed_but_not_in_circles() {
        let mut attempts = attempts(Repeat::Safe);
        assert_eq!(attempts.after(hint(3)), ask(3));
        assert_eq!(attempts.after(hint(1)), ask(1));
        assert_eq!(attempts.after(hint(3)), ask(2), "a third hint is not followed");
        assert_eq!(attempts.after(hint(1)), Next::Wait);
        assert_eq!(attempts.again(nodes()), ask(1));
        assert_eq!(attempts.after(hint(2)), ask(2), "but in the next round");
    }

    #[test]
    fn no_hint_leads_back_to_who_is_away() {
        let mut attempts = attempts(Repeat::Safe);
        assert_eq!(attempts.after(ShardError::Unreachable), ask(2));
        assert_eq!(attempts.after(hint(1)), ask(3));
        assert_eq!(attempts.after(hint(1)), Next::Wait);
        assert_eq!(attempts.again(nodes()), ask(1), "it may be back");
    }

    #[test]
    fn who_is_asked_by_somebody_else_is_left_alone() {
        let mut second = Attempts::new(Repeat::Safe, Some(NodeId(1)));
        for _ in 0..2 {
            assert_eq!(second.again(nodes()), ask(2));
            assert_eq!(second.after(hint(1)), ask(3));
            assert_eq!(second.after(hint(1)), Next::Wait);
        }
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_where_that_is_safe() {
        for error in [ShardError::OutcomeUnknown, ShardError::Stopped] {
            assert_eq!(attempts(Repeat::Safe).after(error.clone()), ask(2));
            let mut writes = attempts(Repeat::Unsafe);
            assert_eq!(writes.after(error), Next::GiveUp(ShardError::OutcomeUnknown));
        }
    }

    #[test]
    fn refusals_are_answers() {
        for error in [
            ShardError::LeaseRequired,
            ShardError::UnknownIndex,
            ShardError::Busy,
        ] {
            assert_eq!(attempts(Repeat::Safe).after(error.clone()), Next::GiveUp(error));
        }
    }
}
