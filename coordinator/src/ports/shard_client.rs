//! The shards as the service sees them. Knows partitions and sealed records, never where a shard runs or how it is called.

use async_trait::async_trait;
use sealdex_core::{BlobLabel, ClusterLabel, Generation, IndexId, ItemLabel, Op, PartitionId};
use sealdex_crypto::DataKeys;
use sealdex_index::dataplane::{
    Applied, ClusterRows, Counted, FetchRequest, Fetched, FoldRequest, InboxReply, InboxRequest,
    ResealRequest, Resealed, ResolveReply, ResolveRequest, ScanReply, ScanRequest, ShardError, Target,
    WalkReply, WalkRequest,
};
use sealdex_proto::partition::Entry;
use std::sync::Arc;

/// The shards, reached by partition. Whether a call stays in the process is the implementation's affair.
#[async_trait]
pub trait ShardClient: Send + Sync {
    /// Lends the keys of one partition of an index, for as long as the lease lasts.
    async fn grant(&self, target: Target, keys: Arc<DataKeys>) -> Result<(), ShardError>;

    /// Puts an entry into the partition's log; returns when it is durable and applied. Entries that carry items, rows
    /// or models need a signature of the index's write key over their encoded form.
    async fn propose(
        &self,
        partition: PartitionId,
        entry: Entry,
        signature: Option<[u8; 64]>,
    ) -> Result<Applied, ShardError>;

    /// Scores the rows of some clusters.
    async fn scan(&self, request: ScanRequest) -> Result<ScanReply, ShardError>;

    /// Tells which candidates are current and their exact distances.
    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveReply, ShardError>;

    /// Opens items, in the order asked; `None` for those that are not there. Shorter than the request if that takes up
    /// more bytes than it may.
    async fn fetch(&self, request: FetchRequest) -> Result<Vec<Option<Fetched>>, ShardError>;

    /// Opens the next items of a partition in label order.
    async fn walk(&self, request: WalkRequest) -> Result<WalkReply, ShardError>;

    /// One sealed piece of a generation's model.
    async fn blob(
        &self,
        target: Target,
        generation: Generation,
        label: BlobLabel,
    ) -> Result<Option<Vec<u8>>, ShardError>;

    /// The rows of a cluster's blocks.
    async fn cluster_rows(
        &self,
        target: Target,
        generation: Generation,
        cluster: ClusterLabel,
    ) -> Result<ClusterRows, ShardError>;

    /// For each row, whether it is its item's current one.
    async fn current(&self, target: Target, rows: Vec<(ItemLabel, Op)>) -> Result<Vec<bool>, ShardError>;

    /// Rewrites blocks of a cluster.
    async fn fold(&self, request: FoldRequest) -> Result<Applied, ShardError>;

    /// Seals the next records of a partition again, those that are of the keys' other epoch.
    async fn reseal(&self, request: ResealRequest) -> Result<Resealed, ShardError>;

    /// Rewrites the files that hold an index's records, so that what was replaced or deleted before is in none of them.
    async fn purge(&self, partition: PartitionId, index: IndexId) -> Result<(), ShardError>;

    /// Items of an index in a partition.
    async fn count(&self, partition: PartitionId, index: IndexId) -> Result<Counted, ShardError>;

    /// What waits in the inbox of an index in a partition, still sealed.
    async fn inbox(&self, request: InboxRequest) -> Result<InboxReply, ShardError>;

    /// Bytes of the blocks of an index in a partition.
    async fn block_bytes(&self, partition: PartitionId, index: IndexId) -> Result<u64, ShardError>;

    /// Refuses what is about to write so many bytes if there is no room for it on the disks of the shards.
    async fn check_room(&self, bytes: u64) -> Result<(), ShardError>;

    /// Indexes that a partition knows.
    async fn indexes(&self, partition: PartitionId) -> Result<Vec<IndexId>, ShardError>;
}
