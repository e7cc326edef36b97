//! What the leader of the metadata group does for the deployment: takes note of who is lost, brings groups to what the table says,
//! and decides which replicas go where. All that must outlive it stands in the deployment; what it heard, its successor hears anew.

use super::observed::{GroupReport, LOST_AFTER, NodeReport, Observed, Sightings};
use super::outlook::Outlook;
use super::{
    Begin, Command, Deployment, Group, NodeChange, NodeRecord, NodeState, balancer, planner, reconciler,
    replacer,
};
use sealdex_core::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

/// The same action is not asked for again within this time: it may be under way.
pub const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// Leaders are evened out one at a time, and no faster than this: each transfer costs its group a moment without writes.
pub const TRANSFER_INTERVAL: Duration = Duration::from_secs(10);

/// What the controller is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A node was heard of; also the one that it runs on.
    Heard(NodeId, NodeReport),
    /// The leader of a group reports.
    Reported(GroupReport),
    /// Time has passed; about once a second. All decisions are made here.
    Tick {
        /// By the wall clock, for the record.
        unix_seconds: u64,
    },
}

/// What the controller wants done. All may fail, be late or be done twice: what is still needed is asked for again.
///
/// Whoever carries out an action with a `version` does so only as leader of the group, and only if that is the version of the
/// group's assignment as it knows it: an action from before must not undo what came after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Propose to the metadata group.
    Propose(Command),
    /// Make the node a learner. The leader purges its log first, so that the copy begins with a snapshot: a node that had a replica
    /// before must not meet, in the log's history, a membership in which it voted.
    AddLearner {
        /// Whose.
        group: Group,
        /// Of its assignment.
        version: u64,
        /// Who leads it.
        leader: NodeId,
        /// The learner.
        node: NodeId,
    },
    /// Take the learner out of the group.
    RemoveLearner {
        /// Whose.
        group: Group,
        /// Of its assignment.
        version: u64,
        /// Who leads it.
        leader: NodeId,
        /// The learner.
        node: NodeId,
    },
    /// Make these the voters, in one joint change; who was one and is none of them is not of the group any more. The leader refuses
    /// unless a majority of them answered it within the last election time-out: it knows sooner than anybody who was lost, and a
    /// joint change that has begun cannot be taken back.
    ChangeVoters {
        /// Whose.
        group: Group,
        /// Of its assignment.
        version: u64,
        /// Who leads it.
        leader: NodeId,
        /// The voters, all of them voters or learners already.
        voters: BTreeSet<NodeId>,
    },
    /// Hand over.
    TransferLeader {
        /// Which group.
        group: Group,
        /// Who leads it.
        leader: NodeId,
        /// To this voter.
        to: NodeId,
    },
}

/// The controller of a deployment. Runs where the metadata group is led, from when it is led there.
pub struct Controller {
    observed: Observed,
    asked: Vec<(Duration, Action)>,
    transferred: Duration,
}

impl Controller {
    /// Begins with knowing nothing. `now`, here and later, is of a clock that never goes back.
    pub fn new(now: Duration) -> Self {
        Self {
            observed: Observed::since(now),
            asked: Vec::new(),
            transferred: now,
        }
    }

    /// Takes an event; returns what is to be done.
    pub fn step(&mut self, deployment: &Deployment, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Heard(node, report) => self.observed.heard(node, report, now),
            Event::Reported(report) => self.observed.reported(report, now),
            Event::Tick { unix_seconds } => return self.tick(deployment, unix_seconds, now),
        }
        Vec::new()
    }

    /// What was heard, for whoever asks how the deployment is.
    pub fn sightings(&self, now: Duration) -> Sightings {
        self.observed.sightings(now)
    }

    fn tick(&mut self, deployment: &Deployment, unix_seconds: u64, now: Duration) -> Vec<Action> {
        let observed = &self.observed;
        let outlook = Outlook {
            deployment,
            observed,
            now,
        };
        let mut actions: Vec<Action> = deployment
            .nodes()
            .filter_map(|record| life_of(outlook, record, unix_seconds))
            .map(Action::Propose)
            .collect();
        actions.extend(planner::first_table(outlook).map(|table| Action::Propose(Command::MakeTable(table))));
        let groups = deployment.table.iter();
        actions.extend(
            groups.filter_map(|(group, assignment)| reconciler::next_action(outlook, group, assignment)),
        );
        actions.extend(begin_change(outlook).map(Action::Propose));
        if deployment.table.changes() == 0 && now.saturating_sub(self.transferred) >= TRANSFER_INTERVAL {
            let transfer = balancer::next_transfer(outlook);
            self.transferred = transfer.as_ref().map_or(self.transferred, |_| now);
            actions.extend(transfer);
        }
        self.not_asked_lately(actions, now)
    }

    fn not_asked_lately(&mut self, mut actions: Vec<Action>, now: Duration) -> Vec<Action> {
        self.asked
            .retain(|(at, _)| now.saturating_sub(*at) < REPEAT_AFTER);
        actions.retain(|action| self.asked.iter().all(|(_, asked)| asked != action));
        self.asked
            .extend(actions.iter().map(|action| (now, action.clone())));
        actions
    }
}

/// A node was lost, was found, or has nothing left to move away.
fn life_of(outlook: Outlook<'_>, record: &NodeRecord, unix_seconds: u64) -> Option<Command> {
    if !record.is_member() {
        return None;
    }
    let silence = outlook.observed.silence(record.id, outlook.now);
    let to = if record.lost_since.is_none() && silence >= LOST_AFTER {
        let since = unix_seconds.saturating_sub(silence.as_secs());
        NodeChange::Lost { since }
    } else if record.lost_since.is_some() && outlook.is_live(record.id) {
        NodeChange::Found
    } else if record.state == NodeState::Decommissioning && has_left(outlook, record) {
        NodeChange::Remove
    } else {
        return None;
    };
    Some(Command::SetNode { node: record.id, to })
}

/// Whether nothing of the deployment is on the node any more. Who is removed is not let in any more and could not be told to delete
/// its last replica, so its own word is waited for, unless it is lost.
fn has_left(outlook: Outlook<'_>, record: &NodeRecord) -> bool {
    let report = outlook.observed.node(record.id, outlook.now);
    let is_empty = report.map_or(record.lost_since.is_some(), |report| report.replicas == 0);
    is_empty && !outlook.deployment.table.names(record.id)
}

/// One change at a time is begun, on the table as it is; the next when this one is in it.
fn begin_change(outlook: Outlook<'_>) -> Option<Command> {
    let table = &outlook.deployment.table;
    if table.changes() >= outlook.deployment.settings.changes_max.into() {
        return None;
    }
    let (group, begin): (Group, Begin) =
        replacer::next_change(outlook).or_else(|| balancer::next_move(outlook))?;
    Some(Command::BeginChange {
        group,
        table_version: table.version,
        begin,
    })
}
