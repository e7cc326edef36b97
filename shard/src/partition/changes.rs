//! What the entries of one apply have changed so far. Later entries of the same apply see it; nobody else does before
//! the batch is durable.

use super::directory::{BlockRef, Directory};
use super::index_state::IndexState;
use super::locator::Locator;
use crate::storage::{Batch, Database, Family, Keys};
use sealdex_consensus::StorageFault;
use sealdex_core::{ClusterLabel, Generation, IndexId, ItemLabel, PartitionId};
use sealdex_index::dataplane::ShardError;
use std::collections::{HashMap, HashSet};

/// A batch in the making and the state it leads to.
pub(super) struct Changes<'a> {
    pub(super) batch: Batch<'a>,
    partition: PartitionId,
    database: &'a Database,
    directory: &'a Directory,
    changed: Changed,
    locators: HashMap<(IndexId, ItemLabel), Option<Locator>>,
}

/// What a batch changes in the directory.
#[derive(Default)]
pub(super) struct Changed {
    /// Indexes of which nothing from before the batch is left, even if they exist again.
    pub(super) dropped: HashSet<IndexId>,
    /// New states; `None` for an index that is gone.
    pub(super) indexes: HashMap<IndexId, Option<IndexState>>,
    /// New block lists.
    pub(super) clusters: HashMap<(IndexId, Generation, ClusterLabel), Vec<BlockRef>>,
}

/// Why a command changed nothing.
pub(super) enum Halt {
    /// The command is refused; that is its reply.
    Refused(ShardError),
    /// Storage failed; that is the end of the replica.
    Fault(StorageFault),
}

impl From<ShardError> for Halt {
    fn from(refusal: ShardError) -> Self {
        Halt::Refused(refusal)
    }
}

impl From<StorageFault> for Halt {
    fn from(fault: StorageFault) -> Self {
        Halt::Fault(fault)
    }
}

impl<'a> Changes<'a> {
    pub(super) fn new(partition: PartitionId, database: &'a Database, directory: &'a Directory) -> Self {
        let (changed, locators) = (Changed::default(), HashMap::new());
        Self {
            batch: database.batch(),
            partition,
            database,
            directory,
            changed,
            locators,
        }
    }

    pub(super) fn keys(&self, index: IndexId) -> Keys {
        Keys::new(self.partition, index)
    }

    /// The index's state, or the refusal that there is none.
    pub(super) fn state(&self, index: IndexId) -> Result<IndexState, ShardError> {
        let state = match self.changed.indexes.get(&index) {
            Some(changed) => changed.clone(),
            None => self.directory.state(index),
        };
        state.ok_or(ShardError::UnknownIndex)
    }

    pub(super) fn set_state(&mut self, index: IndexId, state: IndexState) {
        self.changed.indexes.insert(index, Some(state));
    }

    /// Forgets the index and all that was written for it in this batch; the batch itself is the caller's.
    pub(super) fn forget(&mut self, index: IndexId) {
        self.changed.clusters.retain(|(of, ..), _| *of != index);
        self.locators.retain(|(of, _), _| *of != index);
        self.changed.indexes.insert(index, None);
        self.changed.dropped.insert(index);
    }

    pub(super) fn blocks(
        &self,
        index: IndexId,
        generation: Generation,
        cluster: ClusterLabel,
    ) -> Vec<BlockRef> {
        match self.changed.clusters.get(&(index, generation, cluster)) {
            Some(blocks) => blocks.clone(),
            None if self.changed.dropped.contains(&index) => Vec::new(),
            None => self.directory.blocks(index, generation, &cluster),
        }
    }

    pub(super) fn set_blocks(
        &mut self,
        index: IndexId,
        generation: Generation,
        cluster: ClusterLabel,
        blocks: Vec<BlockRef>,
    ) {
        self.changed.clusters.insert((index, generation, cluster), blocks);
    }

    /// Reads the locators of many items at once, so that [`replace_locator`](Self::replace_locator) has them at hand.
    pub(super) fn prefetch_locators(
        &mut self,
        index: IndexId,
        labels: impl Iterator<Item = ItemLabel>,
    ) -> Result<(), StorageFault> {
        let mut missing: Vec<ItemLabel> = labels
            .filter(|label| !self.locators.contains_key(&(index, *label)))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if self.changed.dropped.contains(&index) {
            self.locators
                .extend(missing.into_iter().map(|label| ((index, label), None)));
            return Ok(());
        }
        let keys = self.keys(index);
        let keys: Vec<_> = missing.iter().map(|label| keys.item(label)).collect();
        let stored = self
            .database
            .latest()
            .get_many(Family::Locators, &keys)
            .map_err(fault)?;
        for (label, stored) in missing.into_iter().zip(stored) {
            let locator = match stored {
                Some(record) => {
                    Some(Locator::decode(&record).ok_or_else(|| fault(ShardError::Corrupt("locator")))?)
                }
                None => None,
            };
            self.locators.insert((index, label), locator);
        }
        Ok(())
    }

    /// An item's locator. The item was prefetched.
    pub(super) fn locator(&self, index: IndexId, label: ItemLabel) -> Option<&Locator> {
        self.locators
            .get(&(index, label))
            .expect("every item of a command is prefetched")
            .as_ref()
    }

    /// Puts or removes an item's locator and returns the one before. The item was prefetched.
    pub(super) fn replace_locator(
        &mut self,
        index: IndexId,
        label: ItemLabel,
        locator: Option<Locator>,
    ) -> Option<Locator> {
        let key = self.keys(index).item(&label);
        match &locator {
            Some(locator) => self.batch.put(Family::Locators, &key, &locator.encode()),
            None => self.batch.delete(Family::Locators, &key),
        }
        self.locators
            .insert((index, label), locator)
            .expect("every item of a command is prefetched")
    }

    /// Writes the states that changed, and splits into what is to be committed and what then is to be published.
    pub(super) fn finish(mut self) -> (Batch<'a>, Changed) {
        for (index, state) in &self.changed.indexes {
            let key = Keys::new(self.partition, *index).index();
            match state {
                Some(state) => self.batch.put(Family::State, &key, &state.encode()),
                None => self.batch.delete(Family::State, &key),
            }
        }
        (self.batch, self.changed)
    }
}

fn fault(error: ShardError) -> StorageFault {
    StorageFault {
        reason: error.to_string(),
    }
}
