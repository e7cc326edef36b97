//! The catalogue of indexes as a pure state machine: a [`Command`] is applied whole or refused, and nothing else
//! changes it. Knows no storage, no clock and no key; what it keeps of keys is sealed.

use sealdex_core::{Dimension, Generation, IndexId, KeyEpoch, Metric, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// The generation that queries use.
    pub active: GenerationRecord,
    /// The generation that a training is filling, if one is. Writers write to both.
    pub building: Option<GenerationRecord>,
    /// Generations that are out of use but not yet dropped by every partition.
    pub retiring: Vec<Generation>,
    /// The number of the next training.
    pub next_generation: Generation,
}

/// What is stored of an index's keys: enough to tell the right index key from a wrong one, and the sealed bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyEnvelope {
    /// Epoch of the bundle.
    pub epoch: KeyEpoch,
    /// See `sealdex_crypto::Commitment`.
    pub commitment: [u8; 32],
    /// The bundle, sealed under the index key.
    pub bundle: Vec<u8>,
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
}

/// Where a generation's sealed model is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ModelRef {
    /// Names its pieces, with the generation.
    pub id: [u8; 16],
    /// How many there are.
    pub pieces: u32,
}

/// A change of the catalogue. All but the first name the index by name and id, so that a command meant for a deleted
/// index never hits its successor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// A new index.
    Create(Box<IndexRecord>),
    /// Its record, and with it its keys, are gone.
    Delete {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
    },
    /// The first upsert fixes dimension and untrained model. If somebody else was first, theirs stays.
    SetUntrainedModel {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The dimension of the first vectors.
        dimension: Dimension,
        /// The model made from them.
        model: ModelRef,
    },
    /// Writers write to this generation too from now on.
    BeginTraining {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation, whose model is stored already.
        building: GenerationRecord,
    },
    /// The generation being built becomes the active one.
    FinishTraining {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation being built.
        generation: Generation,
    },
    /// The generation being built is given up.
    AbortTraining {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation being built.
        generation: Generation,
    },
    /// Every partition has dropped a retiring generation.
    ForgetGeneration {
        /// Name.
        name: String,
        /// Id.
        id: IndexId,
        /// The generation.
        generation: Generation,
    },
}

/// Why a command was refused. The catalogue is as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rejection {
    /// The name is in use.
    NameTaken,
    /// There is no such index (any more).
    NoSuchIndex,
    /// The index has another dimension.
    DimensionDiffers,
    /// The index is not in the state the command is for.
    OutOfTurn,
}

/// All indexes, by name in bytewise order.
#[derive(Clone, Default)]
pub struct Catalog {
    indexes: BTreeMap<String, Arc<IndexRecord>>,
}

impl Catalog {
    /// The catalogue that holds these.
    pub fn restore(records: impl IntoIterator<Item = IndexRecord>) -> Self {
        Self {
            indexes: records
                .into_iter()
                .map(|r| (r.name.clone(), Arc::new(r)))
                .collect(),
        }
    }

    /// The index of that name.
    pub fn get(&self, name: &str) -> Option<Arc<IndexRecord>> {
        self.indexes.get(name).cloned()
    }

    /// All indexes, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<IndexRecord>> {
        self.indexes.values()
    }

    /// Applies a command; returns the index as it is afterwards (for a deletion: as it was before).
    pub fn apply(&mut self, command: Command) -> Result<Arc<IndexRecord>, Rejection> {
        match command {
            Command::Create(record) => self.create(*record),
            Command::Delete { name, id } => {
                self.existing(&name, id)?;
                self.indexes.remove(&name).ok_or(Rejection::NoSuchIndex)
            }
            Command::SetUntrainedModel {
                name,
                id,
                dimension,
                model,
            } => self.change(&name, id, |record| set_untrained_model(record, dimension, model)),
            Command::BeginTraining { name, id, building } => {
                self.change(&name, id, |record| begin_training(record, building))
            }
            Command::FinishTraining { name, id, generation } => self.change(&name, id, |record| {
                let finished = take_building(record, generation)?;
                record.retiring.push(record.active.generation);
                record.active = finished;
                Ok(())
            }),
            Command::AbortTraining { name, id, generation } => self.change(&name, id, |record| {
                take_building(record, generation)?;
                record.retiring.push(generation);
                Ok(())
            }),
            Command::ForgetGeneration { name, id, generation } => self.change(&name, id, |record| {
                record.retiring.retain(|g| *g != generation);
                Ok(())
            }),
        }
    }

    fn create(&mut self, record: IndexRecord) -> Result<Arc<IndexRecord>, Rejection> {
        if self.indexes.contains_key(&record.name) || self.indexes.values().any(|other| other.id == record.id)
        {
            return Err(Rejection::NameTaken);
        }
        let record = Arc::new(record);
        self.indexes.insert(record.name.clone(), record.clone());
        Ok(record)
    }

    fn existing(&self, name: &str, id: IndexId) -> Result<&Arc<IndexRecord>, Rejection> {
        self.indexes
            .get(name)
            .filter(|record| record.id == id)
            .ok_or(Rejection::NoSuchIndex)
    }

    fn change(
        &mut self,
        name: &str,
        id: IndexId,
        change: impl FnOnce(&mut IndexRecord) -> Result<(), Rejection>,
    ) -> Result<Arc<IndexRecord>, Rejection> {
        let mut record = IndexRecord::clone(self.existing(name, id)?);
        change(&mut record)?;
        let record = Arc::new(record);
        self.indexes.insert(record.name.clone(), record.clone());
        Ok(record)
    }
}

