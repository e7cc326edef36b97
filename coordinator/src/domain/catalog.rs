//! The catalogue of indexes as a pure state machine: a [`Command`] is applied whole or refused, and nothing else
//! changes it. Knows no storage, no clock and no key; what it keeps of keys is sealed.

use super::{
    Command, Epochs, GenerationRecord, IndexRecord, KeyEnvelope, ModelRef, Rejection, UserRecord, epochs,
};
use sealdex_core::{Dimension, Generation, IndexId, limits};
use std::collections::BTreeMap;
use std::sync::Arc;

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
            Command::FixDimension { name, id, dimension } => {
                self.change(&name, id, |record| fix_dimension(record, dimension))
            }
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
            Command::ReviseModel {
                name,
                id,
                generation,
                replaces,
                model,
                clusters,
            } => self.change(&name, id, |record| {
                let active = of_generation(record, generation)?;
                if active.model != Some(replaces) {
                    return Err(Rejection::OutOfTurn);
                }
                active.former.push(replaces);
                (active.model, active.clusters) = (Some(model), clusters);
                Ok(())
            }),
            Command::ForgetModel {
                name,
                id,
                generation,
                model,
            } => self.change(&name, id, |record| {
                let active = of_generation(record, generation)?;
                active.former.retain(|former| *former != model);
                Ok(())
            }),
            Command::AddUser {
                name,
                id,
                epochs,
                user,
            } => self.change(&name, id, |record| add_user(record, epochs, *user)),
            Command::RemoveUser { name, id, user } => self.change(&name, id, |record| {
                record.users.retain(|existing| existing.id != user);
                Ok(())
            }),
            Command::Rewrap {
                name,
                id,
                replaces,
                key,
            } => self.change(&name, id, |record| rewrap(record, replaces, *key)),
            Command::BeginEpoch {
                name,
                id,
                replaces,
                key,
                users,
            } => self.change(&name, id, |record| epochs::begin(record, replaces, *key, users)),
            Command::SwitchEpoch { name, id, epoch } => {
                self.change(&name, id, |record| epochs::switch(record, epoch))
            }
            Command::FinishEpoch { name, id, epoch } => {
                self.change(&name, id, |record| epochs::finish(record, epoch))
            }
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
    fix_dimension(record, dimension)?;
    record.active.model.get_or_insert(model);
    Ok(())
}

