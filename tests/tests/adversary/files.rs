//! The files of a stopped server, opened by whoever may read and write them.

use crate::deployment::PARTITIONS;
use sealdex_consensus::{Host, HostOptions, Space};
use sealdex_coordinator::adapters::{CatalogError, CatalogHandle};
use sealdex_coordinator::domain::{Command, IndexRecord};
use sealdex_core::PartitionId;
use sealdex_shard::{Node, Options, Origin};
use std::path::Path;
use std::sync::Arc;

/// Catalogue and partitions of one data directory.
pub(crate) struct Files {
    host: Arc<Host>,
    catalog: CatalogHandle,
    pub(crate) node: Node,
}

impl Files {
    pub(crate) async fn open(data: &Path) -> Self {
        let space = Arc::new(Space::open(data, Some(0)).unwrap());
        let log = HostOptions::alone(data.join("log"), space.clone());
        let me = log.node;
        let host = Host::open(log).unwrap();
        let options = Options {
            path: data.join("shard"),
            partitions: PARTITIONS,
            block_cache_bytes: 8 << 20,
            threads: 1,
            queue: 64,
        };
        let node = Node::open(options, space.clone(), host.clone()).unwrap();
        let catalog = CatalogHandle::open(&data.join("catalog"), space, &host, None)
            .await
            .unwrap();
        catalog.found(me).await.unwrap();
        for partition in (0..PARTITIONS).map(PartitionId) {
            node.host_partition(partition, &Origin::Founding([me].into()))
                .await
                .unwrap();
            node.led(partition).await;
        }
        Self { host, catalog, node }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<IndexRecord>> {
        self.catalog.get(name)
    }

    pub(crate) fn all(&self) -> Vec<Arc<IndexRecord>> {
        self.catalog.all()
    }

    pub(crate) async fn change(&self, command: Command) -> Result<Arc<IndexRecord>, CatalogError> {
        self.catalog.change(command).await
    }

    pub(crate) async fn stop(&self) {
        self.node.close().await;
        self.host.stop().await;
    }
}
