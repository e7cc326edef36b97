//! Which keys batches of writes are signed under, as an index goes from one key epoch to the next. That these commands
//! come from somebody who may write is asked where all batches are: at the node's door.

use super::changes::{Changes, Halt};
use super::index_state::WriteKey;
use sealdex_core::IndexId;
use sealdex_index::dataplane::{Applied, ShardError};
use sealdex_proto::partition as wire;

const REFUSED: ShardError = ShardError::BadEntry("write key");

/// Pins the key of the next epoch beside the present one. Only one can be: an index goes from epoch to epoch in turn.
pub(super) fn pin(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::PinWriteKey,
) -> Result<Applied, Halt> {
    let key = WriteKey {
        epoch: command.epoch,
        public: (*command.write_key).try_into().map_err(|_| REFUSED)?,
    };
    let mut state = changes.state(index)?;
    if state.write_keys().any(|pinned| pinned == key) {
        return Ok(Applied::default());
    }
    if state.next_write_key.is_some() || key.epoch <= state.write_key.epoch {
        return Err(REFUSED.into());
    }
    state.next_write_key = Some(key);
    changes.set_state(index, state);
    Ok(Applied::default())
}

/// Leaves only the key of the given epoch.
pub(super) fn drop_earlier(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::DropWriteKeys,
) -> Result<Applied, Halt> {
    let mut state = changes.state(index)?;
    let kept = state
        .write_keys()
        .find(|pinned| pinned.epoch == command.epoch)
        .ok_or(REFUSED)?;
    if kept != state.write_key {
        state.write_key = kept;
        state.next_write_key = None;
        changes.set_state(index, state);
    }
    Ok(Applied::default())
}
