//! What a coordinator asks of the shards, and what they answer: the vocabulary of the data plane.
//!
//! Plain values. Nothing here knows how they travel (a function call in one process, gRPC between two) or where rows
//! are stored, and no key is among them.

use crate::filter::Filter;
use crate::metadata::Metadata;
use crate::quantiser::{Codec, Scorer};
use sealdex_core::{
    BlockId, ClusterLabel, Dimension, ErrorCode, Generation, IndexId, ItemLabel, KeyEpoch, Metric, NodeId,
    Op, PartitionId, Precision, ReadIndex,
};
use std::sync::Arc;

/// Which partition of which index a request is for, and which key epochs the keys for it are of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The index.
    pub index: IndexId,
    /// The epoch that is sealed under.
    pub epoch: KeyEpoch,
    /// The other epoch whose records are opened, while the index is between two.
    pub other: Option<KeyEpoch>,
    /// The partition.
    pub partition: PartitionId,
}

/// How many items an index has in a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counted {
    /// Items.
    pub items: u64,
    /// How much of the log the count takes in: all that was acknowledged before it was asked for. To be passed on by whoever counted, so
    /// that no majority has to confirm it again.
    pub at: ReadIndex,
}

/// Score the rows of some clusters for some queries.
#[derive(Clone)]
pub struct ScanRequest {
    /// Index, key epoch and partition.
    pub target: Target,
    /// The generation that the clusters belong to.
    pub generation: Generation,
    /// Which clusters, each once, and for which of `queries`.
    pub probes: Vec<ClusterProbe>,
    /// The queries. A block is opened once for all of them.
    pub queries: Arc<[ScanQuery]>,
    /// How much of the log has to be taken in; `None` for all that was acknowledged before the call.
    pub since: Option<ReadIndex>,
}

/// One cluster of a scan.
#[derive(Clone)]
pub struct ClusterProbe {
    /// The cluster.
    pub cluster: ClusterLabel,
    /// Positions in [`ScanRequest::queries`], each with its [`crate::model::Probe::base`] for this cluster.
    pub asked_by: Vec<(u32, f32)>,
}

/// One query as a scan needs it.
pub struct ScanQuery {
    /// Look-up tables or coded query, made once by the coordinator.
    pub scorer: Scorer,
    /// Only rows that match are candidates.
    pub filter: Option<Filter>,
    /// How many candidates to return at most.
    pub keep: usize,
}

/// A row that may be among the nearest. Whether it is current is not known before it is resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The item.
    pub label: ItemLabel,
    /// The write this row belongs to.
    pub op: Op,
    /// Estimated squared distance in prepared space.
    pub estimate: f32,
}

/// What a scan found.
#[derive(Default)]
pub struct ScanReply {
    /// For each query, its candidates, best first, at most `keep`.
    pub candidates: Vec<Vec<Candidate>>,
    /// For each query, the rows that were scored (after the filter).
    pub scored: Vec<u64>,
}

/// Tell which candidates are current, and how far they truly are.
#[derive(Clone)]
pub struct ResolveRequest {
    /// Index, key epoch and the candidates' home partition.
    pub target: Target,
    /// How distances are computed.
    pub metric: Metric,
    /// How vectors are stored.
    pub precision: Precision,
    /// Original (not prepared) query vectors, row-major.
    pub queries: Arc<[f32]>,
    /// Values per query.
    pub dimension: Dimension,
    /// Pairs of a query's position and a candidate; any order.
    pub candidates: Vec<(u32, ItemLabel, Op)>,
    /// An item that was written anew since it was scanned is answered as it is now, if it still matches.
    pub filter: Option<Arc<Filter>>,
    /// As of a scan.
    pub since: Option<ReadIndex>,
}

/// For each candidate of a [`ResolveRequest`], in its order: the item's current write and its exact distance, or `None`
/// if the item is gone, or was written anew and no longer matches the filter.
pub type ResolveReply = Vec<Option<Resolved>>;

/// An item that is current, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resolved {
    /// Its write.
    pub op: Op,
    /// Exact.
    pub distance: f64,
}

/// Which parts of an item are wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fields {
    /// The vector.
    pub vector: bool,
    /// Id and metadata.
    pub meta: bool,
    /// The contents.
    pub contents: bool,
}

