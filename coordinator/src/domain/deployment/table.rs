//! Which nodes host which group. The table says what is to be; the groups' own memberships follow it.

use super::Rejection;
use sealdex_core::{NodeId, PartitionId};
use std::collections::BTreeSet;

/// A Raft group of the deployment.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Group {
    /// The metadata group, on coordinators.
    Metadata,
    /// A partition, on shard nodes.
    Partition(PartitionId),
}

impl Group {
    /// Its number among the groups of a process: 0 for metadata, one more than the partition's otherwise.
    pub fn number(self) -> u64 {
        match self {
            Self::Metadata => 0,
            Self::Partition(partition) => u64::from(partition.0) + 1,
        }
    }

    /// The group of that number; `None` beyond what partitions are numbered with.
    pub fn from_number(number: u64) -> Option<Self> {
        match number.checked_sub(1) {
            None => Some(Self::Metadata),
            Some(partition) => Some(Self::Partition(PartitionId(u16::try_from(partition).ok()?))),
        }
    }
}

/// The nodes of one group. It has at most one change at a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assignment {
    /// Grows by one with each step of a change; 1 is the assignment that the group began with.
    pub version: u64,
    /// Who votes, or is to vote as soon as a change is through. Never empty.
    pub voters: BTreeSet<NodeId>,
    /// The change under way.
    pub change: Option<Change>,
}

/// A change of a group's membership, by stage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// The group copies itself to a learner.
    CatchingUp {
        /// To whom.
        learner: NodeId,
        /// Whose vote it takes over; none where the group grows.
        replaces: Option<NodeId>,
    },
    /// The group makes its membership what the table says. Whoever leaves keeps its replica until the group has agreed.
    Switching {
        /// Voter from here on.
        added: Option<NodeId>,
        /// Neither voter nor learner from here on.
        removed: Option<NodeId>,
    },
}

/// How a change begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Begin {
    /// A replica is added, in place of another or besides all.
    Add {
        /// Where.
        node: NodeId,
        /// Instead of whose.
        replaces: Option<NodeId>,
    },
    /// A replica is taken away.
    Remove {
        /// Whose.
        node: NodeId,
    },
}

/// How a change goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The learner has caught up, and gets its vote.
    Promote,
    /// The learner is given up.
    Abandon,
    /// Switching is undone: who was added turned out to be of no use, or who stayed was lost. Only while who was removed still
    /// votes in the group.
    Retreat,
    /// The group has agreed, and has reported so.
    Settle,
}

/// What a node is to a group that it hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplicaRole {
    /// Votes.
    Voter,
    /// Is copied to.
    Learner,
    /// Keeps its replica until the group has agreed to do without it; deletes it when the table names it no more.
    Leaving,
}

impl Assignment {
    /// The version of a group's first assignment.
    pub const FIRST: u64 = 1;

