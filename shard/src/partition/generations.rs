//! Beginning, retiring and dropping: the life of a generation and of an index in a partition.

use super::changes::{Changes, Halt};
use super::index_state::{IndexState, WriteKey};
use crate::storage::Family;
use sealdex_core::{Generation, IndexId};
use sealdex_index::dataplane::{Applied, ShardError};
use sealdex_proto::partition as wire;

/// From here on every committed item needs a row in the generation. Makes the index known, and pins its write key.
pub(super) fn begin(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::BeginGeneration,
) -> Result<Applied, Halt> {
    let generation = Generation(command.generation);
    let write_key = WriteKey {
        epoch: command.epoch,
        public: (*command.write_key)
            .try_into()
            .map_err(|_| ShardError::BadEntry("write key"))?,
    };
    let mut state = changes.state(index).unwrap_or(IndexState::new(write_key));
    if !state.write_keys().any(|pinned| pinned == write_key) {
        return Err(ShardError::BadEntry("write key").into());
    }
    if state.is_retired(generation) {
        return Err(ShardError::StaleGeneration.into());
    }
    state.begin(generation);
    changes.set_state(index, state);
    Ok(Applied::default())
}

/// Drops the generation's blocks and blobs. It cannot begin again, even if it never did.
pub(super) fn retire(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::RetireGeneration,
) -> Result<Applied, Halt> {
    let generation = Generation(command.generation);
    let mut state = changes.state(index)?;
    if !state.is_retired(generation) {
        let prefix = changes.keys(index).generation(generation);
        for family in Family::OF_A_GENERATION {
            changes.batch.delete_prefix(family, &prefix);
        }
    }
    state.retire(generation);
    changes.set_state(index, state);
    Ok(Applied::default())
}

/// Deletes all that the partition has of the index. An index that is not known is dropped already.
pub(super) fn drop_index(changes: &mut Changes<'_>, index: IndexId) -> Result<Applied, Halt> {
    if changes.state(index).is_ok() {
        let prefix = changes.keys(index).index();
        for family in Family::OF_AN_INDEX {
            changes.batch.delete_prefix(family, &prefix);
        }
        changes.forget(index);
    }
    Ok(Applied::default())
}
