//! Who may join: whoever shows a certificate of the deployment's authority and the join token. Coordinators that are part of the deployment
//! ask here too, at each start, whether they run already.

use crate::node::{ASK_AT, Doorkeeper, JoinToken};
use async_trait::async_trait;
use sealdex_coordinator::adapters::{CatalogError, CatalogHandle};
use sealdex_coordinator::domain::deployment::{
    Applied, Command, Deployment, InstallId, NewNode, Rejection, Role,
};
use sealdex_core::NodeId;
use sealdex_peer::Identity;
use sealdex_proto::peer::{JoinReply, JoinRequest, Member, Role as WireRole};
use std::sync::Arc;
use tonic::Status;

/// See the module.
pub(super) struct Door {
    me: NodeId,
    catalog: Arc<CatalogHandle>,
    token: Arc<JoinToken>,
}

impl Door {
    /// Of the coordinator `me`.
    pub(super) fn new(me: NodeId, catalog: Arc<CatalogHandle>, token: Arc<JoinToken>) -> Self {
        Self { me, catalog, token }
    }

    /// Whether a process asks that has this node's own disk.
    fn is_this_node(&self, deployment: &Deployment, asks: &NewNode) -> bool {
        let me = deployment.member(self.me);
        me.is_some_and(|record| have_one_disk(&record.node, asks))
    }

    /// Where a coordinator is to ask whether it runs there, as long as nobody leads who would know.
    fn runs_elsewhere(&self, deployment: &Deployment, asks: &NewNode) -> Option<Status> {
        if self.catalog.is_led() || asks.role != Role::Coordinator {
            return None;
        }
        let known = deployment.nodes().filter(|record| record.is_member());
        let mut nodes = known.map(|record| &record.node);
        let there = nodes.find(|node| have_one_disk(node, asks) && node.address != asks.address)?;
        let (name, address) = (&there.name, &there.address);
        Some(ask_at(
            format!("nobody leads, and {name} may run at {address}"),
            address,
        ))
    }

    /// Where the coordinator is that takes nodes in, if it is not this one.
    fn leads_elsewhere(&self, deployment: &Deployment) -> Option<Status> {
        let status = self.catalog.status();
        let leader = status.leader.filter(|_| !status.is_leader)?;
        let leader = deployment.member(leader)?;
        let (name, address) = (&leader.node.name, &leader.node.address);
        let says = format!("{name} at {address} takes nodes in, not this coordinator");
        Some(ask_at(says, address))
    }
}

/// Names an address to ask at instead.
fn ask_at(says: String, address: &str) -> Status {
    let mut status = Status::unavailable(says);
    if let Ok(address) = address.parse() {
        status.metadata_mut().insert(ASK_AT, address);
    }
    status
}

fn have_one_disk(a: &NewNode, b: &NewNode) -> bool {
    (&a.name, a.role, a.install) == (&b.name, b.role, b.install)
}

#[async_trait]
impl Doorkeeper for Door {
    async fn admit(&self, identity: Identity, request: JoinRequest) -> Result<JoinReply, Status> {
        if !self.token.is(&request.token) {
            return Err(Status::permission_denied(
                "the join token is not this deployment's; give the node the token that the coordinators have",
            ));
        }
        let deployment = self.catalog.deployment();
        let deployment =
            deployment.ok_or_else(|| Status::unavailable("the deployment is not bootstrapped yet"))?;
        // Before anything is written down of it.
        if !request.deployment.is_empty() && request.deployment != deployment.id.0[..] {
            return Err(Status::failed_precondition(
                "the data directory belongs to another deployment; empty it to join this one, or name that one's coordinators with --join",
            ));
        }
        let install: [u8; 16] = request.install.as_ref().try_into().map_err(|_| {
            Status::invalid_argument(
                "the request does not say which data directory it is for; upgrade the node",
            )
        })?;
        let node = NewNode {
            name: identity.name.to_string(),
            role: match identity.role {
                sealdex_peer::Role::Coordinator => Role::Coordinator,
                sealdex_peer::Role::Shard => Role::Shard,
            },
            address: request.address,
            zone: request.zone,
            version: request.software,
            install: InstallId(install),
        };
        if self.is_this_node(&deployment, &node) {
            return Err(Status::failed_precondition(
                "that very node runs here, and its disk must not be in use twice; stop it first, or start the other process with another name and an empty data directory",
            ));
        }
        let elsewhere = self.runs_elsewhere(&deployment, &node);
        if let Some(elsewhere) = elsewhere.or_else(|| self.leads_elsewhere(&deployment)) {
            return Err(elsewhere);
        }
        let applied = self.catalog.change_deployment(Command::RegisterNode(node)).await;
        let Applied::Node(record) = applied.map_err(status_of)? else {
            return Err(Status::internal("a node was registered as something else"));
        };
        let deployment = self.catalog.deployment().unwrap_or(deployment);
        Ok(JoinReply {
            deployment: deployment.id.0.to_vec().into(),
            node: record.id.0,
            members: members(&deployment),
            partitions: u32::from(deployment.partitions),
        })
    }
}

fn members(deployment: &Deployment) -> Vec<Member> {
    let of_deployment = deployment.nodes().filter(|record| record.is_member());
    let member = |record: &sealdex_coordinator::domain::deployment::NodeRecord| Member {
        node: record.id.0,
        role: match record.node.role {
            Role::Shard => WireRole::Shard as i32,
            Role::Coordinator | Role::Embedded => WireRole::Coordinator as i32,
        },
        name: record.node.name.clone(),
        address: record.node.address.clone(),
    };
    of_deployment.map(member).collect()
}

fn status_of(error: CatalogError) -> Status {
    let text = error.to_string();
    match error {
        CatalogError::DeploymentRejected(Rejection::NotBootstrapped) => Status::unavailable(text),
        // It may be lost and not known to be yet: asked again.
        CatalogError::DeploymentRejected(Rejection::NameTaken(_)) => Status::already_exists(text),
        CatalogError::DeploymentRejected(_) => Status::failed_precondition(text),
        CatalogError::NotLeader(_) => Status::unavailable("this coordinator does not lead; ask another one"),
        _ => Status::unavailable(text),
    }
}