fn set_untrained_model(
    record: &mut IndexRecord,
    dimension: Dimension,
    model: ModelRef,
) -> Result<(), Rejection> {
    if record.dimension.is_some_and(|known| known != dimension) {
        return Err(Rejection::DimensionDiffers);
    }
    record.dimension = Some(dimension);
    record.active.model.get_or_insert(model);
    Ok(())
}

fn begin_training(record: &mut IndexRecord, building: GenerationRecord) -> Result<(), Rejection> {
    if record.building.is_some() || building.generation != record.next_generation || building.model.is_none()
    {
        return Err(Rejection::OutOfTurn);
    }
    record.next_generation = Generation(building.generation.0 + 1);
    record.building = Some(building);
    Ok(())
}

fn take_building(record: &mut IndexRecord, generation: Generation) -> Result<GenerationRecord, Rejection> {
    match record.building.take() {
        Some(building) if building.generation == generation => Ok(building),
        _ => Err(Rejection::OutOfTurn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, id: u64) -> IndexRecord {
        IndexRecord {
            name: name.into(),
            id: IndexId(id),
            metric: Metric::Cosine,
            precision: Precision::Float32,
            dimension: None,
            created_unix_seconds: 0,
            key: KeyEnvelope {
                epoch: KeyEpoch(1),
                commitment: [0; 32],
                bundle: vec![],
            },
            active: GenerationRecord {
                generation: Generation(1),
                trained: false,
                clusters: 4,
                model: None,
            },
            building: None,
            retiring: vec![],
            next_generation: Generation(2),
        }
    }

    fn dimension(d: u64) -> Dimension {
        Dimension::new(d).unwrap()
    }

    fn set_model(d: u64, model: u8) -> Command {
        let model = ModelRef {
            id: [model; 16],
            pieces: 1,
        };
        Command::SetUntrainedModel {
            name: "a".into(),
            id: IndexId(1),
            dimension: dimension(d),
            model,
        }
    }

    fn building(generation: u32) -> GenerationRecord {
        let model = Some(ModelRef {
            id: [9; 16],
            pieces: 1,
        });
        GenerationRecord {
            generation: Generation(generation),
            trained: true,
            clusters: 64,
            model,
        }
    }

    fn begin(generation: u32) -> Command {
        Command::BeginTraining {
            name: "a".into(),
            id: IndexId(1),
            building: building(generation),
        }
    }

    fn with_index_a() -> Catalog {
        let mut catalog = Catalog::default();
        catalog.apply(Command::Create(Box::new(index("a", 1)))).unwrap();
        catalog
    }

    #[test]
    fn a_name_is_given_once() {
        let mut catalog = with_index_a();
        assert_eq!(
            catalog.apply(Command::Create(Box::new(index("a", 2)))),
            Err(Rejection::NameTaken)
        );
        assert_eq!(catalog.get("a").unwrap().id, IndexId(1));
    }

    #[test]
    fn a_command_for_a_deleted_index_never_hits_its_successor() {
        let mut catalog = with_index_a();
        catalog
            .apply(Command::Delete {
                name: "a".into(),
                id: IndexId(1),
            })
            .unwrap();
        catalog.apply(Command::Create(Box::new(index("a", 2)))).unwrap();
        assert_eq!(catalog.apply(set_model(3, 1)), Err(Rejection::NoSuchIndex));
        let stale = Command::Delete {
            name: "a".into(),
            id: IndexId(1),
        };
        assert_eq!(catalog.apply(stale), Err(Rejection::NoSuchIndex));
        assert!(catalog.get("a").is_some());
    }

    #[test]
    fn the_first_model_stays() {
        let mut catalog = with_index_a();
        catalog.apply(set_model(3, 1)).unwrap();
        let record = catalog.apply(set_model(3, 2)).unwrap();
        assert_eq!(record.active.model.unwrap().id, [1; 16]);
        assert_eq!(catalog.apply(set_model(4, 3)), Err(Rejection::DimensionDiffers));
    }

    #[test]
    fn a_training_begins_once_and_ends_once() {
        let mut catalog = with_index_a();
        assert_eq!(catalog.apply(begin(3)), Err(Rejection::OutOfTurn));
        catalog.apply(begin(2)).unwrap();
        assert_eq!(catalog.apply(begin(3)), Err(Rejection::OutOfTurn));
        let finish = |g| Command::FinishTraining {
            name: "a".into(),
            id: IndexId(1),
            generation: Generation(g),
        };
        assert_eq!(catalog.apply(finish(3)), Err(Rejection::OutOfTurn));
        let record = catalog.apply(finish(2)).unwrap();
        assert_eq!(
            (record.active.generation, record.active.trained),
            (Generation(2), true)
        );
        assert_eq!(record.retiring, [Generation(1)]);
        assert_eq!(catalog.apply(finish(2)), Err(Rejection::OutOfTurn));
    }

    #[test]
    fn an_aborted_generation_is_never_numbered_again() {
        let mut catalog = with_index_a();
        catalog.apply(begin(2)).unwrap();
        let abort = Command::AbortTraining {
            name: "a".into(),
            id: IndexId(1),
            generation: Generation(2),
        };
        let record = catalog.apply(abort).unwrap();
        assert_eq!(
            (record.building.clone(), record.active.generation),
            (None, Generation(1))
        );
        assert_eq!(catalog.apply(begin(2)), Err(Rejection::OutOfTurn));
        catalog.apply(begin(3)).unwrap();
        let forget = Command::ForgetGeneration {
            name: "a".into(),
            id: IndexId(1),
            generation: Generation(2),
        };
        assert!(catalog.apply(forget).unwrap().retiring.is_empty());
    }
}
