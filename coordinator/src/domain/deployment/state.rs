//! The deployment as a pure state machine: nodes, partition table, jobs, settings. A [`Command`] is applied whole or refused,
//! and nothing else changes it. Knows no clock and no network; what it takes for true of the world, somebody told it.

use super::{
    Applied, Assignment, Begin, Bootstrap, Claim, Command, Group, JobName, JobRecord, NewNode, NodeChange,
    NodeRecord, NodeState, Rejection, Role, Settings, Step, Table,
};
use sealdex_core::{DeploymentId, IndexId, NodeId, limits};
use std::collections::BTreeMap;

/// All that is decided about a deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deployment {
    /// Its id, which every message between its nodes carries.
    pub id: DeploymentId,
    /// How many partitions it has, for good.
    pub partitions: u16,
    /// What the operator set.
    pub settings: Settings,
    /// Which nodes host which group.
    pub table: Table,
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    pub(crate) jobs: BTreeMap<JobName, JobRecord>,
    pub(crate) next_node: NodeId,
    pub(crate) next_claim: Claim,
}

impl Deployment {
    /// A deployment of one node, which votes alone in the metadata group and, if it is embedded, in every partition.
    pub fn bootstrap(bootstrap: Bootstrap) -> Result<Self, Rejection> {
        let Bootstrap {
            deployment,
            partitions,
            settings,
            node,
        } = bootstrap;
        settings.check()?;
        check_node(&node)?;
        if !(1..=limits::PARTITIONS_MAX).contains(&partitions) || node.role == Role::Shard {
            return Err(Rejection::BadBootstrap);
        }
        let first = NodeId(1);
        let hosted = if node.role == Role::Embedded {
            partitions
        } else {
            0
        };
        let record = NodeRecord {
            id: first,
            node,
            state: NodeState::Active,
            lost_since: None,
            lease_key: None,
        };
        Ok(Self {
            id: deployment,
            partitions,
            settings,
            table: Table {
                version: 1,
                metadata: Assignment::first([first]),
                partitions: vec![Assignment::first([first]); hosted.into()],
            },
            nodes: BTreeMap::from([(first, record)]),
            jobs: BTreeMap::new(),
            next_node: NodeId(2),
            next_claim: Claim(1),
        })
    }

