//! Which indexes, generations and blocks a partition has, in memory. Written by the partition's one writer after a
//! batch is durable, read by every scan.

use super::changes::Changed;
use super::inbox;
use super::index_state::{InboxState, IndexState};
use crate::storage::{Family, View, block_of, inbox_of, index_of, partition_key, prefix_end};
use parking_lot::{Mutex, MutexGuard, RwLock};
use sealdex_core::{BlockId, ClusterLabel, Generation, IndexId, ItemLabel, Op, PartitionId};
use sealdex_index::dataplane::ShardError;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

const RECORD_VERSION: u8 = 1;

/// One block of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BlockRef {
    pub(crate) id: BlockId,
    /// Rows in it, current or not.
    pub(crate) rows: u32,
    /// Bytes of it, sealed.
    pub(crate) bytes: u32,
}

/// An item of the inbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) op: Op,
    /// Its number among all that ever arrived.
    pub(crate) arrival: u64,
    /// Bytes of it, sealed.
    pub(crate) bytes: u32,
}

/// The partition's indexes as of the last durable batch.
pub(crate) struct Directory {
    indexes: RwLock<HashMap<IndexId, Entry>>,
    /// Held while a batch is written and until it is published.
    writing: Mutex<()>,
    /// Grows before the records are replaced as a whole, or deleted, and after they were: odd in between.
    replacing: AtomicU64,
}

#[derive(Default, PartialEq)]
struct Entry {
    state: IndexState,
    generations: HashMap<Generation, HashMap<ClusterLabel, Vec<BlockRef>>>,
    inbox: HashMap<ItemLabel, Waiting>,
    /// A batch that changes the inbox is being written: storage may be ahead.
    inbox_changing: bool,
}

impl Directory {
    /// Rebuilds the directory from the `state` and `directory` families.
    pub(crate) fn load(view: &View<'_>, partition: PartitionId) -> Result<Self, ShardError> {
        let mut indexes: HashMap<IndexId, Entry> = HashMap::new();
        let prefix = partition_key(partition);
        for record in view.range(Family::State, &prefix, prefix_end(&prefix)) {
            let (key, value) = record?;
            if *key != prefix {
                let index = index_of(&key).ok_or(ShardError::Corrupt("index state"))?;
                let state = IndexState::decode(&value).ok_or(ShardError::Corrupt("index state"))?;
                indexes.insert(
                    index,
                    Entry {
                        state,
                        ..Entry::default()
                    },
                );
            }
        }
        for record in view.range(Family::Directory, &prefix, prefix_end(&prefix)) {
            let (key, value) = record?;
            let damaged = ShardError::Corrupt("block directory");
            let (index, generation, cluster, id) = block_of(&key).ok_or(damaged.clone())?;
            let block = BlockRef::decode(id, &value).ok_or(damaged.clone())?;
            let entry = indexes.get_mut(&index).ok_or(damaged)?;
            entry
                .generations
                .entry(generation)
                .or_default()
                .entry(cluster)
                .or_default()
                .push(block);
        }
        for record in view.range(Family::Inbox, &prefix, prefix_end(&prefix)) {
            let (key, value) = record?;
            let damaged = ShardError::Corrupt("inbox");
            let (index, label) = inbox_of(&key).ok_or(damaged.clone())?;
            let waiting = inbox::decode(&value).ok_or(damaged.clone())?.0;
            let entry = indexes.get_mut(&index).ok_or(damaged)?;
            entry.inbox.insert(label, waiting);
        }
        Ok(Self {
            indexes: RwLock::new(indexes),
            writing: Mutex::new(()),
            replacing: AtomicU64::new(0),
        })
    }

    pub(crate) fn indexes(&self) -> Vec<IndexId> {
        let mut known: Vec<IndexId> = self.indexes.read().keys().copied().collect();
        known.sort_unstable();
        known
    }

    pub(crate) fn state(&self, index: IndexId) -> Option<IndexState> {
        Some(self.indexes.read().get(&index)?.state.clone())
    }

    /// Whether readers may still use `generation`.
    pub(crate) fn check_live(&self, index: IndexId, generation: Generation) -> Result<(), ShardError> {
        let indexes = self.indexes.read();
        let entry = indexes.get(&index).ok_or(ShardError::UnknownIndex)?;
        if entry.state.is_live(generation) {
            Ok(())
        } else {
            Err(ShardError::StaleGeneration)
        }
    }

    /// The blocks of a cluster, in the order of their ids.
    pub(crate) fn blocks(
        &self,
        index: IndexId,
        generation: Generation,
        cluster: &ClusterLabel,
    ) -> Vec<BlockRef> {
        let indexes = self.indexes.read();
        let blocks = || indexes.get(&index)?.generations.get(&generation)?.get(cluster);
        blocks().cloned().unwrap_or_default()
    }

    pub(super) fn waiting(&self, index: IndexId, label: &ItemLabel) -> Option<Waiting> {
        self.indexes.read().get(&index)?.inbox.get(label).copied()
    }

    /// Whether storage may be ahead in what waits in an index's inbox.
    pub(super) fn is_inbox_changing(&self, index: IndexId) -> bool {
        let indexes = self.indexes.read();
        indexes.get(&index).is_some_and(|entry| entry.inbox_changing)
    }

