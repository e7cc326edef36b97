//! Machines, groups and messages between them and the controller; a second at a time.

use super::raft::Raft;
use super::rng::Rng;
use crate::domain::deployment::*;
use sealdex_core::{DeploymentId, NodeId, limits};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// What the world tells wrongly, so that a controller that believes it does harm: shows that the checks see harm.
#[derive(Clone, Copy, Default)]
pub(super) struct Lies {
    /// Old reports pass for new ones.
    pub(super) reports_know_all: bool,
    /// Everybody has caught up at once.
    pub(super) nobody_is_behind: bool,
    /// Nodes that are down are heard of.
    pub(super) nobody_is_lost: bool,
    /// Every disk is said to hold no replica.
    pub(super) disks_are_empty: bool,
}

pub(super) struct Machine {
    pub(super) node: NewNode,
    pub(super) id: Option<NodeId>,
    /// Down until then.
    pub(super) down_until: u64,
    /// Since when it is up or down.
    pub(super) since: u64,
    /// Its disk is gone, and it with it.
    pub(super) dead: bool,
    started: bool,
    stopping_until: u64,
    speed: u64,
    table: Rc<Table>,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub(super) deployment: Deployment,
    pub(super) machines: Vec<Machine>,
    pub(super) groups: BTreeMap<Group, Raft>,
    /// Changes begun, and leaderships handed over by request.
    pub(super) moves: u64,
    pub(super) calm: bool,
    pub(super) zones: u64,
    lies: Lies,
    table: Rc<Table>,
    controller: (NodeId, Controller),
    actions: Vec<(u64, Action)>,
    reports: Vec<(u64, GroupReport)>,
    last_id: NodeId,
    installs: u8,
}

impl World {
    pub(super) fn new(seed: u64, lies: Lies) -> Self {
        let mut rng = Rng::new(seed);
        let zones = rng.between(1, 4);
        let expected_shards = rng.between(1, 4) as u16;
        let first = machine("coordinator-0".into(), Role::Coordinator, "z0".into(), 0);
        let deployment = Deployment::bootstrap(Bootstrap {
            deployment: DeploymentId([7; 16]),
            partitions: rng.between(1, 8) as u16,
            settings: Settings {
                expected_shards,
                grace_seconds: rng.between(20, 60) as u32,
                changes_max: rng.between(1, 4) as u16,
                ..Settings::default()
            },
            node: first.clone(),
        })
        .unwrap();
        let table = Rc::new(deployment.table.clone());
        let metadata = Raft::new(Group::Metadata, &deployment.table.metadata.voters);
        let mut world = Self {
            rng,
            now: 0,
            deployment,
            machines: Vec::new(),
            groups: BTreeMap::from([(Group::Metadata, metadata)]),
            moves: 0,
            calm: false,
            zones,
            lies,
            table,
            controller: (NodeId(0), Controller::new(Duration::ZERO)),
            actions: Vec::new(),
            reports: Vec::new(),
            last_id: NodeId(1),
            installs: 0,
        };
        world.add_machine(first, Some(NodeId(1)));
        for n in 1..world.rng.between(1, 4) {
            world.join(format!("coordinator-{n}"), Role::Coordinator);
        }
        for n in 0..u64::from(expected_shards) + world.rng.between(0, 2) {
            world.join(format!("shard-{n}"), Role::Shard);
        }
        world
    }

    pub(super) fn join(&mut self, name: String, role: Role) {
        let zone = format!("z{}", self.rng.between(0, self.zones - 1));
        self.installs += 1;
        self.add_machine(machine(name, role, zone, self.installs), None);
    }

    fn add_machine(&mut self, node: NewNode, id: Option<NodeId>) {
        self.machines.push(Machine {
            node,
            id,
            down_until: 0,
            since: self.now,
            dead: false,
            started: false,
            stopping_until: 0,
            speed: 0,
            table: self.table.clone(),
        });
    }

