//! Random sequences of entries against a model that is too simple to be wrong, with restarts in between.

use super::*;
use crate::partition::Locator;
use crate::partition::index_state::{InboxState, IndexState};
use crate::storage::Keys;
use proptest::prelude::*;
use sealdex_core::{BlobLabel, BlockId, ClusterLabel, Generation, IndexId, ItemLabel, Op};
use std::collections::BTreeSet;

/// Blocks of a cluster: id and rows of each.
type Blocks = Vec<(u8, u32)>;

#[derive(Clone, Debug)]
enum Step {
    Begin(u32),
    Retire(u32),
    Append {
        generation: u32,
        cluster: u8,
        blocks: Blocks,
    },
    Replace {
        generation: u32,
        cluster: u8,
        old: BTreeSet<u8>,
        new: Blocks,
    },
    Commit(Vec<NewItem>),
    PutInbox(Vec<(u8, u8)>),
    Promote(Vec<NewItem>),
    Delete(Vec<u8>),
    PutBlobs {
        generation: u32,
        labels: Vec<u8>,
    },
    RemoveBlobs {
        generation: u32,
        labels: Vec<u8>,
    },
    Pin(u32),
    DropKeys(u32),
    /// Items, as (label, op).
    Reseal(Vec<(u8, u8)>),
    Drop,
}

#[derive(Clone, Debug)]
struct NewItem {
    label: u8,
    op: u8,
    rows: Vec<(u32, u8)>,
    contents: bool,
    resealed: bool,
    /// Its number in the inbox, if it waits there.
    arrival: Option<u64>,
}

impl NewItem {
    fn to_wire(&self) -> wire::Item {
        item(self.label, self.op, &self.rows, self.contents)
    }
}

fn steps() -> impl Strategy<Value = (u64, Step)> {
    let generation = || 1u32..4;
    let blocks = || prop::collection::vec((0u8..12, prop_oneof![1u32..5, Just(64)]), 0..6);
    let rows = prop::collection::vec(0u8..3, 3).prop_flat_map(|clusters| {
        let all: Vec<(u32, u8)> = (1..).zip(clusters).collect();
        prop_oneof![3 => Just(all.clone()), 1 => prop::sample::subsequence(all, 0..3)]
    });
    let item = (0u8..6, 0u8..5, rows, any::<bool>());
    let item = item.prop_map(|(label, op, rows, contents)| NewItem {
        label,
        op,
        rows,
        contents,
        arrival: None,
        resealed: false,
    });
    let items = || prop::collection::vec(item.clone(), 0..5);
    let step = prop_oneof![
        4 => generation().prop_map(Step::Begin),
        1 => generation().prop_map(Step::Retire),
        6 => (generation(), 0u8..3, blocks())
            .prop_map(|(generation, cluster, blocks)| Step::Append { generation, cluster, blocks }),
        3 => (generation(), 0u8..3, prop::collection::btree_set(0u8..12, 0..3), blocks())
            .prop_map(|(generation, cluster, old, new)| Step::Replace { generation, cluster, old, new }),
        8 => items().prop_map(Step::Commit),
        5 => prop::collection::vec((0u8..6, 0u8..5), 0..5).prop_map(Step::PutInbox),
        5 => items().prop_map(Step::Promote),
        3 => prop::collection::vec(0u8..6, 0..4).prop_map(Step::Delete),
        2 => (generation(), prop::collection::vec(0u8..4, 0..3))
            .prop_map(|(generation, labels)| Step::PutBlobs { generation, labels }),
        1 => (generation(), prop::collection::vec(0u8..4, 0..3))
            .prop_map(|(generation, labels)| Step::RemoveBlobs { generation, labels }),
        2 => (1u32..4).prop_map(Step::Pin),
        1 => (1u32..4).prop_map(Step::DropKeys),
        4 => prop::collection::vec((0u8..6, 0u8..5), 0..6).prop_map(Step::Reseal),
        1 => Just(Step::Drop),
    ];
    (1u64..3, step)
}

