//! An index whose keys are open: what the coordinator holds of it in memory while it is in use, and the handle that
//! proves a caller may use it.

use crate::domain::{IndexRecord, ModelRef};
use parking_lot::Mutex;
use sealdex_core::{ClusterLabel, ClusterNo, Dimension, Generation, IndexId, KeyEpoch, PartitionId};
use sealdex_crypto::{DataKeys, LabelKeys};
use sealdex_index::dataplane::Target;
use sealdex_index::model::Model;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::RwLock;

/// The opened keys of one index, and what depends on them.
pub(crate) struct Session {
    pub(crate) id: IndexId,
    pub(crate) epoch: KeyEpoch,
    pub(crate) labels: LabelKeys,
    pub(crate) model_keys: DataKeys,
    /// By partition number.
    pub(crate) data_keys: Vec<Arc<DataKeys>>,
    /// Loaded generations: the active one, and while a training fills it the next.
    pub(crate) models: Mutex<HashMap<Generation, Arc<LoadedModel>>>,
    /// Held shared by every write from its first append to its commit; taken alone for a moment by a fold, so that a
    /// row which is not current afterwards is dead rather than about to be committed.
    pub(crate) writes: RwLock<()>,
    /// Serialises the first upsert, the one that fixes the dimension.
    pub(crate) first_upsert: tokio::sync::Mutex<()>,
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) last_used: Mutex<Instant>,
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
    /// The label of each cluster, by number.
    pub(crate) labels: Vec<ClusterLabel>,
}

impl LoadedModel {
    pub(crate) fn new(model: Model, reference: ModelRef, labels: &LabelKeys) -> Self {
        let generation = model.generation;
        let labels = (0..model.clusters())
            .map(|n| labels.cluster(generation, ClusterNo(n)))
            .collect();
        Self {
            reference,
            model,
            labels,
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
            epoch: self.epoch,
            partition,
        }
    }

    /// The keys for that partition.
    pub(crate) fn keys(&self, partition: PartitionId) -> &Arc<DataKeys> {
        &self.data_keys[usize::from(partition.0)]
    }
}

/// The right to use an index: its key was sent and was right. Cheap to clone.
#[derive(Clone)]
pub struct OpenIndex {
    pub(crate) record: Arc<IndexRecord>,
    pub(crate) session: Arc<Session>,
}

impl OpenIndex {
    /// The index's name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Its dimension as of when it was opened, once known.
    pub fn dimension(&self) -> Option<Dimension> {
        self.record.dimension
    }
}
