//! The steward of a deployment: where the metadata group is led, it hears what nodes report, lets the [`Controller`] decide, and has done
//! what that wants: changes of metadata by itself, changes of groups by those who lead them, with the answer to their next report.

use crate::adapters::{CatalogHandle, report_of};
use crate::domain::deployment::{
    Action, Assignment, Command, Controller, Deployment, Event, Group, GroupReport, NodeReport, NodeState,
    Sightings,
};
use crate::own_word::OwnWord;
use parking_lot::Mutex;
use sealdex_consensus::ChangeError;
use sealdex_core::NodeId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the controller looks.
const TICK: Duration = Duration::from_millis(500);

/// What is to be done and was not fetched by so many others after it is as good as lost: the controller asks again.
const INSTRUCTIONS_MAX: usize = 256;

/// See the module. Share it in an `Arc`.
pub struct Steward {
    me: NodeId,
    catalog: Arc<CatalogHandle>,
    own: Arc<OwnWord>,
    started: Instant,
    /// While this node leads.
    controller: Mutex<Option<Controller>>,
    heard: Mutex<Vec<Event>>,
    instructions: Mutex<HashMap<NodeId, Vec<Action>>>,
}

/// What a node said of its present run.
pub(crate) struct Run {
    pub(crate) address: String,
    pub(crate) zone: String,
    pub(crate) version: String,
}

impl Steward {
    /// Of the coordinator `me`. Does nothing before [`run`](Self::run).
    pub fn new(me: NodeId, catalog: Arc<CatalogHandle>, own: Arc<OwnWord>) -> Self {
        Self {
            me,
            catalog,
            own,
            started: Instant::now(),
            controller: Mutex::default(),
            heard: Mutex::default(),
            instructions: Mutex::default(),
        }
    }

    /// Takes a node's report, and returns what it is to do. The caller has made sure that this node leads.
    pub(crate) async fn take(
        &self,
        node: NodeId,
        run: Run,
        report: NodeReport,
        groups: Vec<GroupReport>,
    ) -> Vec<Action> {
        self.note_run(node, run).await;
        let mut heard = self.heard.lock();
        heard.push(Event::Heard(node, report));
        heard.extend(groups.into_iter().map(Event::Reported));
        drop(heard);
        self.instructions.lock().remove(&node).unwrap_or_default()
    }

    /// A node that runs under its id for the first time, or elsewhere than before, is entered as it is now.
    async fn note_run(&self, node: NodeId, run: Run) {
        let known = self.catalog.deployment();
        let record = known.as_ref().and_then(|deployment| deployment.member(node));
        let is_known = record.is_some_and(|record| {
            record.state != NodeState::Joining
                && record.node.address == run.address
                && record.node.zone == run.zone
                && record.node.version == run.version
        });
        if record.is_none() || is_known {
            return;
        }
        let update = Command::UpdateNode {
            node,
            address: run.address,
            zone: run.zone,
            version: run.version,
            lease_key: None,
        };
        if let Err(error) = self.catalog.change_deployment(update).await {
            tracing::warn!(%node, %error, "what a node says of itself was not noted; it says it again");
        }
    }

    /// What was heard lately. Nothing, if this node does not lead or has just begun to.
    pub(crate) fn sightings(&self) -> Sightings {
        let controller = self.controller.lock();
        let sightings = controller
            .as_ref()
            .map(|controller| controller.sightings(self.started.elapsed()));
        sightings.unwrap_or_default()
    }

    /// Goes on until the task is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            let deployment = self
                .catalog
                .deployment()
                .filter(|_| self.catalog.status().is_leader);
            let Some(deployment) = deployment else {
                *self.controller.lock() = None;
                self.heard.lock().clear();
                self.instructions.lock().clear();
                continue;
            };
            let events = self.events(&deployment).await;
            for action in self.decide(&deployment, events) {
                self.act(action).await;
            }
        }
    }

    fn decide(&self, deployment: &Deployment, events: Vec<Event>) -> Vec<Action> {
        let now = self.started.elapsed();
        let mut controller = self.controller.lock();
        let controller = controller.get_or_insert_with(|| Controller::new(now));
        for event in events {
            controller.step(deployment, event, now);
        }
        let unix_seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        controller.step(deployment, Event::Tick { unix_seconds }, now)
    }

    /// What was heard since the last tick, this node's own word among it.
    async fn events(&self, deployment: &Deployment) -> Vec<Event> {
        let mut events = std::mem::take(&mut *self.heard.lock());
        events.push(Event::Heard(self.me, self.own.report()));
        let knows = deployment
            .table
            .get(Group::Metadata)
            .map(|assignment| assignment.version);
        if let (Some(knows), true) = (knows, self.catalog.leads().await) {
            events.push(Event::Reported(report_of(
                Group::Metadata,
                self.me,
                knows,
                self.catalog.status(),
            )));
        }
        events
    }

    async fn act(&self, action: Action) {
        tracing::info!(?action, "deployment");
        let outcome = match action {
            Action::Propose(command) => {
                if let Err(error) = self.catalog.change_deployment(command).await {
                    tracing::info!(%error, "a change of the deployment was refused; it is looked at again");
                }
                return;
            }
            ref to_group => match group_of(to_group) {
                Some((Group::Metadata, _)) => self.change_metadata_group(action).await,
                Some((_, leader)) => {
                    let mut instructions = self.instructions.lock();
                    let waiting = instructions.entry(leader).or_default();
                    if waiting.len() < INSTRUCTIONS_MAX {
                        waiting.push(action);
                    }
                    return;
                }
                None => return,
            },
        };
        if let Err(error) = outcome {
            tracing::info!(%error, "the metadata group was not changed; it is looked at again");
        }
    }

    async fn change_metadata_group(&self, action: Action) -> Result<(), ChangeError> {
        let is_present = |version| {
            let deployment = self.catalog.deployment();
            let assignment = deployment.as_ref().and_then(|d| d.table.get(Group::Metadata));
            assignment.map(|assignment: &Assignment| assignment.version) == Some(version)
        };
        match action {
            Action::AddLearner { version, node, .. } if is_present(version) => {
                self.catalog.add_learner(node).await
            }
            Action::RemoveLearner { version, node, .. } if is_present(version) => {
                self.catalog.remove_learner(node).await
            }
            Action::ChangeVoters { version, voters, .. } if is_present(version) => {
                self.catalog.change_voters(&voters).await
            }
            Action::TransferLeader { to, .. } => self.catalog.transfer_to(to).await,
            _ => Ok(()),
        }
    }
}

fn group_of(action: &Action) -> Option<(Group, NodeId)> {
    match action {
        Action::Propose(_) => None,
        Action::AddLearner { group, leader, .. }
        | Action::RemoveLearner { group, leader, .. }
        | Action::ChangeVoters { group, leader, .. }
        | Action::TransferLeader { group, leader, .. } => Some((*group, *leader)),
    }
}