/// An opened item.
#[derive(Clone)]
pub struct Fetched {
    /// Its label.
    pub label: ItemLabel,
    /// Its current write.
    pub op: Op,
    /// Its id; empty unless [`Fields::meta`] was asked for.
    pub id: String,
    /// Its metadata; empty unless [`Fields::meta`] was asked for.
    pub metadata: Metadata,
    /// Its vector, if [`Fields::vector`] was asked for.
    pub vector: Option<Vec<f32>>,
    /// Its contents, if [`Fields::contents`] was asked for and it has some.
    pub contents: Option<Vec<u8>>,
    /// Bytes of the records that were opened.
    pub bytes: usize,
}

/// Open some items at their home.
#[derive(Clone)]
pub struct FetchRequest {
    /// Index, key epoch and home partition.
    pub target: Target,
    /// How vectors are stored.
    pub precision: Precision,
    /// What to open.
    pub fields: Fields,
    /// The items; with an `Op`, only if that write is still the current one.
    pub items: Vec<(ItemLabel, Option<Op>)>,
    /// As of a scan.
    pub since: Option<ReadIndex>,
    /// About how many bytes of records to open. A reply that reaches it is shorter than the request, by as much as has
    /// to be asked for again; it has one item at least.
    pub bytes_max: usize,
}

/// Go through all items of a partition in the order of their labels. Labels are pseudo-random, so the first `n` items
/// of a walk are a uniform sample.
#[derive(Clone)]
pub struct WalkRequest {
    /// Index, key epoch and partition.
    pub target: Target,
    /// How vectors are stored.
    pub precision: Precision,
    /// What to open of each.
    pub fields: Fields,
    /// Start behind this label; from the first item if `None`.
    pub after: Option<ItemLabel>,
    /// Items to return at most, at least 1.
    pub limit: usize,
    /// About how many bytes of records to open; a page has one item at least.
    pub bytes_max: usize,
}

/// The next items of a walk.
pub struct WalkReply {
    /// In the order of their labels.
    pub items: Vec<Fetched>,
    /// Where to go on, as [`WalkRequest::after`]; `None` if the walk is finished.
    pub next: Option<ItemLabel>,
}

/// The blocks of a cluster that a fold is about, and the rows in them.
pub struct ClusterRows {
    /// The blocks that were read.
    pub blocks: Vec<BlockId>,
    /// Every row in them, current or not.
    pub rows: Vec<(ItemLabel, Op)>,
}

/// Rewrite some blocks of a cluster as few well-filled ones.
pub struct FoldRequest {
    /// Index, key epoch and the cluster's partition.
    pub target: Target,
    /// The cluster's generation.
    pub generation: Generation,
    /// The cluster.
    pub cluster: ClusterLabel,
    /// The blocks to rewrite, as [`ClusterRows::blocks`] named them.
    pub blocks: Vec<BlockId>,
    /// Rows to leave out: known to be neither current nor about to be committed.
    pub dead: Vec<(ItemLabel, Op)>,
    /// How the generation's codes are laid out.
    pub codec: Codec,
    /// Values per vector.
    pub dimension: Dimension,
}

/// Tell what waits in the inbox of an index in a partition.
#[derive(Clone, Copy, Debug)]
pub struct InboxRequest {
    /// The partition.
    pub partition: PartitionId,
    /// The index.
    pub index: IndexId,
    /// Items with an arrival up to this one are known: only named, not sent again.
    pub seen: u64,
}

/// What waits in an inbox. Its numbers tell what a reader may have missed who looked twice: an item that came after the
/// first look, and was an ordinary one before the second, has a number above the first look's `arrivals`, and up to the
/// second's `departed`.
#[derive(Default)]
pub struct InboxReply {
    /// Sealed bytes of all that waits.
    pub bytes: u64,
    /// Items that ever arrived, as of before `waiting` was read.
    pub arrivals: u64,
    /// The highest arrival that left and is an ordinary item since, as of after `waiting` was read.
    pub departed: u64,
    /// The items, in no order.
    pub waiting: Vec<WaitingItem>,
}

/// An item that waits in an inbox.
pub struct WaitingItem {
    /// The item.
    pub label: ItemLabel,
    /// Its current write.
    pub op: Op,
    /// Its number among all that ever arrived in the partition.
    pub arrival: u64,
    /// What it is, unless it is known.
    pub sealed: Option<SealedItem>,
}