    /// All nodes, also those that are gone, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values()
    }

    /// The node of that id, also if it is gone. None: it never was, or is gone for long.
    pub fn node(&self, id: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&id)
    }

    /// The node of that id, if it belongs to the deployment.
    pub fn member(&self, id: NodeId) -> Option<&NodeRecord> {
        self.node(id).filter(|record| record.is_member())
    }

    /// All jobs that somebody works on.
    pub fn jobs(&self) -> impl Iterator<Item = &JobRecord> {
        self.jobs.values()
    }

    /// Applies a command.
    pub fn apply(&mut self, command: Command) -> Result<Applied, Rejection> {
        match command {
            Command::Bootstrap(_) => Err(Rejection::Bootstrapped),
            Command::RegisterNode(node) => self.register(node),
            Command::UpdateNode {
                node,
                address,
                zone,
                version,
                lease_key,
            } => self.update_node(node, |record| {
                record.node = NewNode {
                    address,
                    zone,
                    version,
                    ..record.node.clone()
                };
                record.lease_key = lease_key;
            }),
            Command::SetNode { node, to } => self.set_node(node, to),
            Command::MakeTable(voters) => self.make_table(voters),
            Command::BeginChange {
                group,
                table_version,
                begin,
            } => self.begin_change(group, table_version, begin),
            Command::AdvanceChange { group, version, step } => self.advance_change(group, version, step),
            Command::ClaimJob { job, owner } => self.claim_job(job, owner),
            Command::AdvanceJob { job, claim, stage } => {
                let record = self.claimed(job, claim)?;
                record.stage = stage;
                Ok(Applied::Job(*record))
            }
            Command::FinishJob { job, claim } => {
                let record = *self.claimed(job, claim)?;
                self.jobs.remove(&job);
                Ok(Applied::Job(record))
            }
            Command::Configure(settings) => {
                settings.check()?;
                self.settings = settings;
                Ok(Applied::Done)
            }
        }
    }

    /// The index is gone, and with it what was to be done to it.
    pub fn forget_index(&mut self, index: IndexId) {
        self.jobs.retain(|job, _| job.index != index);
    }

    fn register(&mut self, node: NewNode) -> Result<Applied, Rejection> {
        check_node(&node)?;
        if node.role == Role::Embedded || self.nodes.values().any(|other| other.node.role == Role::Embedded) {
            return Err(Rejection::Embedded);
        }
        // It would otherwise come back under another id, with what is on its disk, and push its successor out.
        let gone = |other: &&NodeRecord| !other.is_member() && other.node.install == node.install;
        if let Some(gone) = self.nodes.values().find(gone) {
            return Err(Rejection::NoSuchNode(gone.id));
        }
        let namesake = |other: &&NodeRecord| other.is_member() && other.node.name == node.name;
        match self.nodes.values().find(namesake) {
            // A copy of its disk, elsewhere, is not the node that is there.
            Some(other)
                if other.node.install == node.install
                    && other.node.role == node.role
                    && (other.node.address == node.address || other.lost_since.is_some()) =>
            {
                return Ok(Applied::Node(other.clone()));
            }
            Some(other) if other.lost_since.is_none() || other.node.role != node.role => {
                return Err(Rejection::NameTaken(other.id));
            }
            Some(other) => {
                let state = NodeState::Replaced { by: self.next_node };
                let replaced = NodeRecord {
                    state,
                    ..other.clone()
                };
                self.nodes.insert(replaced.id, replaced);
            }
            None if self.members() >= limits::NODES_MAX => return Err(Rejection::TooManyNodes),
            None => {}
        }
        let record = NodeRecord {
            id: self.next_node,
            node,
            state: NodeState::Joining,
            lost_since: None,
            lease_key: None,
        };
        self.next_node = NodeId(self.next_node.0 + 1);
        self.nodes.insert(record.id, record.clone());
        self.prune_gone();
        Ok(Applied::Node(record))
    }

    fn members(&self) -> usize {
        self.nodes.values().filter(|node| node.is_member()).count()
    }

    /// Forgets the oldest of those that are gone. Their ids stay spent.
    fn prune_gone(&mut self) {
        let gone = self.nodes.values().filter(|node| !node.is_member());
        let spare: Vec<NodeId> = gone
            .map(|node| node.id)
            .filter(|id| !self.table.names(*id))
            .collect();
        for id in &spare[..spare.len().saturating_sub(limits::GONE_NODES_MAX)] {
            self.nodes.remove(id);
        }
    }

    fn update_node(
        &mut self,
        node: NodeId,
        update: impl FnOnce(&mut NodeRecord),
    ) -> Result<Applied, Rejection> {
        let mut record = self.member(node).ok_or(Rejection::NoSuchNode(node))?.clone();
        update(&mut record);
        check_node(&record.node)?;
        record.lost_since = None;
        if record.state == NodeState::Joining {
            record.state = NodeState::Active;
        }
        self.nodes.insert(node, record.clone());
        Ok(Applied::Node(record))
    }

    fn set_node(&mut self, node: NodeId, to: NodeChange) -> Result<Applied, Rejection> {
        let mut record = self.member(node).ok_or(Rejection::NoSuchNode(node))?.clone();
        match (to, record.state) {
            (NodeChange::Lost { since }, _) => record.lost_since = record.lost_since.or(Some(since)),
            (NodeChange::Found, _) => record.lost_since = None,
            (NodeChange::Decommission, NodeState::Active) => {
                self.check_dispensable(&record)?;
                record.state = NodeState::Decommissioning;
            }
            // It has nothing that would have to go elsewhere, or that is on its way already.
            (NodeChange::Decommission, NodeState::Joining | NodeState::Decommissioning) => {
                record.state = NodeState::Decommissioning;
            }
            (NodeChange::Recommission, NodeState::Active | NodeState::Decommissioning) => {
                record.state = NodeState::Active;
            }
            (NodeChange::Remove, _) if record.lost_since.is_none() && self.table.names(node) => {
                return Err(Rejection::StillHosts(node));
            }
            (NodeChange::Remove, _) => record.state = NodeState::Removed,
            (NodeChange::Decommission | NodeChange::Recommission, state) => {
                return Err(Rejection::NodeOutOfTurn { node, state });
            }
        }
        self.nodes.insert(node, record.clone());
        Ok(Applied::Node(record))
    }

    /// Refuses to let go of a node whose replicas would find no other place.
    fn check_dispensable(&self, node: &NodeRecord) -> Result<(), Rejection> {
        let others = |other: &&NodeRecord| other.id != node.id && other.node.role == node.node.role;
        let left = self.nodes.values().filter(others);
        let left = left.filter(|other| other.takes_replicas()).count();
        let needed = match node.node.role {
            Role::Coordinator | Role::Embedded => 1,
            Role::Shard => {
                let replicas = self.table.partitions.iter().map(|a| a.prospect().len());
                let wanted = usize::from(self.settings.replicas);
                replicas.max().unwrap_or(0).min(wanted)
            }
        };
        (left >= needed)
            .then_some(())
            .ok_or(Rejection::TooFewNodes { needed, left })
    }

    fn make_table(&mut self, voters: Vec<Vec<NodeId>>) -> Result<Applied, Rejection> {
        let partitions: Vec<Assignment> = voters.iter().cloned().map(Assignment::first).collect();
        let fits = |(assignment, voters): (&Assignment, &Vec<NodeId>)| {
            !voters.is_empty()
                && assignment.voters.len() == voters.len()
                && voters.iter().all(|node| self.may_host(*node, Role::Shard))
        };
        if !self.table.partitions.is_empty()
            || partitions.len() != usize::from(self.partitions)
            || !partitions.iter().zip(&voters).all(fits)
        {
            return Err(Rejection::BadTable);
        }
        self.table.partitions = partitions;
        self.table.version += 1;
        Ok(Applied::Done)
    }

    fn may_host(&self, node: NodeId, role: Role) -> bool {
        self.node(node)
            .is_some_and(|record| record.node.role == role && record.takes_replicas())
    }

    fn begin_change(&mut self, group: Group, table_version: u64, begin: Begin) -> Result<Applied, Rejection> {
        if self.table.version != table_version {
            return Err(Rejection::VersionPast);
        }
        if self.table.changes() >= self.settings.changes_max.into() {
            return Err(Rejection::TooManyChanges);
        }
        if let Begin::Add { node, .. } = begin {
            let record = self.member(node).ok_or(Rejection::NoSuchNode(node))?;
            if !record.takes_replicas() || !record.node.role.hosts(group) {
                return Err(Rejection::NodeOutOfTurn {
                    node,
                    state: record.state,
                });
            }
        }
        self.change_assignment(group, |assignment| assignment.begin(begin))
    }

    fn advance_change(&mut self, group: Group, version: u64, step: Step) -> Result<Applied, Rejection> {
        self.change_assignment(group, |assignment| {
            if assignment.version != version {
                return Err(Rejection::VersionPast);
            }
            assignment.advance(step)
        })
    }

    fn change_assignment(
        &mut self,
        group: Group,
        change: impl FnOnce(&mut Assignment) -> Result<(), Rejection>,
    ) -> Result<Applied, Rejection> {
        let place = self.table.get_mut(group).ok_or(Rejection::BadTable)?;
        let mut assignment = place.clone();
        change(&mut assignment)?;
        place.clone_from(&assignment);
        self.table.version += 1;
        Ok(Applied::Group(group, assignment))
    }

    fn claim_job(&mut self, job: JobName, owner: NodeId) -> Result<Applied, Rejection> {
        self.member(owner).ok_or(Rejection::NoSuchNode(owner))?;
        let stage = match self.jobs.get(&job) {
            Some(present) if present.owner != owner && self.is_at_work(present.owner) => {
                return Err(Rejection::JobTaken(present.owner));
            }
            present => present.map_or(0, |job| job.stage),
        };
        let record = JobRecord {
            name: job,
            owner,
            claim: self.next_claim,
            stage,
        };
        self.next_claim = Claim(self.next_claim.0 + 1);
        self.jobs.insert(job, record);
        Ok(Applied::Job(record))
    }

    fn is_at_work(&self, node: NodeId) -> bool {
        self.member(node)
            .is_some_and(|record| record.lost_since.is_none())
    }

    fn claimed(&mut self, job: JobName, claim: Claim) -> Result<&mut JobRecord, Rejection> {
        let record = self.jobs.get_mut(&job);
        record
            .filter(|record| record.claim == claim)
            .ok_or(Rejection::ClaimPast)
    }
}

fn check_node(node: &NewNode) -> Result<(), Rejection> {
    let name = node.name.as_bytes();
    let dns = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let texts = [&node.address, &node.zone, &node.version];
    let port = node.address.rsplit_once(':').map(|(_, port)| port);
    let fits = (1..=limits::NODE_NAME_CHARS_MAX).contains(&name.len())
        && name.iter().all(dns)
        && name.first() != Some(&b'-')
        && name.last() != Some(&b'-')
        && texts.iter().all(|text| text.len() <= limits::NODE_TEXT_BYTES_MAX)
        && (node.role == Role::Embedded || port.is_some_and(|port| port.parse::<u16>().is_ok()));
    fits.then_some(()).ok_or(Rejection::BadNode)
}