fn fix_dimension(record: &mut IndexRecord, dimension: Dimension) -> Result<(), Rejection> {
    match record.dimension.replace(dimension) {
        Some(known) if known != dimension => Err(Rejection::DimensionDiffers),
        _ => Ok(()),
    }
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

/// The active generation, if it is that one.
fn of_generation(
    record: &mut IndexRecord,
    generation: Generation,
) -> Result<&mut GenerationRecord, Rejection> {
    match record.active.generation == generation {
        true => Ok(&mut record.active),
        false => Err(Rejection::OutOfTurn),
    }
}

fn take_building(record: &mut IndexRecord, generation: Generation) -> Result<GenerationRecord, Rejection> {
    match record.building.take() {
        Some(building) if building.generation == generation => Ok(building),
        _ => Err(Rejection::OutOfTurn),
    }
}

fn add_user(record: &mut IndexRecord, epochs: Epochs, user: UserRecord) -> Result<(), Rejection> {
    if record.key.epochs() != epochs || record.users.iter().any(|existing| existing.id == user.id) {
        return Err(Rejection::OutOfTurn);
    }
    if record.users.len() >= limits::USERS_PER_INDEX_MAX {
        return Err(Rejection::TooManyUsers);
    }
    record.without_inbox &= user.grants.read.is_some();
    record.users.push(user);
    Ok(())
}

fn rewrap(record: &mut IndexRecord, replaces: [u8; 32], key: KeyEnvelope) -> Result<(), Rejection> {
    if record.key.commitment != replaces || !record.key.has_bundles_of(&key) {
        return Err(Rejection::OutOfTurn);
    }
    record.key = key;
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{Grants, KeySource, PublicKeys};
    use sealdex_core::{KeyEpoch, Metric, Precision, UserId};

    pub(in crate::domain) fn index(name: &str, id: u64) -> IndexRecord {
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
                public: PublicKeys {
                    admin: [1; 32],
                    write: [2; 32],
                    inbox: [3; 32],
                },
                source: KeySource::Client,
                other: None,
            },
            users: vec![],
            without_inbox: true,
            active: GenerationRecord {
                generation: Generation(1),
                trained: false,
                clusters: 4,
                model: None,
                former: vec![],
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
            former: vec![],
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
    fn a_dimension_is_fixed_once_and_the_model_may_follow() {
        let mut catalog = with_index_a();
        let fix = |d| Command::FixDimension {
            name: "a".into(),
            id: IndexId(1),
            dimension: dimension(d),
        };
        let record = catalog.apply(fix(3)).unwrap();
        assert_eq!(
            (record.dimension, record.active.model),
            (Some(dimension(3)), None)
        );
        assert_eq!(catalog.apply(fix(4)), Err(Rejection::DimensionDiffers));
        assert_eq!(catalog.apply(set_model(4, 1)), Err(Rejection::DimensionDiffers));
        catalog.apply(set_model(3, 1)).unwrap();
        let record = catalog.apply(fix(3)).unwrap();
        assert_eq!(record.active.model.map(|model| model.id), Some([1; 16]));
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
    fn of_two_revisions_one_is_refused_and_a_model_is_remembered_until_it_is_removed() {
        let mut catalog = with_index_a();
        catalog.apply(set_model(3, 1)).unwrap();
        let model = |id| ModelRef {
            id: [id; 16],
            pieces: 1,
        };
        let revise = |generation, replaces, by| Command::ReviseModel {
            name: "a".into(),
            id: IndexId(1),
            generation: Generation(generation),
            replaces: model(replaces),
            model: model(by),
            clusters: 9,
        };
        let record = catalog.apply(revise(1, 1, 2)).unwrap();
        assert_eq!(
            (
                record.active.model,
                record.active.clusters,
                record.active.former.clone()
            ),
            (Some(model(2)), 9, vec![model(1)])
        );
        for refused in [revise(1, 1, 3), revise(2, 2, 3)] {
            assert_eq!(catalog.apply(refused), Err(Rejection::OutOfTurn));
        }
        let forget = |generation| Command::ForgetModel {
            name: "a".into(),
            id: IndexId(1),
            generation: Generation(generation),
            model: model(1),
        };
        assert_eq!(catalog.apply(forget(2)), Err(Rejection::OutOfTurn));
        let record = catalog.apply(forget(1)).unwrap();
        assert_eq!(
            (record.active.model, record.active.former.len()),
            (Some(model(2)), 0)
        );
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

    pub(in crate::domain) fn user(n: u8) -> UserRecord {
        UserRecord {
            id: UserId([n; 16]),
            public_key: [n; 32],
            grants: Grants {
                read: Some(vec![n]),
                write: None,
                signature: [n; 64],
            },
            other: None,
        }
    }

    fn add(id: u64, n: u8) -> Command {
        Command::AddUser {
            name: "a".into(),
            id: IndexId(id),
            epochs: index("a", id).key.epochs(),
            user: Box::new(user(n)),
        }
    }

    #[test]
    fn an_inbox_is_looked_into_from_the_first_user_on_who_may_not_read() {
        let mut catalog = with_index_a();
        assert!(catalog.apply(add(1, 1)).unwrap().without_inbox);
        let mut writer = user(2);
        writer.grants.read = None;
        let let_in = Command::AddUser {
            name: "a".into(),
            id: IndexId(1),
            epochs: index("a", 1).key.epochs(),
            user: Box::new(writer),
        };
        assert!(!catalog.apply(let_in).unwrap().without_inbox);
        let remove = Command::RemoveUser {
            name: "a".into(),
            id: IndexId(1),
            user: UserId([2; 16]),
        };
        assert!(
            !catalog.apply(remove).unwrap().without_inbox,
            "what they wrote may wait still"
        );
        assert!(!catalog.apply(add(1, 3)).unwrap().without_inbox);
    }

    #[test]
    fn users_come_and_go_and_none_outlives_its_index() {
        let mut catalog = with_index_a();
        catalog.apply(add(1, 1)).unwrap();
        catalog.apply(add(1, 2)).unwrap();
        assert_eq!(catalog.apply(add(1, 2)), Err(Rejection::OutOfTurn));
        let remove = |n| Command::RemoveUser {
            name: "a".into(),
            id: IndexId(1),
            user: UserId([n; 16]),
        };
        for _ in 0..2 {
            let left = catalog.apply(remove(1)).unwrap();
            assert_eq!(left.users, [user(2)]);
        }
        let delete = Command::Delete {
            name: "a".into(),
            id: IndexId(1),
        };
        catalog.apply(delete).unwrap();
        let successor = catalog.apply(Command::Create(Box::new(index("a", 2)))).unwrap();
        assert!(successor.users.is_empty());
        assert_eq!(catalog.apply(add(1, 3)), Err(Rejection::NoSuchIndex));
    }

    #[test]
    fn users_are_bounded() {
        let mut catalog = Catalog::restore([IndexRecord {
            users: vec![user(1); limits::USERS_PER_INDEX_MAX],
            ..index("a", 1)
        }]);
        assert_eq!(catalog.apply(add(1, 2)), Err(Rejection::TooManyUsers));
    }

    #[test]
    fn of_two_rewraps_one_is_refused_and_none_brings_another_bundle() {
        let mut catalog = with_index_a();
        let key = |commitment| KeyEnvelope {
            commitment: [commitment; 32],
            ..index("a", 1).key
        };
        let rewrap = |replaces, key| Command::Rewrap {
            name: "a".into(),
            id: IndexId(1),
            replaces: [replaces; 32],
            key: Box::new(key),
        };
        assert_eq!(catalog.apply(rewrap(0, key(1))).unwrap().key, key(1));
        assert_eq!(catalog.apply(rewrap(0, key(2))), Err(Rejection::OutOfTurn));
        let other_bundle = KeyEnvelope {
            epoch: KeyEpoch(2),
            ..key(3)
        };
        assert_eq!(catalog.apply(rewrap(1, other_bundle)), Err(Rejection::OutOfTurn));
        assert_eq!(catalog.get("a").unwrap().key, key(1));
    }
}
