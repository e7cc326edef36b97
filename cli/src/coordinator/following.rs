//! Keeps what a coordinator knows of nodes and partitions as metadata says.

use sealdex_coordinator::adapters::CatalogHandle;
use sealdex_coordinator::adapters::shard_grpc::Routes;
use sealdex_coordinator::domain::deployment::{Deployment, NodeRecord, Role};
use sealdex_core::{NodeId, PartitionId};
use sealdex_peer::{Directory, Identity, Registered};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until this node has heard of the deployment it is part of.
pub(super) async fn deployment_known(catalog: &CatalogHandle) {
    while catalog.deployment().is_none() {
        sleep(LOOK_EVERY).await;
    }
}

/// Goes on until the task is dropped.
pub(super) async fn follow(catalog: Arc<CatalogHandle>, directory: Arc<Directory>, routes: Arc<Routes>) {
    let mut seen: Option<Arc<Deployment>> = None;
    loop {
        let now = catalog.deployment();
        if let Some(deployment) = &now
            && seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, deployment))
        {
            directory.replace(deployment.nodes().filter_map(registered));
            routes.replace(replicas(deployment));
            seen = now;
        }
        sleep(LOOK_EVERY).await;
    }
}

fn replicas(deployment: &Deployment) -> Vec<(PartitionId, Vec<NodeId>)> {
    let assignments = (0..).map(PartitionId).zip(&deployment.table.partitions);
    assignments
        .map(|(partition, assignment)| (partition, assignment.voters.iter().copied().collect()))
        .collect()
}

fn registered(record: &NodeRecord) -> Option<(NodeId, Registered)> {
    let identity = Identity {
        role: match record.node.role {
            Role::Coordinator | Role::Embedded => sealdex_peer::Role::Coordinator,
            Role::Shard => sealdex_peer::Role::Shard,
        },
        name: record.node.name.parse().ok()?,
    };
    let registered = Registered {
        identity,
        address: record.node.address.clone(),
        removed: !record.is_member(),
    };
    Some((record.id, registered))
}