fn to_entry(index: u64, step: &Step) -> wire::Entry {
    match step {
        Step::Begin(generation) => begin(index, *generation),
        Step::Retire(generation) => retire(index, *generation),
        Step::Append {
            generation,
            cluster,
            blocks,
        } => append(index, *generation, *cluster, blocks),
        Step::Replace {
            generation,
            cluster,
            old,
            new,
        } => replace(
            index,
            *generation,
            *cluster,
            &Vec::from_iter(old.iter().copied()),
            new,
        ),
        Step::Commit(items) => commit(index, items.iter().map(NewItem::to_wire).collect()),
        Step::PutInbox(items) => put_inbox(index, items),
        Step::Promote(items) => promote(index, items.iter().map(NewItem::to_wire).collect()),
        Step::Delete(labels) => delete(index, labels),
        Step::PutBlobs { generation, labels } => put_blobs(index, *generation, labels),
        Step::RemoveBlobs { generation, labels } => remove_blobs(index, *generation, labels),
        Step::Pin(epoch) => pin(index, *epoch),
        Step::DropKeys(epoch) => drop_keys(index, *epoch),
        Step::Reseal(items) => reseal(index, items),
        Step::Drop => drop_index(index),
    }
}

#[derive(Default)]
struct Model(BTreeMap<u64, Index>);

#[derive(Default)]
struct Index {
    live: BTreeSet<u32>,
    retired: BTreeSet<u32>,
    items: BTreeMap<u8, NewItem>,
    arrivals: u64,
    departed: u64,
    blocks: BTreeMap<(u32, u8), BTreeMap<u8, u32>>,
    blobs: BTreeSet<(u32, u8)>,
    /// The write keys after the first one: the one in its place, and the one beside.
    key: Option<u32>,
    next_key: Option<u32>,
}

impl Model {
    fn apply(&mut self, index: u64, step: &Step) -> Reply {
        match step {
            Step::Begin(_) if self.0.get(&index).is_some_and(|state| state.key.is_some()) => {
                return Err(ShardError::BadEntry("write key"));
            }
            Step::Begin(generation) => {
                if self
                    .0
                    .get(&index)
                    .is_some_and(|state| state.is_retired(*generation))
                {
                    return Err(ShardError::StaleGeneration);
                }
                self.0.entry(index).or_default().live.insert(*generation);
                return Ok(Applied::default());
            }
            Step::Drop => {
                self.0.remove(&index);
                return Ok(Applied::default());
            }
            _ => {}
        }
        let state = self.0.get_mut(&index).ok_or(ShardError::UnknownIndex)?;
        match step {
            Step::Retire(generation) => {
                state.live.remove(generation);
                state.retired.insert(*generation);
                state.blocks.retain(|(of, _), _| of != generation);
                state.blobs.retain(|(of, _)| of != generation);
                Ok(Applied::default())
            }
            Step::Append {
                generation,
                cluster,
                blocks,
            } => state.append(*generation, *cluster, blocks),
            Step::Replace {
                generation,
                cluster,
                old,
                new,
            } => state.replace(*generation, *cluster, old, new),
            Step::Commit(items) => state.commit(items),
            Step::PutInbox(items) => Ok(state.put_inbox(items)),
            Step::Promote(items) => state.promote(items),
            Step::Delete(labels) => Ok(state.delete(labels)),
            Step::PutBlobs { generation, labels } => {
                if state.is_retired(*generation) {
                    return Err(ShardError::StaleGeneration);
                }
                state
                    .blobs
                    .extend(labels.iter().map(|label| (*generation, *label)));
                Ok(Applied::default())
            }
            Step::RemoveBlobs { generation, labels } => {
                if state.is_retired(*generation) {
                    return Err(ShardError::StaleGeneration);
                }
                state
                    .blobs
                    .retain(|(of, label)| of != generation || !labels.contains(label));
                Ok(Applied::default())
            }
            Step::Pin(epoch) => state.pin(*epoch),
            Step::DropKeys(epoch) => state.drop_keys(*epoch),
            Step::Reseal(items) => {
                for (label, op) in items {
                    let item = state.items.get_mut(label);
                    if let Some(item) = item.filter(|item| item.op == *op && item.arrival.is_none()) {
                        item.resealed = true;
                    }
                }
                Ok(Applied::default())
            }
            Step::Begin(_) | Step::Drop => unreachable!("handled above"),
        }
    }
}

impl Index {
    /// Generations end in ascending order here: with one of them, all older ones that are not live.
    fn is_retired(&self, generation: u32) -> bool {
        !self.live.contains(&generation) && self.retired.last().is_some_and(|last| generation <= *last)
    }

    fn check_live(&self, generation: u32) -> Result<(), ShardError> {
        if self.live.contains(&generation) {
            Ok(())
        } else {
            Err(ShardError::StaleGeneration)
        }
    }

