//! Committing and deleting items: the only commands that decide what a query may see.

use super::changes::{Changes, Halt};
use super::inbox;
use super::index_state::IndexState;
use super::locator::{Locator, places};
use crate::storage::Family;
use sealdex_core::{ClusterLabel, Generation, IndexId, ItemLabel, Op};
use sealdex_index::dataplane::{Applied, ShardError};
use sealdex_proto::partition as wire;

/// Puts each item in the place of its older version. Refused whole if an item has no row in a live generation.
pub(super) fn commit(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: wire::CommitItems,
) -> Result<Applied, Halt> {
    let mut state = changes.state(index)?;
    let locators = command
        .items
        .iter()
        .map(|item| locator(&state, item))
        .collect::<Result<Vec<_>, _>>()?;
    changes.prefetch_locators(index, locators.iter().map(|(label, _)| *label))?;
    let mut applied = Applied::default();
    for ((label, locator), item) in locators.into_iter().zip(&command.items) {
        put_records(changes, index, &label, &locator.op, item);
        inbox::depart(changes, index, &label, &mut state);
        let op = locator.op;
        match changes.replace_locator(index, label, Some(locator)) {
            None => applied.created += 1,
            // The same write again: its rows are still current.
            Some(old) if old.op == op => {}
            Some(old) => applied.orphaned.extend(live_rows(&state, old)),
        }
    }
    state.items += applied.created;
    changes.set_state(index, state);
    Ok(applied)
}

/// Removes items. Those that do not exist are passed over.
pub(super) fn delete(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::DeleteItems,
) -> Result<Applied, Halt> {
    let mut state = changes.state(index)?;
    let labels = command
        .labels
        .iter()
        .map(|label| ItemLabel::from_slice(label).ok_or(ShardError::BadEntry("item label")))
        .collect::<Result<Vec<_>, _>>()?;
    changes.prefetch_locators(index, labels.iter().copied())?;
    let mut applied = Applied::default();
    for label in labels {
        if let Some(old) = changes.replace_locator(index, label, None) {
            delete_records(changes, index, &label);
            inbox::remove(changes, index, &label, &mut state);
            applied.removed += 1;
            applied.orphaned.extend(live_rows(&state, old));
        }
    }
    state.items = state
        .items
        .checked_sub(applied.removed)
        .ok_or_else(|| miscounted(index))?;
    changes.set_state(index, state);
    Ok(applied)
}

/// Puts sealed parts of items in the place of the same parts as they were sealed before. An item that was written anew or
/// deleted meanwhile is passed over. Neither locators nor counts change.
pub(super) fn reseal(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::ResealItems,
) -> Result<Applied, Halt> {
    changes.state(index)?;
    let items = command
        .items
        .iter()
        .map(|item| {
            let label = ItemLabel::from_slice(&item.label).ok_or(ShardError::BadEntry("item label"))?;
            let op = Op::from_slice(&item.op).ok_or(ShardError::BadEntry("item op"))?;
            Ok((label, op, item))
        })
        .collect::<Result<Vec<_>, ShardError>>()?;
    changes.prefetch_locators(index, items.iter().map(|(label, ..)| *label))?;
    for (label, op, item) in items {
        if changes
            .locator(index, &label)
            .is_none_or(|current| current.op != op || current.in_inbox)
        {
            continue;
        }
        let key = changes.keys(index).item(&label);
        let parts = [
            (Family::Vectors, &item.vector),
            (Family::Meta, &item.meta),
            (Family::Contents, &item.contents),
        ];
        for (family, sealed) in parts {
            if let Some(sealed) = sealed {
                changes.batch.put_joined(family, &key, &op.0, sealed);
            }
        }
    }
    Ok(Applied::default())
}

/// Checks an item and says what its locator will be. Rows of retired generations are left out.
pub(super) fn locator(state: &IndexState, item: &wire::Item) -> Result<(ItemLabel, Locator), ShardError> {
    let label = ItemLabel::from_slice(&item.label).ok_or(ShardError::BadEntry("item label"))?;
    let op = Op::from_slice(&item.op).ok_or(ShardError::BadEntry("item op"))?;
    let mut rows = places(&item.rows).ok_or(ShardError::BadEntry("row place"))?;
    let covered = |live: &Generation| rows.iter().any(|(generation, _)| generation == live);
    if !state.generations().iter().all(covered) {
        return Err(ShardError::StaleGeneration);
    }
    rows.retain(|(generation, _)| !state.is_retired(*generation));
    let in_inbox = false;
    Ok((label, Locator { op, rows, in_inbox }))
}

/// Each record begins with its op in the clear, so that one look-up tells both whether it is current and what it is.
pub(super) fn put_records(
    changes: &mut Changes<'_>,
    index: IndexId,
    label: &ItemLabel,
    op: &Op,
    item: &wire::Item,
) {
    let key = changes.keys(index).item(label);
    changes
        .batch
        .put_joined(Family::Vectors, &key, &op.0, &item.vector);
    changes.batch.put_joined(Family::Meta, &key, &op.0, &item.meta);
    match &item.contents {
        Some(contents) => changes.batch.put_joined(Family::Contents, &key, &op.0, contents),
        None => changes.batch.delete(Family::Contents, &key),
    }
}

pub(super) fn delete_records(changes: &mut Changes<'_>, index: IndexId, label: &ItemLabel) {
    let key = changes.keys(index).item(label);
    for family in [Family::Vectors, Family::Meta, Family::Contents] {
        changes.batch.delete(family, &key);
    }
}

pub(super) fn live_rows(
    state: &IndexState,
    old: Locator,
) -> impl Iterator<Item = (Generation, ClusterLabel)> {
    old.rows
        .into_iter()
        .filter(|(generation, _)| state.is_live(*generation))
}

fn miscounted(index: IndexId) -> sealdex_consensus::StorageFault {
    sealdex_consensus::StorageFault {
        reason: format!("index {index} has fewer items counted than stored"),
    }
}
