//! The deployment's stored form, in both directions.

use super::catalog_codec::{Unreadable, check_version, fixed};
use crate::domain::deployment::{
    Assignment, Change, Claim, Deployment, InstallId, JobKind, JobName, JobRecord, NewNode, NodeRecord,
    NodeState, Role, Settings, Table,
};
use prost::Message;
use sealdex_core::{DeploymentId, IndexId, NodeId};
use sealdex_proto::{ENTRY_VERSION, catalog as wire};

pub(crate) fn encode_deployment(deployment: &Deployment) -> Vec<u8> {
    wire::Deployment {
        version: ENTRY_VERSION,
        id: deployment.id.0.to_vec().into(),
        partitions: deployment.partitions.into(),
        settings: Some(settings_to_wire(&deployment.settings)),
        nodes: deployment.nodes().map(node_to_wire).collect(),
        next_node: deployment.next_node.0,
        table_version: deployment.table.version,
        metadata: Some(assignment_to_wire(&deployment.table.metadata)),
        assignments: deployment
            .table
            .partitions
            .iter()
            .map(assignment_to_wire)
            .collect(),
        jobs: deployment.jobs().map(job_to_wire).collect(),
        next_claim: deployment.next_claim.0,
    }
    .encode_to_vec()
}

pub(crate) fn decode_deployment(bytes: &[u8]) -> Result<Deployment, Unreadable> {
    let stored = wire::Deployment::decode(bytes).map_err(|_| Unreadable("deployment"))?;
    check_version(stored.version, "deployment")?;
    let assignments = stored.assignments.into_iter().map(assignment_from_wire);
    let nodes = stored.nodes.into_iter().map(node_from_wire);
    let jobs = stored.jobs.into_iter().map(job_from_wire);
    Ok(Deployment {
        id: DeploymentId(fixed(&stored.id, "deployment id")?),
        partitions: narrow(stored.partitions, "partitions")?,
        settings: settings_from_wire(stored.settings.ok_or(Unreadable("settings"))?)?,
        table: Table {
            version: stored.table_version,
            metadata: assignment_from_wire(stored.metadata.ok_or(Unreadable("assignment"))?)?,
            partitions: assignments.collect::<Result<_, _>>()?,
        },
        nodes: nodes
            .map(|node| node.map(|n| (n.id, n)))
            .collect::<Result<_, _>>()?,
        jobs: jobs
            .map(|job| job.map(|j| (j.name, j)))
            .collect::<Result<_, _>>()?,
        next_node: NodeId(stored.next_node),
        next_claim: Claim(stored.next_claim),
    })
}

/// A number that is stored wider than it may be.
fn narrow<T: TryFrom<u32>>(number: u32, what: &'static str) -> Result<T, Unreadable> {
    T::try_from(number).map_err(|_| Unreadable(what))
}

pub(super) fn settings_to_wire(settings: &Settings) -> wire::Settings {
    wire::Settings {
        replicas: settings.replicas.into(),
        expected_shards: settings.expected_shards.into(),
        grace_seconds: settings.grace_seconds,
        changes_max: settings.changes_max.into(),
        balance: settings.balance,
    }
}

pub(super) fn settings_from_wire(settings: wire::Settings) -> Result<Settings, Unreadable> {
    Ok(Settings {
        replicas: narrow(settings.replicas, "number of replicas")?,
        expected_shards: narrow(settings.expected_shards, "number of shard nodes")?,
        grace_seconds: settings.grace_seconds,
        changes_max: narrow(settings.changes_max, "number of changes")?,
        balance: settings.balance,
    })
}

pub(super) fn new_node_to_wire(node: &NewNode) -> wire::NewNode {
    let role = match node.role {
        Role::Coordinator => wire::Role::Coordinator,
        Role::Shard => wire::Role::Shard,
        Role::Embedded => wire::Role::Embedded,
    };
    wire::NewNode {
        name: node.name.clone(),
        role: role.into(),
        address: node.address.clone(),
        zone: node.zone.clone(),
        version: node.version.clone(),
        install: node.install.0.to_vec().into(),
    }
}

