//! What the catalogue keeps of an index.

use super::{KeyEnvelope, UserRecord};
use sealdex_core::{Dimension, Generation, IndexId, Metric, Precision};

/// An index that exists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IndexRecord {
    /// Its name, unique.
    pub name: String,
    /// Its id, never used again.
    pub id: IndexId,
    /// Its metric.
    pub metric: Metric,
    /// How its vectors are stored.
    pub precision: Precision,
    /// Its dimension, once known.
    pub dimension: Option<Dimension>,
    /// When it was made.
    pub created_unix_seconds: u64,
    /// How its keys are kept.
    pub key: KeyEnvelope,
    /// Who may use it besides those who have its key, in the order in which they were made.
    pub users: Vec<UserRecord>,
    /// Whether nobody was ever let in who may write and not read: then nothing can wait in its inbox, and nobody has to look there.
    pub without_inbox: bool,
    /// The generation that queries use.
    pub active: GenerationRecord,
    /// The generation that a training is filling, if one is. Writers write to both.
    pub building: Option<GenerationRecord>,
    /// Generations that are out of use but not yet dropped by every partition.
    pub retiring: Vec<Generation>,
    /// The number of the next training.
    pub next_generation: Generation,
}

/// One generation of an index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GenerationRecord {
    /// Its number.
    pub generation: Generation,
    /// Whether its centroids and codes were learned.
    pub trained: bool,
    /// Its clusters.
    pub clusters: u32,
    /// Where its model is; none before the first upsert.
    pub model: Option<ModelRef>,
    /// Models that others took the place of, and that are not yet removed.
    pub former: Vec<ModelRef>,
}

/// Where a generation's sealed model is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ModelRef {
    /// Names its pieces, with the generation.
    pub id: [u8; 16],
    /// How many there are.
    pub pieces: u32,
}