/// An item as a user sealed it who may not read.
pub struct SealedItem {
    /// The epoch of the public key it is sealed to.
    pub epoch: KeyEpoch,
    /// All of it.
    pub sealed: Vec<u8>,
}

/// Seal the next records of a partition under the key epoch that the keys seal under, unless they are already.
#[derive(Clone, Copy)]
pub struct ResealRequest {
    /// Index, key epochs and partition.
    pub target: Target,
    /// Where to go on.
    pub from: ResealPlace,
}

/// How far a partition's records were gone through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResealPlace {
    /// The items behind this one, in the order of their labels.
    Items(Option<ItemLabel>),
    /// The blocks of a generation behind this one.
    Blocks(Generation, Option<(ClusterLabel, BlockId)>),
}

/// What one call went through.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Resealed {
    /// Items or blocks that were looked at.
    pub looked_at: u64,
    /// Bytes that were sealed again.
    pub bytes: u64,
    /// Where to go on; `None` behind the last.
    pub next: Option<ResealPlace>,
}

/// What applying an entry changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Items that had not existed.
    pub created: u64,
    /// Items that were removed.
    pub removed: u64,
    /// Clusters that hold a row which is no longer current, once per row.
    pub orphaned: Vec<(Generation, ClusterLabel)>,
    /// Clusters that an append left with more small blocks than queries should have to open.
    pub crowded: Vec<(Generation, ClusterLabel)>,
}

/// Why a shard did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ShardError {
    /// The node holds no live lease of the index's keys for this partition: grant one and ask again.
    #[error("no live key lease")]
    LeaseRequired,
    /// The index does not exist here (any more).
    #[error("unknown index")]
    UnknownIndex,
    /// The request names a generation that is retired, or leaves out one that must be written: read the catalogue again.
    #[error("stale generation")]
    StaleGeneration,
    /// A fold's blocks are no longer there: somebody else folded them.
    #[error("blocks are gone")]
    BlocksGone,
    /// The node does not lead the partition, or no majority confirms that it does. Nothing was done.
    #[error("the node does not lead the partition")]
    NotLeader {
        /// Who does, as far as this one knows.
        leader: Option<NodeId>,
    },
    /// The node has no replica of the partition.
    #[error("the partition is not on this node")]
    NotHosted,
    /// Too much is under way, or nobody led the partition for too long.
    #[error("too much is under way")]
    Busy,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopped,
    /// The node's disk is too full for what was to be written. Nothing was.
    #[error("the disk has {free_bytes} bytes free of {needed_bytes} needed")]
    DiskFull {
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that have to be free for this write.
        needed_bytes: u64,
    },
    /// A stored record did not open or parse. The context names the kind of record, never its contents.
    #[error("a stored record is damaged: {0}")]
    Corrupt(&'static str),
    /// Storage failed. The text is for the operator.
    #[error("storage failed: {0}")]
    Storage(String),
    /// An entry that this version does not understand.
    #[error("entry is malformed: {0}")]
    BadEntry(&'static str),
    /// An entry that writes, and that nobody who may write to the index has signed.
    #[error("entry is not signed by a writer of the index")]
    NotSigned,
    /// The node could not be reached. Nothing was done.
    #[error("the node cannot be reached")]
    Unreachable,
    /// The node did not answer: whether it did what it was asked is unknown.
    #[error("the node did not answer: the outcome is unknown")]
    OutcomeUnknown,
}

impl ShardError {
    /// What it means to a client, should it get that far.
    pub fn code(&self) -> ErrorCode {
        match self {
            ShardError::UnknownIndex => ErrorCode::NotFound,
            ShardError::Busy
            | ShardError::Stopped
            | ShardError::LeaseRequired
            | ShardError::NotLeader { .. }
            | ShardError::NotHosted
            | ShardError::StaleGeneration
            | ShardError::Unreachable
            | ShardError::OutcomeUnknown => ErrorCode::Busy,
            ShardError::DiskFull { .. } => ErrorCode::DiskFull,
            ShardError::Corrupt(_) => ErrorCode::Corrupt,
            ShardError::BlocksGone
            | ShardError::Storage(_)
            | ShardError::BadEntry(_)
            | ShardError::NotSigned => ErrorCode::Internal,
        }
    }
}
