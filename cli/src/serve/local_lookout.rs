//! Looks at a deployment that is this one process: the same words as for one of many nodes, said of the only one.

use async_trait::async_trait;
use sealdex_coordinator::adapters::{CatalogHandle, report_of};
use sealdex_coordinator::domain::deployment::{
    Assignment, Bootstrap, Deployment, DiskRoom, Group, InstallId, NewNode, NodeReport, Role, Settings,
    Sightings,
};
use sealdex_coordinator::ports::{Lookout, Survey};
use sealdex_core::{DeploymentId, NodeId};
use sealdex_shard::Node;
use std::sync::Arc;
use std::time::Duration;

/// What the only node is called.
const NAME: &str = "embedded";

/// See the module.
pub(super) struct LocalLookout {
    deployment: Arc<Deployment>,
    me: NodeId,
    catalog: Arc<CatalogHandle>,
    node: Arc<Node>,
}

impl LocalLookout {
    /// Of the deployment of that id, whose partitions are all on `node`.
    pub(super) fn new(
        id: DeploymentId,
        partitions: u16,
        catalog: Arc<CatalogHandle>,
        node: Arc<Node>,
    ) -> Self {
        let bootstrap = Bootstrap {
            deployment: id,
            partitions: 1,
            settings: Settings {
                replicas: 1,
                expected_shards: 1,
                ..Settings::default()
            },
            node: NewNode {
                name: NAME.to_owned(),
                role: Role::Embedded,
                address: String::new(),
                zone: String::new(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                install: InstallId(id.0),
            },
        };
        let deployment = Deployment::bootstrap(bootstrap);
        let mut deployment =
            deployment.expect("a deployment may begin with an embedded node and a partition");
        let me = node.host().node();
        // A process alone may have more of them than a deployment of several nodes.
        deployment.partitions = partitions;
        deployment.table.partitions = vec![Assignment::first([me]); partitions.into()];
        Self {
            deployment: Arc::new(deployment),
            me,
            catalog,
            node,
        }
    }

    fn sightings(&self) -> Sightings {
        let disk = self.node.room().map(DiskRoom::from);
        let statuses = self.node.statuses();
        let report = NodeReport {
            full: disk.is_some_and(DiskRoom::is_full),
            disk,
            leases: self.node.leases() as u64,
            replicas: statuses.len() as u64,
            ..NodeReport::default()
        };
        let partitions = statuses
            .into_iter()
            .map(|(partition, status)| (Group::Partition(partition), status));
        let groups = partitions.chain([(Group::Metadata, self.catalog.status())]);
        let led = groups.filter(|(_, status)| status.is_leader);
        let knows = |group| {
            self.deployment
                .table
                .get(group)
                .map_or(0, |assignment| assignment.version)
        };
        Sightings {
            nodes: [(self.me, (Duration::ZERO, report))].into(),
            groups: led
                .map(|(group, status)| (group, report_of(group, self.me, knows(group), status)))
                .collect(),
        }
    }
}

#[async_trait]
impl Lookout for LocalLookout {
    async fn survey(&self) -> Option<Survey> {
        Some(Survey {
            deployment: Arc::clone(&self.deployment),
            asked: self.me,
            sightings: Some(self.sightings()),
        })
    }
}
