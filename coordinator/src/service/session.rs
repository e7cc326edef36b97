//! An index whose keys are open: what the coordinator holds of it in memory while it is in use, and the handle that
//! proves what a caller may do with it.

use super::ServiceError;
use super::fitness::Fitness;
use super::inbox::OpenedInbox;
use super::under_way::UnderWay;
use crate::domain::{Epochs, IndexRecord, ModelRef};
use parking_lot::Mutex;
use prost::Message;
use sealdex_core::{ClusterLabel, ClusterNo, Dimension, ErrorCode, Generation, IndexId, PartitionId};
use sealdex_crypto::{BatchContext, BatchSigner, DataKeys, InboxPublicKey, LabelKeys};
use sealdex_index::dataplane::Target;
use sealdex_index::model::Model;
use sealdex_proto::partition::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What reading an index takes: its opened keys, and what depends on them.
pub(crate) struct Session {
    pub(crate) id: IndexId,
    /// The key epochs it is of. That it is held tells the custodian that somebody still uses them.
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) labels: LabelKeys,
    pub(crate) model_keys: DataKeys,
    /// By partition number.
    pub(crate) data_keys: Vec<Arc<DataKeys>>,
    /// Loaded generations: the active one, and while a training fills it the next.
    pub(crate) models: Arc<Mutex<HashMap<Generation, Arc<LoadedModel>>>>,
    /// Every write counts from its first append to its commit. A fold waits for those that began before it looks, so that a
    /// row which is not current afterwards is dead rather than about to be committed.
    pub(crate) writes: UnderWay,
    /// Every query counts from before it reads which model to use until it has found what it looks for. Rows are taken out of a
    /// cluster when nobody looks for them there alone.
    pub(crate) reads: UnderWay,
    /// Serialises the first upsert, the one that fixes the dimension.
    pub(crate) first_upsert: Arc<tokio::sync::Mutex<()>>,
    pub(crate) upkeep: Arc<Mutex<Upkeep>>,
    pub(crate) fitness: Arc<Mutex<Fitness>>,
    pub(crate) inbox: OpenedInbox,
}

/// What all sessions of an index share, whichever key epochs they are of: a fold in one has to wait for the writes of
/// every other.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) models: Arc<Mutex<HashMap<Generation, Arc<LoadedModel>>>>,
    pub(crate) writes: UnderWay,
    pub(crate) reads: UnderWay,
    pub(crate) first_upsert: Arc<tokio::sync::Mutex<()>>,
    pub(crate) upkeep: Arc<Mutex<Upkeep>>,
    pub(crate) fitness: Arc<Mutex<Fitness>>,
}

/// What writing to an index takes. Names items and signs; opens nothing.
pub(crate) struct Writer {
    pub(crate) index: IndexId,
    /// As in a session.
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) labels: LabelKeys,
    pub(crate) signer: BatchSigner,
    /// What to seal to, for who may not read; none for users who are older than inboxes.
    pub(crate) inbox: Option<InboxPublicKey>,
}

/// What is known of clusters that want maintenance.
#[derive(Default)]
pub(crate) struct Upkeep {
    /// Rows that ceased to be current since the cluster was last folded.
    pub(crate) orphans: HashMap<(Generation, ClusterLabel), u32>,
    /// Clusters that wait for a fold.
    pub(crate) queued: HashSet<(Generation, ClusterLabel)>,
}

/// A generation's model with what is derived from it once.
pub(crate) struct LoadedModel {
    pub(crate) reference: ModelRef,
    pub(crate) model: Model,
    /// The label of each cluster, by its place; those of strays, and then those that rows leave, come last.
    pub(crate) labels: Vec<ClusterLabel>,
    /// Items that the index had when a query counted them last; 0 if none has. Queries guess by it where to begin.
    pub(crate) counted: AtomicU64,
}

impl LoadedModel {
    pub(crate) fn new(model: Model, reference: ModelRef, labels: &LabelKeys) -> Self {
        let generation = model.generation;
        let labels = (0..model.all_clusters())
            .map(|place| ClusterNo(model.number(ClusterNo(place))))
            .map(|number| labels.cluster(generation, number))
            .collect();
        Self {
            reference,
            model,
            labels,
            counted: AtomicU64::new(0),
        }
    }

    pub(crate) fn label(&self, cluster: ClusterNo) -> ClusterLabel {
        self.labels[cluster.0 as usize]
    }
}

impl Session {
    /// Where requests about this index's part in `partition` are addressed.
    pub(crate) fn target(&self, partition: PartitionId) -> Target {
        Target {
            index: self.id,
            epoch: self.epochs.sealing,
            other: self.epochs.other,
            partition,
        }
    }

    /// The keys for that partition.
    pub(crate) fn keys(&self, partition: PartitionId) -> &Arc<DataKeys> {
        &self.data_keys[usize::from(partition.0)]
    }
}

impl Writer {
    /// Signs an entry for one partition.
    pub(crate) fn sign(&self, partition: PartitionId, entry: &Entry) -> [u8; 64] {
        let context = BatchContext {
            index: self.index,
            epoch: self.epochs.sealing,
            partition,
        };
        self.signer.sign(&context, &entry.encode_to_vec())
    }
}

/// The right to use an index, as far as it goes: its key or a user's grants were opened. Cheap to clone.
#[derive(Clone)]
pub struct OpenIndex {
    pub(crate) record: Arc<IndexRecord>,
    pub(super) reader: Option<Arc<Session>>,
    pub(super) writer: Option<Arc<Writer>>,
}

impl OpenIndex {
    /// What reading takes, if the caller may; `action` names what they asked for.
    pub(crate) fn reader(&self, action: &str) -> Result<&Arc<Session>, ServiceError> {
        self.reader.as_ref().ok_or_else(|| denied(action, "read"))
    }

    /// What writing takes, if the caller may; `action` names what they asked for.
    pub(crate) fn writer(&self, action: &str) -> Result<&Arc<Writer>, ServiceError> {
        self.writer.as_ref().ok_or_else(|| denied(action, "write"))
    }

    /// The index's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Its dimension as of when it was opened, once known.
    pub fn dimension(&self) -> Option<Dimension> {
        self.record.dimension
    }
}

fn denied(action: &str, permission: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::Forbidden,
        format!("Failed to {action}: permission denied. It takes a user with the permission '{permission}'."),
    )
}