pub(super) fn new_node_from_wire(node: wire::NewNode) -> Result<NewNode, Unreadable> {
    let role = match node.role() {
        wire::Role::Coordinator => Role::Coordinator,
        wire::Role::Shard => Role::Shard,
        wire::Role::Embedded => Role::Embedded,
        wire::Role::Unspecified => return Err(Unreadable("role")),
    };
    Ok(NewNode {
        name: node.name,
        role,
        address: node.address,
        zone: node.zone,
        version: node.version,
        install: InstallId(fixed(&node.install, "install id")?),
    })
}

fn node_to_wire(record: &NodeRecord) -> wire::Node {
    let (state, replaced_by) = match record.state {
        NodeState::Joining => (wire::NodeState::Joining, 0),
        NodeState::Active => (wire::NodeState::Active, 0),
        NodeState::Decommissioning => (wire::NodeState::Decommissioning, 0),
        NodeState::Removed => (wire::NodeState::Removed, 0),
        NodeState::Replaced { by } => (wire::NodeState::Replaced, by.0),
    };
    wire::Node {
        id: record.id.0,
        node: Some(new_node_to_wire(&record.node)),
        state: state.into(),
        replaced_by,
        lost_since: record.lost_since,
        lease_key: record.lease_key.map(|key| key.to_vec().into()),
    }
}

fn node_from_wire(node: wire::Node) -> Result<NodeRecord, Unreadable> {
    let state = match node.state() {
        wire::NodeState::Joining => NodeState::Joining,
        wire::NodeState::Active => NodeState::Active,
        wire::NodeState::Decommissioning => NodeState::Decommissioning,
        wire::NodeState::Removed => NodeState::Removed,
        wire::NodeState::Replaced => NodeState::Replaced {
            by: NodeId(node.replaced_by),
        },
        wire::NodeState::Unspecified => return Err(Unreadable("state of a node")),
    };
    Ok(NodeRecord {
        id: NodeId(node.id),
        node: new_node_from_wire(node.node.ok_or(Unreadable("node"))?)?,
        state,
        lost_since: node.lost_since,
        lease_key: lease_key(node.lease_key.as_deref())?,
    })
}

pub(super) fn lease_key(bytes: Option<&[u8]>) -> Result<Option<[u8; 32]>, Unreadable> {
    bytes.map(|bytes| fixed(bytes, "lease key")).transpose()
}

fn assignment_to_wire(assignment: &Assignment) -> wire::Assignment {
    let (mut catching_up, mut switching) = (None, None);
    match assignment.change {
        Some(Change::CatchingUp { learner, replaces }) => {
            catching_up = Some(wire::CatchingUp {
                learner: learner.0,
                replaces: replaces.map(|node| node.0),
            });
        }
        Some(Change::Switching { added, removed }) => {
            switching = Some(wire::Switching {
                added: added.map(|node| node.0),
                removed: removed.map(|node| node.0),
            });
        }
        None => {}
    }
    wire::Assignment {
        version: assignment.version,
        voters: assignment.voters.iter().map(|node| node.0).collect(),
        catching_up,
        switching,
    }
}

fn assignment_from_wire(assignment: wire::Assignment) -> Result<Assignment, Unreadable> {
    let change = match (assignment.catching_up, assignment.switching) {
        (None, None) => None,
        (Some(change), None) => Some(Change::CatchingUp {
            learner: NodeId(change.learner),
            replaces: change.replaces.map(NodeId),
        }),
        (None, Some(change)) => Some(Change::Switching {
            added: change.added.map(NodeId),
            removed: change.removed.map(NodeId),
        }),
        (Some(_), Some(_)) => return Err(Unreadable("change of a group")),
    };
    if assignment.voters.is_empty() {
        return Err(Unreadable("voters"));
    }
    Ok(Assignment {
        version: assignment.version,
        voters: assignment.voters.into_iter().map(NodeId).collect(),
        change,
    })
}

pub(super) fn job_name_to_wire(job: JobName) -> wire::JobName {
    let kind = match job.kind {
        JobKind::Training => wire::JobKind::Training,
        JobKind::Rotation => wire::JobKind::Rotation,
        JobKind::Promotion => wire::JobKind::Promotion,
        JobKind::Fold => wire::JobKind::Fold,
        JobKind::Tidying => wire::JobKind::Tidying,
    };
    wire::JobName {
        kind: kind.into(),
        index: job.index.0,
    }
}

