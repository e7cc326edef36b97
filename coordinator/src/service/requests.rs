//! What the use cases take and give. Parsed at the edge: whoever holds one of these need not check it again.

use sealdex_core::{Dimension, Metric, Precision};
use sealdex_crypto::{IndexKey, KeyError};
use sealdex_index::filter::Filter;
use sealdex_index::metadata::Metadata;

/// The key that came with a request.
///
/// A key of the wrong length is carried on, because whether the index exists is answered before it.
pub enum KeyInput {
    /// None was sent (an empty string counts as none).
    Absent,
    /// Hexadecimal, but not 32 bytes.
    WrongLength(usize),
    /// A key.
    Given(IndexKey),
}

impl KeyInput {
    /// Reads the `index_key` of a request; only text that is not hexadecimal is an error here.
    pub fn parse(text: Option<&str>) -> Result<Self, KeyError> {
        match text {
            None | Some("") => Ok(KeyInput::Absent),
            Some(text) => match IndexKey::from_hex(text) {
                Ok(key) => Ok(KeyInput::Given(key)),
                Err(KeyError::WrongLength { bytes }) => Ok(KeyInput::WrongLength(bytes)),
                Err(error) => Err(error),
            },
        }
    }
}

/// An index by name, with the key that opens it.
pub struct IndexRef {
    /// The name as the client gave it.
    pub name: String,
    /// The key that came with the request.
    pub key: KeyInput,
}

/// Make an index.
pub struct CreateIndex {
    /// Name and key.
    pub index: IndexRef,
    /// A slot of the key registry, if one was named.
    pub kms_name: Option<String>,
    /// Known from the start, or fixed by the first upsert.
    pub dimension: Option<Dimension>,
    /// The metric.
    pub metric: Metric,
    /// How vectors are stored.
    pub precision: Precision,
    /// The name of a model that turns contents into vectors, if one was named.
    pub embedding_model: Option<String>,
}

/// What is known of an index without looking at its items.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Whether its active generation is trained.
    pub trained: bool,
    /// Its dimension, once known.
    pub dimension: Option<Dimension>,
    /// Its metric.
    pub metric: Metric,
    /// Clusters of the active generation; 1 while untrained.
    pub clusters: u32,
}

/// Rows of equal length, finite throughout, row-major.
#[derive(Clone)]
pub struct Vectors {
    dimension: Dimension,
    values: Vec<f32>,
}

/// Why values do not make up rows.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VectorsError {
    /// The values do not divide into rows of the dimension.
    #[error("{values} values do not make up whole rows of dimension {dimension}")]
    Ragged {
        /// How many values there are.
        values: usize,
        /// The dimension.
        dimension: usize,
    },
    /// NaN or infinity.
    #[error("vector at index {row} holds a value that is not a finite float32 (position {position})")]
    NotFinite {
        /// Which row.
        row: usize,
        /// Where in it.
        position: usize,
    },
}

impl Vectors {
    /// Checks that `values` are whole rows of finite numbers.
    pub fn new(dimension: Dimension, values: Vec<f32>) -> Result<Self, VectorsError> {
        if !values.len().is_multiple_of(dimension.get()) {
            return Err(VectorsError::Ragged {
                values: values.len(),
                dimension: dimension.get(),
            });
        }
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(VectorsError::NotFinite {
                row: at / dimension.get(),
                position: at % dimension.get(),
            }),
            None => Ok(Self { dimension, values }),
        }
    }

    /// Values per row.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimension.get()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension.get())
    }
}

/// Write items. All four have the same length; a later item with the same id wins.
pub struct Upsert {
    /// Ids.
    pub ids: Vec<String>,
    /// Vectors.
    pub vectors: Vectors,
    /// Metadata; empty where none was given.
    pub metadata: Vec<Metadata>,
    /// Contents as text, kept verbatim.
    pub contents: Vec<Option<String>>,
}

/// What an upsert did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Upserted {
    /// Items received, duplicates counted.
    pub items: usize,
    /// The number of items in the index, if this upsert set off a training.
    pub training_triggered: Option<u64>,
}

/// Find the nearest items of each query vector.
pub struct Query {
    /// One row per query, at least one.
    pub vectors: Vectors,
    /// How many neighbours, at least 1.
    pub top_k: usize,
    /// Clusters to look into; `None` lets the index choose.
    pub n_probes: Option<usize>,
    /// Candidates to re-rank, as a multiple of `top_k`; `None` lets the index choose.
    pub rerank_mult: Option<usize>,
    /// Prefer speed: estimate more, re-rank less.
    pub greedy: bool,
    /// Only items that match.
    pub filter: Option<Filter>,
    /// What to return beside ids.
    pub include: Include,
}

/// What a query returns of each neighbour beside its id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Include {
    /// The exact distance.
    pub distance: bool,
    /// The metadata.
    pub metadata: bool,
    /// The original vector.
    pub vector: bool,
    /// The contents.
    pub contents: bool,
}

/// One neighbour. Fields that were not asked for are `None`.
#[derive(Clone, PartialEq)]
pub struct Hit {
    /// The item's id.
    pub id: String,
    /// Its exact distance, in float32's precision where float32 has it.
    pub distance: Option<f64>,
    /// Its metadata.
    pub metadata: Option<Metadata>,
    /// Its vector.
    pub vector: Option<Vec<f32>>,
    /// Its contents; empty if it has none.
    pub contents: Option<String>,
}

/// What `get` returns of each item. Fields that were not asked for are `None`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ItemFields {
    /// The vector.
    pub vector: bool,
    /// The contents.
    pub contents: bool,
    /// The metadata.
    pub metadata: bool,
}

/// One stored item.
#[derive(Clone, PartialEq)]
pub struct StoredItem {
    /// Its id.
    pub id: String,
    /// Its vector.
    pub vector: Option<Vec<f32>>,
    /// Its contents; empty if it has none.
    pub contents: Option<String>,
    /// Its metadata.
    pub metadata: Option<Metadata>,
}

/// What became of a request to train.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TrainOutcome {
    /// Queries use what was learned.
    Trained,
    /// The index is too small to gain from it: every query looks at all its items.
    Needless,
    /// Another coordinator is at it.
    UnderWay,
}

/// Train an index. `None` lets the index choose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainRequest {
    /// Clusters to make.
    pub n_lists: Option<usize>,
    /// Rows per mini-batch.
    pub batch_size: Option<usize>,
    /// Rounds of k-means at most.
    pub max_iters: Option<usize>,
    /// Stop when centroids move less than this, relative.
    pub tolerance: Option<f64>,
    /// Memory for the training sample, MiB.
    pub max_memory_mib: Option<usize>,
}

/// What is being trained.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrainingStatus {
    /// Names of indexes that are being trained or wait for it.
    pub training: Vec<String>,
    /// The one that a worker is at.
    pub current: Option<String>,
    /// Those that wait.
    pub queued: Vec<String>,
    /// Items above which an untrained index is trained by itself.
    pub threshold: u64,
    /// Whether a worker is at it.
    pub worker_running: bool,
}
