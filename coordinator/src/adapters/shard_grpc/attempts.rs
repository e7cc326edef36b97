//! Whom to ask next after a failure, and when to give up. Pure: no clock, no network.

use sealdex_core::NodeId;
use sealdex_index::dataplane::ShardError;
use std::collections::VecDeque;

/// Hints that are followed for one call: two nodes that name each other must not keep it for ever.
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
    /// Answer this.
    GiveUp(ShardError),
}

/// The attempts of one call.
pub(super) struct Attempts {
    replicas: VecDeque<NodeId>,
    repeat: Repeat,
    hops: u8,
}

impl Attempts {
    /// `replicas` in the order to ask them.
    pub(super) fn new(replicas: Vec<NodeId>, repeat: Repeat) -> Self {
        Self {
            replicas: replicas.into(),
            repeat,
            hops: 0,
        }
    }

    /// Whom to ask first.
    pub(super) fn first(&mut self) -> Next {
        self.next_replica()
    }

    /// Whom to ask after `error`. Nobody, if asking somebody else makes it no better.
    pub(super) fn after(&mut self, error: ShardError) -> Next {
        match error {
            ShardError::NotLeader { leader: Some(leader) } if self.hops < HOPS_MAX => {
                self.hops += 1;
                self.replicas.retain(|node| *node != leader);
                Next::Ask(leader)
            }
            // Nothing was done.
            ShardError::NotLeader { .. } | ShardError::NotHosted | ShardError::Unreachable => {
                self.next_replica()
            }
            // It may have been done.
            ShardError::OutcomeUnknown | ShardError::Stopped => match self.repeat {
                Repeat::Safe => self.next_replica(),
                Repeat::Unsafe => Next::GiveUp(ShardError::OutcomeUnknown),
            },
            error => Next::GiveUp(error),
        }
    }

    fn next_replica(&mut self) -> Next {
        // A leader is being elected, or a majority is gone: the client comes back.
        self.replicas
            .pop_front()
            .map_or(Next::GiveUp(ShardError::Busy), Next::Ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(repeat: Repeat) -> Attempts {
        Attempts::new([1, 2, 3].map(NodeId).to_vec(), repeat)
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
    fn every_replica_is_asked_once_and_then_nobody() {
        let mut attempts = attempts(Repeat::Unsafe);
        assert_eq!(attempts.first(), ask(1));
        assert_eq!(attempts.after(ShardError::Unreachable), ask(2));
        assert_eq!(attempts.after(ShardError::NotLeader { leader: None }), ask(3));
        assert_eq!(
            attempts.after(ShardError::Unreachable),
            Next::GiveUp(ShardError::Busy)
        );
    }

    #[test]
    fn hints_are_followed_but_not_in_circles() {
        let mut attempts = attempts(Repeat::Safe);
        assert_eq!(attempts.first(), ask(1));
        assert_eq!(attempts.after(hint(3)), ask(3));
        assert_eq!(attempts.after(hint(1)), ask(1));
        assert_eq!(attempts.after(hint(3)), ask(2), "a third hint is not followed");
        assert_eq!(attempts.after(hint(1)), Next::GiveUp(ShardError::Busy));
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_where_that_is_safe() {
        for error in [ShardError::OutcomeUnknown, ShardError::Stopped] {
            let mut reads = attempts(Repeat::Safe);
            reads.first();
            assert_eq!(reads.after(error.clone()), ask(2));
            let mut writes = attempts(Repeat::Unsafe);
            writes.first();
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
            let mut attempts = attempts(Repeat::Safe);
            attempts.first();
            assert_eq!(attempts.after(error.clone()), Next::GiveUp(error));
        }
    }
}