pub(super) fn job_name_from_wire(job: Option<wire::JobName>) -> Result<JobName, Unreadable> {
    let job = job.ok_or(Unreadable("job"))?;
    let kind = match job.kind() {
        wire::JobKind::Training => JobKind::Training,
        wire::JobKind::Rotation => JobKind::Rotation,
        wire::JobKind::Promotion => JobKind::Promotion,
        wire::JobKind::Fold => JobKind::Fold,
        wire::JobKind::Tidying => JobKind::Tidying,
        wire::JobKind::Unspecified => return Err(Unreadable("kind of job")),
    };
    Ok(JobName {
        kind,
        index: IndexId(job.index),
    })
}

fn job_to_wire(job: &JobRecord) -> wire::Job {
    wire::Job {
        name: Some(job_name_to_wire(job.name)),
        owner: job.owner.0,
        claim: job.claim.0,
        stage: job.stage,
    }
}

fn job_from_wire(job: wire::Job) -> Result<JobRecord, Unreadable> {
    Ok(JobRecord {
        name: job_name_from_wire(job.name)?,
        owner: NodeId(job.owner),
        claim: Claim(job.claim),
        stage: job.stage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::{Begin, Bootstrap, Command, Group, NodeChange};
    use sealdex_core::PartitionId;

    fn new_node(n: u8, role: Role) -> NewNode {
        NewNode {
            name: format!("node-{n}"),
            role,
            address: format!("10.0.0.{n}:7000"),
            zone: "a".into(),
            version: "1.0.0".into(),
            install: InstallId([n; 16]),
        }
    }

    fn at_work() -> Deployment {
        let mut deployment = Deployment::bootstrap(Bootstrap {
            deployment: DeploymentId([3; 16]),
            partitions: 3,
            settings: Settings {
                balance: false,
                ..Settings::default()
            },
            node: new_node(1, Role::Coordinator),
        })
        .unwrap();
        let mut apply = |command| deployment.apply(command).unwrap();
        for n in 2..=6 {
            apply(Command::RegisterNode(new_node(n, Role::Shard)));
        }
        for n in 2..=5 {
            apply(Command::UpdateNode {
                node: NodeId(n),
                address: "h:1".into(),
                zone: "b".into(),
                version: "2".into(),
                lease_key: Some([5; 32]),
            });
        }
        let voters = [2, 3, 4].map(NodeId).to_vec();
        apply(Command::MakeTable(vec![voters; 3]));
        let set = |node, to| Command::SetNode {
            node: NodeId(node),
            to,
        };
        let begin = |partition, table_version, begin| Command::BeginChange {
            group: Group::Partition(PartitionId(partition)),
            table_version,
            begin,
        };
        let replace = Begin::Add {
            node: NodeId(5),
            replaces: Some(NodeId(2)),
        };
        apply(begin(0, 2, replace));
        apply(begin(1, 3, Begin::Remove { node: NodeId(3) }));
        apply(Command::ClaimJob {
            job: JobName {
                kind: JobKind::Rotation,
                index: IndexId(u64::MAX),
            },
            owner: NodeId(1),
        });
        apply(set(2, NodeChange::Decommission));
        apply(set(3, NodeChange::Lost { since: 77 }));
        apply(Command::RegisterNode(NewNode {
            install: InstallId([9; 16]),
            ..new_node(3, Role::Shard)
        }));
        apply(set(6, NodeChange::Remove));
        deployment
    }

    #[test]
    fn a_deployment_survives_a_round_trip() {
        let deployment = at_work();
        assert_eq!(
            decode_deployment(&encode_deployment(&deployment)).unwrap(),
            deployment
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let stored = wire::Deployment::decode(encode_deployment(&at_work()).as_slice()).unwrap();
        let damages: [fn(&mut wire::Deployment); 6] = [
            |d| d.version += 1,
            |d| d.id = vec![1; 15].into(),
            |d| d.nodes[0].state = 99,
            |d| d.assignments[0].voters.clear(),
            |d| d.assignments[0].switching = Some(wire::Switching::default()),
            |d| d.partitions = 70_000,
        ];
        for (n, damage) in damages.into_iter().enumerate() {
            let mut damaged = stored.clone();
            damage(&mut damaged);
            assert!(decode_deployment(&damaged.encode_to_vec()).is_err(), "damage {n}");
        }
    }
}