    fn pin(&mut self, epoch: u32) -> Reply {
        // The first key of all is not one that is pinned here, though of the same epoch.
        let known = self.key == Some(epoch) || self.next_key == Some(epoch);
        if !known && (self.next_key.is_some() || epoch <= self.key.unwrap_or(1)) {
            return Err(ShardError::BadEntry("write key"));
        }
        if !known {
            self.next_key = Some(epoch);
        }
        Ok(Applied::default())
    }

    fn drop_keys(&mut self, epoch: u32) -> Reply {
        if self.next_key == Some(epoch) {
            self.key = self.next_key.take();
        } else if self.key.unwrap_or(1) != epoch {
            return Err(ShardError::BadEntry("write key"));
        }
        Ok(Applied::default())
    }

    fn append(&mut self, generation: u32, cluster: u8, blocks: &Blocks) -> Reply {
        self.check_live(generation)?;
        let list = self.blocks.entry((generation, cluster)).or_default();
        list.extend(blocks.iter().copied());
        let small = list.values().filter(|rows| **rows < 64).count();
        let here = (Generation(generation), ClusterLabel([cluster; 16]));
        Ok(Applied {
            crowded: if small > 8 { vec![here] } else { Vec::new() },
            ..Applied::default()
        })
    }

    fn replace(&mut self, generation: u32, cluster: u8, old: &BTreeSet<u8>, new: &Blocks) -> Reply {
        self.check_live(generation)?;
        if old.is_empty() {
            return Err(ShardError::BadEntry("blocks to replace"));
        }
        let list = self.blocks.entry((generation, cluster)).or_default();
        if !old.iter().all(|id| list.contains_key(id)) {
            return Err(ShardError::BlocksGone);
        }
        list.retain(|id, _| !old.contains(id));
        list.extend(new.iter().copied());
        Ok(Applied::default())
    }

    fn commit(&mut self, items: &[NewItem]) -> Reply {
        let items = self.covered(items)?;
        let mut applied = Applied::default();
        for item in items {
            self.depart(item.label);
            match self.items.insert(item.label, item.clone()) {
                None => applied.created += 1,
                Some(old) if old.op == item.op => {}
                Some(old) => applied.orphaned.extend(self.live_rows(&old)),
            }
        }
        Ok(applied)
    }

    /// The items as they will be kept, if each has a row in every live generation.
    fn covered(&self, items: &[NewItem]) -> Result<Vec<NewItem>, ShardError> {
        let covers = |item: &NewItem| {
            self.live
                .iter()
                .all(|live| item.rows.iter().any(|(of, _)| of == live))
        };
        if !items.iter().all(covers) {
            return Err(ShardError::StaleGeneration);
        }
        let mut items = items.to_vec();
        for item in &mut items {
            item.rows.retain(|(generation, _)| !self.is_retired(*generation));
        }
        Ok(items)
    }

    fn depart(&mut self, label: u8) {
        let arrival = self.items.get(&label).and_then(|item| item.arrival);
        self.departed = self.departed.max(arrival.unwrap_or(0));
    }

    fn put_inbox(&mut self, items: &[(u8, u8)]) -> Applied {
        let mut applied = Applied::default();
        for &(label, op) in items {
            if self.items.get(&label).is_some_and(|old| old.op == op) {
                continue;
            }
            self.arrivals += 1;
            let item = NewItem {
                label,
                op,
                rows: Vec::new(),
                contents: false,
                resealed: false,
                arrival: Some(self.arrivals),
            };
            match self.items.insert(label, item) {
                None => applied.created += 1,
                Some(old) => applied.orphaned.extend(self.live_rows(&old)),
            }
        }
        applied
    }

    fn promote(&mut self, items: &[NewItem]) -> Reply {
        let mut applied = Applied::default();
        for item in self.covered(items)? {
            match self.items.get(&item.label) {
                Some(old) if old.op == item.op && old.arrival.is_some() => {
                    self.depart(item.label);
                    self.items.insert(item.label, item);
                }
                Some(old) if old.op == item.op => {}
                _ => applied.orphaned.extend(self.live_rows(&item)),
            }
        }
        Ok(applied)
    }

    fn delete(&mut self, labels: &[u8]) -> Applied {
        let mut applied = Applied::default();
        for label in labels {
            if let Some(old) = self.items.remove(label) {
                applied.removed += 1;
                applied.orphaned.extend(self.live_rows(&old));
            }
        }
        applied
    }

    fn live_rows(&self, item: &NewItem) -> Vec<(Generation, ClusterLabel)> {
        let live = item
            .rows
            .iter()
            .filter(|(generation, _)| self.live.contains(generation));
        live.map(|(generation, cluster)| (Generation(*generation), ClusterLabel([*cluster; 16])))
            .collect()
    }

