//! Commands of the deployment as they stand in the log, in both directions.

use super::catalog_codec::{Unreadable, fixed};
use super::deployment_codec::{
    job_name_from_wire, job_name_to_wire, lease_key, new_node_from_wire, new_node_to_wire,
    settings_from_wire, settings_to_wire,
};
use crate::domain::deployment::{Begin, Bootstrap, Claim, Command, Group, NodeChange, Step};
use sealdex_core::{DeploymentId, NodeId};
use sealdex_proto::catalog as wire;
use wire::deployment_command::Command as Wire;

pub(super) fn command_to_wire(command: &Command) -> wire::DeploymentCommand {
    let command = match command {
        Command::Bootstrap(bootstrap) => Wire::Bootstrap(wire::Bootstrap {
            deployment: bootstrap.deployment.0.to_vec().into(),
            partitions: bootstrap.partitions.into(),
            settings: Some(settings_to_wire(&bootstrap.settings)),
            node: Some(new_node_to_wire(&bootstrap.node)),
        }),
        Command::RegisterNode(node) => Wire::RegisterNode(new_node_to_wire(node)),
        Command::UpdateNode {
            node,
            address,
            zone,
            version,
            lease_key,
        } => Wire::UpdateNode(wire::UpdateNode {
            node: node.0,
            address: address.clone(),
            zone: zone.clone(),
            version: version.clone(),
            lease_key: lease_key.map(|key| key.to_vec().into()),
        }),
        Command::SetNode { node, to } => Wire::SetNode(set_node_to_wire(*node, *to)),
        Command::MakeTable(partitions) => Wire::MakeTable(wire::MakeTable {
            partitions: partitions
                .iter()
                .map(|voters| wire::Voters {
                    nodes: voters.iter().map(|node| node.0).collect(),
                })
                .collect(),
        }),
        Command::BeginChange {
            group,
            table_version,
            begin,
        } => Wire::BeginChange(wire::BeginChange {
            group: group.number(),
            table_version: *table_version,
            begin: Some(begin_to_wire(*begin)),
        }),
        Command::AdvanceChange { group, version, step } => Wire::AdvanceChange(wire::AdvanceChange {
            group: group.number(),
            version: *version,
            step: step_to_wire(*step).into(),
        }),
        Command::ClaimJob { job, owner } => Wire::ClaimJob(wire::ClaimJob {
            job: Some(job_name_to_wire(*job)),
            owner: owner.0,
        }),
        Command::AdvanceJob { job, claim, stage } => Wire::AdvanceJob(wire::AdvanceJob {
            job: Some(job_name_to_wire(*job)),
            claim: claim.0,
            stage: *stage,
        }),
        Command::FinishJob { job, claim } => Wire::FinishJob(wire::FinishJob {
            job: Some(job_name_to_wire(*job)),
            claim: claim.0,
        }),
        Command::Configure(settings) => Wire::Configure(settings_to_wire(settings)),
    };
    wire::DeploymentCommand {
        command: Some(command),
    }
}

