//! What the embedded default keeps on disk: one log for all groups, the catalogue, and all partitions. One node is the
//! only member of every group.

use super::ServeArgs;
use super::data_dir::DataDir;
use crate::admin::Readiness;
use sealdex_consensus::{Host, HostOptions, Space};
use sealdex_coordinator::adapters::CatalogHandle;
use sealdex_core::PartitionId;
use sealdex_shard::{Node, Options, Origin};
use std::sync::Arc;

/// Requests that may wait in the shard before the next is refused as busy.
const REQUESTS_QUEUED: usize = 1024;

pub(super) struct Stores {
    pub(super) host: Arc<Host>,
    pub(super) catalog: CatalogHandle,
    pub(super) node: Arc<Node>,
}

impl Stores {
    /// Opens all of it; returns when what was acknowledged before can be read. An error says why, for the operator.
    pub(super) async fn open(
        args: &ServeArgs,
        data_dir: &DataDir,
        readiness: &Readiness,
    ) -> Result<Self, String> {
        let space = Space::open(&data_dir.log(), args.disk_reserve_bytes()).map_err(|e| e.to_string())?;
        let space = Arc::new(space);
        readiness.depend_on_disk(&space);
        let log = HostOptions::alone(data_dir.log(), space.clone());
        let me = log.node;
        let options = Options {
            path: data_dir.shard(),
            partitions: data_dir.partitions(),
            block_cache_bytes: (args.block_cache_mib as usize) << 20,
            threads: args.threads().map_err(|e| e.to_string())?,
            queue: REQUESTS_QUEUED,
        };
        let on_disk = space.clone();
        let open = move || {
            let host = Host::open(log).map_err(|e| e.to_string())?;
            let node = Node::open(options, on_disk, host.clone()).map_err(|e| e.to_string())?;
            Ok::<_, String>((host, Arc::new(node)))
        };
        let (host, node) = tokio::task::spawn_blocking(open)
            .await
            .map_err(|e| e.to_string())??;
        let catalog = CatalogHandle::open(&data_dir.catalog(), space, &host, None)
            .await
            .map_err(|e| e.to_string())?;
        catalog.found(me).await.map_err(|e| e.to_string())?;
        let founding = Origin::Founding([me].into());
        for partition in (0..data_dir.partitions()).map(PartitionId) {
            let hosted = node.host_partition(partition, &founding).await;
            hosted.map_err(|e| e.to_string())?;
        }
        for partition in node.hosted() {
            node.led(partition).await;
        }
        Ok(Self { host, catalog, node })
    }
}