    /// The state of an index's inbox, and all that waits there, in no order.
    pub(super) fn inbox(&self, index: IndexId) -> Option<(InboxState, Vec<(ItemLabel, Waiting)>)> {
        let indexes = self.indexes.read();
        let entry = indexes.get(&index)?;
        let waiting = entry.inbox.iter().map(|(label, waiting)| (*label, *waiting));
        Some((entry.state.inbox, waiting.collect()))
    }

    pub(super) fn inbox_state(&self, index: IndexId) -> Option<InboxState> {
        Some(self.indexes.read().get(&index)?.state.inbox)
    }

    /// Bytes of all blocks of an index.
    pub(crate) fn block_bytes(&self, index: IndexId) -> u64 {
        let indexes = self.indexes.read();
        let generations = indexes
            .get(&index)
            .into_iter()
            .flat_map(|entry| entry.generations.values());
        let blocks = generations.flat_map(HashMap::values).flatten();
        blocks.map(|block| u64::from(block.bytes)).sum()
    }

    /// To be held from before a batch is committed until it is published.
    pub(super) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// Waits until storage is not ahead of the directory: a reader that misses a listed block calls this before it
    /// reads the list again.
    pub(crate) fn settle(&self) {
        drop(self.writing.lock());
    }

    /// To be called before a batch is committed: until it is published, who looks into memory alone may miss an item that
    /// storage has moved to an inbox already.
    pub(super) fn announce(&self, changed: &Changed) {
        if changed.inbox.is_empty() {
            return;
        }
        let mut indexes = self.indexes.write();
        for (index, _) in changed.inbox.keys() {
            if let Some(entry) = indexes.get_mut(index) {
                entry.inbox_changing = true;
            }
        }
    }

    /// Takes over what a batch changed, which is durable now.
    pub(super) fn publish(&self, changed: Changed) {
        let mut indexes = self.indexes.write();
        for index in changed.dropped {
            indexes.remove(&index);
        }
        for (index, state) in changed.indexes {
            match state {
                Some(state) => {
                    let entry = indexes.entry(index).or_default();
                    entry
                        .generations
                        .retain(|generation, _| state.is_live(*generation));
                    entry.state = state;
                }
                None => {
                    indexes.remove(&index);
                }
            }
        }
        for ((index, label), waiting) in changed.inbox {
            let Some(entry) = indexes.get_mut(&index) else {
                continue;
            };
            entry.inbox_changing = false;
            match waiting {
                Some(waiting) => entry.inbox.insert(label, waiting),
                None => entry.inbox.remove(&label),
            };
        }
        for ((index, generation, cluster), blocks) in changed.clusters {
            let Some(entry) = indexes.get_mut(&index) else {
                continue;
            };
            if !entry.state.is_live(generation) {
                continue;
            }
            if !blocks.is_empty() {
                entry
                    .generations
                    .entry(generation)
                    .or_default()
                    .insert(cluster, blocks);
            } else if let Some(clusters) = entry.generations.get_mut(&generation) {
                clusters.remove(&cluster);
                if clusters.is_empty() {
                    entry.generations.remove(&generation);
                }
            }
        }
    }

    /// From here on, until [`replace`](Self::replace), what is read from storage is not whole.
    pub(crate) fn begin_replacing(&self) {
        self.replacing.fetch_or(1, Ordering::SeqCst);
    }

    /// Takes the place of what readers see: an installed snapshot's directory. The caller holds [`writing`](Self::writing).
    pub(super) fn replace(&self, other: Directory) {
        *self.indexes.write() = other.indexes.into_inner();
        self.replacing.fetch_add(1, Ordering::SeqCst);
    }

    /// For who reads from storage: what was read between two equal answers was whole. `None` while it is not.
    pub(crate) fn edition(&self) -> Option<u64> {
        let edition = self.replacing.load(Ordering::SeqCst);
        edition.is_multiple_of(2).then_some(edition)
    }

    #[cfg(test)]
    pub(crate) fn is_same_as(&self, other: &Directory) -> bool {
        *self.indexes.read() == *other.indexes.read()
    }
}

impl BlockRef {
    pub(super) fn encode(&self) -> [u8; 9] {
        let mut record = [RECORD_VERSION; 9];
        record[1..5].copy_from_slice(&self.rows.to_be_bytes());
        record[5..].copy_from_slice(&self.bytes.to_be_bytes());
        record
    }

    fn decode(id: BlockId, record: &[u8]) -> Option<Self> {
        let (&RECORD_VERSION, numbers) = record.split_first()? else {
            return None;
        };
        let ([rows, bytes], []) = numbers.as_chunks() else {
            return None;
        };
        Some(Self {
            id,
            rows: u32::from_be_bytes(*rows),
            bytes: u32::from_be_bytes(*bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_a_round_trip_and_damage_is_noticed() {
        let block = BlockRef {
            id: BlockId([1; 16]),
            rows: 300,
            bytes: 70_000,
        };
        let record = block.encode();
        assert_eq!(BlockRef::decode(block.id, &record), Some(block));
        assert_eq!(BlockRef::decode(block.id, &record[..8]), None);
        assert_eq!(BlockRef::decode(block.id, &[0; 9]), None);
    }
}