pub(super) fn command_from_wire(command: wire::DeploymentCommand) -> Result<Command, Unreadable> {
    Ok(match command.command.ok_or(Unreadable("command"))? {
        Wire::Bootstrap(c) => Command::Bootstrap(Bootstrap {
            deployment: DeploymentId(fixed(&c.deployment, "deployment id")?),
            partitions: u16::try_from(c.partitions).map_err(|_| Unreadable("partitions"))?,
            settings: settings_from_wire(c.settings.ok_or(Unreadable("settings"))?)?,
            node: new_node_from_wire(c.node.ok_or(Unreadable("node"))?)?,
        }),
        Wire::RegisterNode(node) => Command::RegisterNode(new_node_from_wire(node)?),
        Wire::UpdateNode(c) => Command::UpdateNode {
            node: NodeId(c.node),
            address: c.address,
            zone: c.zone,
            version: c.version,
            lease_key: lease_key(c.lease_key.as_deref())?,
        },
        Wire::SetNode(c) => Command::SetNode {
            node: NodeId(c.node),
            to: node_change_from_wire(&c)?,
        },
        Wire::MakeTable(c) => {
            let voters = |voters: wire::Voters| voters.nodes.into_iter().map(NodeId).collect();
            Command::MakeTable(c.partitions.into_iter().map(voters).collect())
        }
        Wire::BeginChange(c) => Command::BeginChange {
            group: group(c.group)?,
            table_version: c.table_version,
            begin: begin_from_wire(c.begin.ok_or(Unreadable("change"))?),
        },
        Wire::AdvanceChange(c) => Command::AdvanceChange {
            group: group(c.group)?,
            version: c.version,
            step: step_from_wire(c.step())?,
        },
        Wire::ClaimJob(c) => Command::ClaimJob {
            job: job_name_from_wire(c.job)?,
            owner: NodeId(c.owner),
        },
        Wire::AdvanceJob(c) => Command::AdvanceJob {
            job: job_name_from_wire(c.job)?,
            claim: Claim(c.claim),
            stage: c.stage,
        },
        Wire::FinishJob(c) => Command::FinishJob {
            job: job_name_from_wire(c.job)?,
            claim: Claim(c.claim),
        },
        Wire::Configure(settings) => Command::Configure(settings_from_wire(settings)?),
    })
}

fn group(number: u64) -> Result<Group, Unreadable> {
    Group::from_number(number).ok_or(Unreadable("group"))
}

fn set_node_to_wire(node: NodeId, to: NodeChange) -> wire::SetNode {
    let (to, since) = match to {
        NodeChange::Lost { since } => (wire::NodeChange::Lost, since),
        NodeChange::Found => (wire::NodeChange::Found, 0),
        NodeChange::Decommission => (wire::NodeChange::Decommission, 0),
        NodeChange::Recommission => (wire::NodeChange::Recommission, 0),
        NodeChange::Remove => (wire::NodeChange::Remove, 0),
    };
    wire::SetNode {
        node: node.0,
        to: to.into(),
        since,
    }
}

fn node_change_from_wire(change: &wire::SetNode) -> Result<NodeChange, Unreadable> {
    Ok(match change.to() {
        wire::NodeChange::Lost => NodeChange::Lost { since: change.since },
        wire::NodeChange::Found => NodeChange::Found,
        wire::NodeChange::Decommission => NodeChange::Decommission,
        wire::NodeChange::Recommission => NodeChange::Recommission,
        wire::NodeChange::Remove => NodeChange::Remove,
        wire::NodeChange::Unspecified => return Err(Unreadable("change of a node")),
    })
}

fn begin_to_wire(begin: Begin) -> wire::begin_change::Begin {
    match begin {
        Begin::Add { node, replaces } => wire::begin_change::Begin::Add(wire::AddReplica {
            node: node.0,
            replaces: replaces.map(|node| node.0),
        }),
        Begin::Remove { node } => wire::begin_change::Begin::Remove(node.0),
    }
}

fn begin_from_wire(begin: wire::begin_change::Begin) -> Begin {
    match begin {
        wire::begin_change::Begin::Add(add) => Begin::Add {
            node: NodeId(add.node),
            replaces: add.replaces.map(NodeId),
        },
        wire::begin_change::Begin::Remove(node) => Begin::Remove { node: NodeId(node) },
    }
}

fn step_to_wire(step: Step) -> wire::Step {
    match step {
        Step::Promote => wire::Step::Promote,
        Step::Abandon => wire::Step::Abandon,
        Step::Retreat => wire::Step::Retreat,
        Step::Settle => wire::Step::Settle,
    }
}

fn step_from_wire(step: wire::Step) -> Result<Step, Unreadable> {
    Ok(match step {
        wire::Step::Promote => Step::Promote,
        wire::Step::Abandon => Step::Abandon,
        wire::Step::Retreat => Step::Retreat,
        wire::Step::Settle => Step::Settle,
        wire::Step::Unspecified => return Err(Unreadable("step")),
    })
}