    /// Every record the index should have.
    fn records(&self, index: u64) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
        let keys = Keys::new(PARTITION, IndexId(index));
        let mut state = IndexState::new(self.key.map_or(WRITE_KEY, key_of));
        state.next_write_key = self.next_key.map(key_of);
        self.retired
            .iter()
            .for_each(|generation| state.retire(Generation(*generation)));
        self.live
            .iter()
            .for_each(|generation| state.begin(Generation(*generation)));
        state.items = self.items.len() as u64;
        let waiting = self.items.values().filter(|item| item.arrival.is_some());
        state.inbox = InboxState {
            bytes: waiting
                .map(|item| inbox_sealed(item.label, item.op).len() as u64)
                .sum(),
            arrivals: self.arrivals,
            departed: self.departed,
        };
        let mut records = vec![(Family::State, keys.index().to_vec(), state.encode())];
        for stored in self.items.values() {
            let key = keys.item(&ItemLabel([stored.label; 16])).to_vec();
            let rows = stored
                .rows
                .iter()
                .map(|(g, c)| (Generation(*g), ClusterLabel([*c; 16])))
                .collect();
            let locator = Locator {
                op: Op([stored.op; 16]),
                rows,
                in_inbox: stored.arrival.is_some(),
            };
            if let Some(arrival) = stored.arrival {
                let record = wire::InboxRecord {
                    version: ENTRY_VERSION,
                    op: label(stored.op),
                    epoch: WRITE_KEY.epoch,
                    arrival,
                    sealed: inbox_sealed(stored.label, stored.op).into(),
                };
                records.push((Family::Locators, key.clone(), locator.encode()));
                records.push((Family::Inbox, key, record.encode_to_vec()));
                continue;
            }
            let mut sent = item(stored.label, stored.op, &[], stored.contents);
            if stored.resealed {
                sent.vector = vec![b'V', stored.label, stored.op].into();
            }
            let with_op = |sealed: &[u8]| [&[stored.op; 16], sealed].concat();
            records.push((Family::Locators, key.clone(), locator.encode()));
            records.push((Family::Vectors, key.clone(), with_op(&sent.vector)));
            records.push((Family::Meta, key.clone(), with_op(&sent.meta)));
            records.extend(
                sent.contents
                    .map(|contents| (Family::Contents, key, with_op(&contents))),
            );
        }
        for ((generation, cluster), blocks) in &self.blocks {
            for (id, rows) in blocks {
                let key = keys.block(
                    Generation(*generation),
                    &ClusterLabel([*cluster; 16]),
                    &BlockId([*id; 16]),
                );
                let [sealed_bytes, entry_bytes] = [sealed(*id, *rows), directory_record(*id, *rows)];
                records.push((Family::Blocks, key.to_vec(), sealed_bytes));
                records.push((Family::Directory, key.to_vec(), entry_bytes));
            }
        }
        for (generation, label) in &self.blobs {
            let key = keys
                .blob(Generation(*generation), &BlobLabel([*label; 16]))
                .to_vec();
            records.push((Family::Blobs, key, vec![b'b', *label]));
        }
        records
    }
}

fn directory_record(id: u8, rows: u32) -> Vec<u8> {
    let bytes = sealed(id, rows).len() as u32;
    [&[1], &rows.to_be_bytes()[..], &bytes.to_be_bytes()[..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_leads_where_the_model_does(
        applies in prop::collection::vec((prop::collection::vec(steps(), 1..8), prop::bool::weighted(0.2)), 1..12),
    ) {
        let (mut bench, mut model) = (Bench::new(), Model::default());
        for (steps, restart) in applies {
            let expected: Vec<Reply> = steps.iter().map(|(index, step)| model.apply(*index, step)).collect();
            let replies = bench.apply(steps.iter().map(|(index, step)| to_entry(*index, step)).collect());
            prop_assert_eq!(replies, expected);
            if restart {
                bench.reopen();
            }
            bench.check_directory();
        }
        let mut expected: BTreeMap<&str, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
        for (index, state) in &model.0 {
            for (family, key, value) in state.records(*index) {
                expected.entry(family.name()).or_default().insert(key, value);
            }
        }
        for family in Family::ALL {
            let mut stored = bench.records(family);
            stored.retain(|key, _| key.len() > 2);
            prop_assert_eq!(&stored, &expected.remove(family.name()).unwrap_or_default(), "{:?}", family);
        }
    }
}