    pub(super) fn machine(&self, node: NodeId) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.id == Some(node))
    }

    /// Whether it runs and is let in by the others.
    pub(super) fn is_up(&self, node: NodeId) -> bool {
        let runs = |machine: &Machine| !machine.dead && machine.down_until <= self.now;
        self.machine(node).is_some_and(runs) && self.deployment.member(node).is_some()
    }

    /// Takes a machine down for a while.
    pub(super) fn crash(&mut self, at: usize, seconds: u64) {
        let now = self.now;
        let machine = &mut self.machines[at];
        machine.down_until = now + seconds;
        machine.since = now;
        machine.started = false;
    }

    /// Its disk is lost. The process may come back with an empty one.
    pub(super) fn wipe(&mut self, at: usize, comes_back: bool) {
        let (now, machine) = (self.now, &mut self.machines[at]);
        machine.dead = true;
        machine.since = now;
        let (name, role) = (machine.node.name.clone(), machine.node.role);
        if let Some(id) = machine.id {
            for raft in self.groups.values_mut() {
                raft.behind.remove(&id);
            }
        }
        if comes_back {
            self.join(name, role);
        }
    }

    pub(super) fn stopping(&mut self, at: usize, seconds: u64) {
        self.machines[at].stopping_until = self.now + seconds;
    }

    /// For whoever looks into a failure.
    pub(super) fn describe(&self) -> String {
        let machines = self.machines.iter().map(|machine| {
            let record = machine.id.and_then(|id| self.deployment.node(id));
            let state = record.map(|record| (record.state, record.lost_since.is_some()));
            (&machine.node.name, machine.id, machine.dead, state)
        });
        let groups = self
            .groups
            .values()
            .map(|raft| (raft.group, raft.leader, &raft.voters));
        let (machines, groups): (Vec<_>, Vec<_>) = (machines.collect(), groups.collect());
        format!("machines {machines:?}, groups {groups:?}")
    }

    /// One second. What was promised and does not hold is an error.
    pub(super) fn tick(&mut self) -> Result<(), String> {
        self.now += 1;
        self.run_machines()?;
        self.run_groups();
        self.run_controller()?;
        self.deliver_actions()?;
        if self.deployment.table.changes() > usize::from(limits::PARTITIONS_MAX) + 1 {
            return Err("more changes than groups".into());
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, command: Command) -> Result<Applied, Rejection> {
        let before = self.deployment.clone();
        let begins = matches!(command, Command::BeginChange { .. });
        let applied = self.deployment.apply(command);
        match &applied {
            Ok(_) => self.moves += u64::from(begins),
            Err(_) => assert!(self.deployment == before, "a refused command changed something"),
        }
        if self.deployment.table.version != self.table.version {
            self.table = Rc::new(self.deployment.table.clone());
        }
        applied
    }

    fn metadata_leader(&self) -> Option<NodeId> {
        self.groups[&Group::Metadata].leader
    }

    /// Machines join, start, and learn what they host.
    fn run_machines(&mut self) -> Result<(), String> {
        for at in 0..self.machines.len() {
            let machine = &self.machines[at];
            if machine.dead || machine.down_until > self.now || self.metadata_leader().is_none() {
                continue;
            }
            let Some(id) = machine.id else {
                self.register(at)?;
                continue;
            };
            if self.deployment.member(id).is_none() {
                continue;
            }
            if !machine.started {
                self.start(at, id);
            }
            if self.rng.percent(70) {
                self.learn_table(at, id)?;
            }
        }
        Ok(())
    }

    fn register(&mut self, at: usize) -> Result<(), String> {
        let node = self.machines[at].node.clone();
        if let Ok(Applied::Node(record)) = self.apply(Command::RegisterNode(node.clone())) {
            if record.id <= self.last_id {
                return Err(format!("node id {} was given before", record.id));
            }
            self.last_id = record.id;
            self.machines[at].id = Some(record.id);
            let again = self.apply(Command::RegisterNode(node));
            if again != Ok(Applied::Node(record)) {
                return Err("the same disk got two ids".into());
            }
        }
        Ok(())
    }

    fn start(&mut self, at: usize, node: NodeId) {
        let speed = self.rng.between(30, 400);
        let now = self.now;
        let machine = &mut self.machines[at];
        machine.started = true;
        machine.since = now;
        machine.speed = speed;
        let NewNode {
            address,
            zone,
            version,
            ..
        } = machine.node.clone();
        let lease_key = Some([1; 32]);
        self.apply(Command::UpdateNode {
            node,
            address,
            zone,
            version,
            lease_key,
        })
        .expect("a member may start");
    }

    /// A node sees the table of now; begins the replicas that are new to it and deletes those it is to host no more.
    fn learn_table(&mut self, at: usize, node: NodeId) -> Result<(), String> {
        self.machines[at].table = self.table.clone();
        let table = self.table.clone();
        for (group, assignment) in table.iter() {
            let raft = self.groups.entry(group).or_insert_with(|| {
                Raft::new(
                    group,
                    assignment.genesis().expect("no change comes before a report"),
                )
            });
            match assignment.role_of(node) {
                Some(_) if !raft.behind.contains_key(&node) => {
                    raft.behind.insert(node, self.rng.between(0, 4000));
                }
                None if raft.behind.remove(&node).is_some() => {
                    let joins = raft.pending.iter().any(|(_, voters)| voters.contains(&node));
                    if joins || raft.voters.contains(&node) {
                        return Err(format!(
                            "node {node} deleted a replica of {group:?} and votes there"
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn run_groups(&mut self) {
        let mut groups = std::mem::take(&mut self.groups);
        for raft in groups.values_mut() {
            let mut rng = Rng::new(self.rng.next());
            let speed = |node| self.machine(node).map_or(0, |machine| machine.speed);
            raft.tick(&mut rng, self.now, |node| self.is_up(node), speed);
            let leader = raft.leader.and_then(|leader| self.machine(leader));
            let knows = leader
                .and_then(|machine| machine.table.get(raft.group))
                .map(|a| a.version);
            let report = knows.and_then(|knows| raft.report(knows, |node| self.is_up(node)));
            if let Some(mut report) = report.filter(|_| rng.percent(85)) {
                if self.lies.reports_know_all {
                    report.knows = u64::MAX;
                }
                if self.lies.nobody_is_behind {
                    report.behind.values_mut().for_each(|behind| *behind = 0);
                    report
                        .behind
                        .extend(report.learners.iter().map(|node| (*node, 0)));
                }
                let late = match self.lies.reports_know_all {
                    true => rng.between(0, 60),
                    false if rng.percent(10) => rng.between(2, 15),
                    false => rng.between(0, 1),
                };
                self.reports.push((self.now + late, report));
            }
        }
        self.groups = groups;
    }

    /// The controller runs where the metadata group is led, and knows nothing when it begins there.
    fn run_controller(&mut self) -> Result<(), String> {
        let Some(leader) = self.metadata_leader() else {
            return Ok(());
        };
        let now = Duration::from_secs(self.now);
        if self.controller.0 != leader || (!self.calm && self.rng.percent(1)) {
            self.controller = (leader, Controller::new(now));
        }
        let replicas_of = |node: NodeId| {
            let partitions = self.groups.values().filter(|raft| raft.group != Group::Metadata);
            partitions.filter(|raft| raft.behind.contains_key(&node)).count() as u64
        };
        for machine in &self.machines {
            let Some(id) = machine.id else { continue };
            let heard = self.is_up(id) && machine.started && self.rng.percent(95);
            if heard || self.lies.nobody_is_lost {
                let stopping = machine.stopping_until > self.now;
                let report = NodeReport {
                    stopping,
                    replicas: match self.lies.disks_are_empty {
                        true => 0,
                        false => replicas_of(id),
                    },
                    ..NodeReport::default()
                };
                self.controller
                    .1
                    .step(&self.deployment, Event::Heard(id, report), now);
            }
        }
        for (_, report) in self.reports.extract_if(.., |(due, _)| *due <= self.now) {
            self.controller
                .1
                .step(&self.deployment, Event::Reported(report), now);
        }
        let tick = Event::Tick {
            unix_seconds: 1_800_000_000 + self.now,
        };
        for action in self.controller.1.step(&self.deployment, tick, now) {
            super::checks::action_is_safe(self, &action)?;
            let late = if self.rng.percent(10) {
                self.rng.between(2, 15)
            } else {
                self.rng.between(0, 2)
            };
            if !self.rng.percent(5) {
                self.actions.push((self.now + late, action));
            }
        }
        Ok(())
    }

    fn deliver_actions(&mut self) -> Result<(), String> {
        let members = self.machines.iter().filter_map(|machine| machine.id);
        let up: BTreeSet<NodeId> = members.filter(|node| self.is_up(*node)).collect();
        let due: Vec<_> = self.actions.extract_if(.., |(due, _)| *due <= self.now).collect();
        for (_, action) in due {
            let group = match &action {
                Action::Propose(command) => {
                    if self.metadata_leader().is_some() {
                        // Refusals are to be expected: what was decided may be past.
                        let _ = self.apply(command.clone());
                    }
                    continue;
                }
                Action::AddLearner { group, .. }
                | Action::RemoveLearner { group, .. }
                | Action::ChangeVoters { group, .. }
                | Action::TransferLeader { group, .. } => *group,
            };
            let transfers = matches!(action, Action::TransferLeader { .. });
            let leader = self.groups[&group].leader;
            let known = leader.and_then(|leader| self.machine(leader)?.table.get(group).cloned());
            let able = !transfers || matches!(&action, Action::TransferLeader { to, .. } if self.is_up(*to));
            if let (Some(known), true, Some(raft)) = (known, able, self.groups.get_mut(&group)) {
                raft.carry_out(&action, &known, self.now + self.rng.between(1, 4), &up);
                self.moves += u64::from(transfers);
                if raft.learners.len() > 1 {
                    return Err(format!("{group:?} is copied to two nodes at a time"));
                }
            }
        }
        Ok(())
    }
}

fn machine(name: String, role: Role, zone: String, install: u8) -> NewNode {
    NewNode {
        address: format!("{name}:7000"),
        name,
        role,
        zone,
        version: "1.0.0".into(),
        install: InstallId([install; 16]),
    }
}
