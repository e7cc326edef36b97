//! The shard in the same process: what would be a call over the network is a function call.

use async_trait::async_trait;
use sealdex_coordinator::ports::ShardClient;
use sealdex_core::{BlobLabel, ClusterLabel, Generation, IndexId, ItemLabel, Op, PartitionId};
use sealdex_crypto::DataKeys;
use sealdex_index::dataplane::{
    Applied, ClusterRows, Counted, FetchRequest, Fetched, FoldRequest, InboxReply, InboxRequest,
    ResealRequest, Resealed, ResolveReply, ResolveRequest, ScanReply, ScanRequest, ShardError, Target,
    WalkReply, WalkRequest,
};
use sealdex_proto::partition::Entry;
use sealdex_shard::Node;
use std::sync::Arc;

/// The coordinator's port on a node of this process.
pub(super) struct LocalShard {
    node: Arc<Node>,
}

impl LocalShard {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

#[async_trait]
impl ShardClient for LocalShard {
    async fn grant(&self, target: Target, keys: Arc<DataKeys>) -> Result<(), ShardError> {
        self.node.grant(target, keys);
        Ok(())
    }

    async fn propose(
        &self,
        partition: PartitionId,
        entry: Entry,
        signature: Option<[u8; 64]>,
    ) -> Result<Applied, ShardError> {
        self.node.propose(partition, entry, signature).await
    }

    async fn scan(&self, request: ScanRequest) -> Result<ScanReply, ShardError> {
        self.node.scan(request).await
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveReply, ShardError> {
        self.node.resolve(request).await
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Vec<Option<Fetched>>, ShardError> {
        self.node.fetch(request).await
    }

    async fn walk(&self, request: WalkRequest) -> Result<WalkReply, ShardError> {
        self.node.walk(request).await
    }

    async fn blob(
        &self,
        target: Target,
        generation: Generation,
        label: BlobLabel,
    ) -> Result<Option<Vec<u8>>, ShardError> {
        self.node.blob(target, generation, label).await
    }

    async fn cluster_rows(
        &self,
        target: Target,
        generation: Generation,
        cluster: ClusterLabel,
    ) -> Result<ClusterRows, ShardError> {
        self.node.cluster_rows(target, generation, cluster).await
    }

    async fn current(&self, target: Target, rows: Vec<(ItemLabel, Op)>) -> Result<Vec<bool>, ShardError> {
        self.node.current(target, rows).await
    }

    async fn fold(&self, request: FoldRequest) -> Result<Applied, ShardError> {
        self.node.fold(request).await
    }

    async fn reseal(&self, request: ResealRequest) -> Result<Resealed, ShardError> {
        self.node.reseal(request).await
    }

    async fn purge(&self, partition: PartitionId, index: IndexId) -> Result<(), ShardError> {
        self.node.purge(partition, index).await
    }

    async fn count(&self, partition: PartitionId, index: IndexId) -> Result<Counted, ShardError> {
        self.node.count(partition, index).await
    }

    async fn inbox(&self, request: InboxRequest) -> Result<InboxReply, ShardError> {
        self.node.inbox(request).await
    }

    async fn block_bytes(&self, partition: PartitionId, index: IndexId) -> Result<u64, ShardError> {
        self.node.block_bytes(partition, index).await
    }

    async fn check_room(&self, bytes: u64) -> Result<(), ShardError> {
        self.node.check_room(bytes)
    }

    async fn indexes(&self, partition: PartitionId) -> Result<Vec<IndexId>, ShardError> {
        self.node.indexes(partition).await
    }
}