    /// What a group begins with.
    pub fn first(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            version: Self::FIRST,
            voters: voters.into_iter().collect(),
            change: None,
        }
    }

    /// The voters that the group is to be initialised with. Only while it never changed: a node that left and came back has an
    /// empty replica, and must not found the group anew.
    pub fn genesis(&self) -> Option<&BTreeSet<NodeId>> {
        (self.version == Self::FIRST).then_some(&self.voters)
    }

    /// What the node is to the group.
    pub fn role_of(&self, node: NodeId) -> Option<ReplicaRole> {
        if self.voters.contains(&node) {
            return Some(ReplicaRole::Voter);
        }
        match self.change? {
            Change::CatchingUp { learner, .. } => (learner == node).then_some(ReplicaRole::Learner),
            Change::Switching { removed, .. } => (removed == Some(node)).then_some(ReplicaRole::Leaving),
        }
    }

    /// All nodes that host it, and what they are to it.
    pub fn replicas(&self) -> impl Iterator<Item = (NodeId, ReplicaRole)> + '_ {
        let other = match self.change {
            Some(Change::CatchingUp { learner, .. }) => Some((learner, ReplicaRole::Learner)),
            Some(Change::Switching { removed, .. }) => removed.map(|node| (node, ReplicaRole::Leaving)),
            None => None,
        };
        let voters = self.voters.iter().map(|node| (*node, ReplicaRole::Voter));
        voters.chain(other)
    }

    /// Who will vote once the change under way is through.
    pub fn prospect(&self) -> BTreeSet<NodeId> {
        self.replicas()
            .map(|(node, _)| node)
            .filter(|node| self.is_to_stay(*node))
            .collect()
    }

    /// Whether the node will vote once the change under way is through.
    pub fn is_to_stay(&self, node: NodeId) -> bool {
        match self.change {
            Some(Change::CatchingUp { learner, .. }) if learner == node => true,
            Some(Change::CatchingUp { replaces, .. }) if replaces == Some(node) => false,
            _ => self.voters.contains(&node),
        }
    }

    pub(super) fn begin(&mut self, begin: Begin) -> Result<(), Rejection> {
        if self.change.is_some() {
            return Err(Rejection::ChangeUnderWay);
        }
        self.change = Some(match begin {
            Begin::Add { node, .. } if self.voters.contains(&node) => return Err(Rejection::ReplicasDiffer),
            Begin::Add {
                replaces: Some(old), ..
            } if !self.voters.contains(&old) => {
                return Err(Rejection::ReplicasDiffer);
            }
            Begin::Add { node, replaces } => Change::CatchingUp {
                learner: node,
                replaces,
            },
            Begin::Remove { node } if self.voters.len() > 1 && self.voters.remove(&node) => {
                Change::Switching {
                    added: None,
                    removed: Some(node),
                }
            }
            Begin::Remove { .. } => return Err(Rejection::ReplicasDiffer),
        });
        self.version += 1;
        Ok(())
    }

    pub(super) fn advance(&mut self, step: Step) -> Result<(), Rejection> {
        self.change = match (step, self.change) {
            (Step::Promote, Some(Change::CatchingUp { learner, replaces })) => {
                self.exchange(Some(learner), replaces);
                Some(Change::Switching {
                    added: Some(learner),
                    removed: replaces,
                })
            }
            (Step::Abandon, Some(Change::CatchingUp { learner, .. })) => Some(Change::Switching {
                added: None,
                removed: Some(learner),
            }),
            (Step::Retreat, Some(Change::Switching { added, removed })) => {
                self.exchange(removed, added);
                Some(Change::Switching {
                    added: removed,
                    removed: added,
                })
            }
            (Step::Settle, Some(Change::Switching { .. })) => None,
            _ => return Err(Rejection::StepOutOfTurn),
        };
        self.version += 1;
        Ok(())
    }

    fn exchange(&mut self, added: Option<NodeId>, removed: Option<NodeId>) {
        self.voters.extend(added);
        if let Some(node) = removed {
            self.voters.remove(&node);
        }
    }
}

/// The assignments of all groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Grows with every change of any assignment: who decides to begin a change has seen all of them.
    pub version: u64,
    /// Of the metadata group.
    pub metadata: Assignment,
    /// Of the partitions, in order; empty until there are nodes enough to make it.
    pub partitions: Vec<Assignment>,
}

impl Table {
    /// The group's assignment; none before the table is made.
    pub fn get(&self, group: Group) -> Option<&Assignment> {
        match group {
            Group::Metadata => Some(&self.metadata),
            Group::Partition(partition) => self.partitions.get(usize::from(partition.0)),
        }
    }

    pub(super) fn get_mut(&mut self, group: Group) -> Option<&mut Assignment> {
        match group {
            Group::Metadata => Some(&mut self.metadata),
            Group::Partition(partition) => self.partitions.get_mut(usize::from(partition.0)),
        }
    }

    /// All groups, metadata first.
    pub fn iter(&self) -> impl Iterator<Item = (Group, &Assignment)> {
        let partitions = (0..).map(|n| Group::Partition(PartitionId(n)));
        std::iter::once((Group::Metadata, &self.metadata)).chain(partitions.zip(&self.partitions))
    }

    /// Changes under way.
    pub fn changes(&self) -> usize {
        self.iter().filter(|(_, a)| a.change.is_some()).count()
    }

    /// Whether the node hosts a replica of any group.
    pub fn names(&self, node: NodeId) -> bool {
        self.iter().any(|(_, a)| a.role_of(node).is_some())
    }
}
