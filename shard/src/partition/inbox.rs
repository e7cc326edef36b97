//! The inbox: items whose writer may not read. They came sealed whole, and wait without rows until somebody who may
//! read and write promotes them. Promoting changes where an item is kept, never which of its writes is current.

use super::changes::{Changes, Halt};
use super::directory::{Directory, Waiting};
use super::index_state::IndexState;
use super::items::{delete_records, live_rows, locator, put_records};
use super::locator::Locator;
use crate::storage::{Database, Family, Keys};
use prost::Message;
use sealdex_core::{IndexId, ItemLabel, KeyEpoch, Op};
use sealdex_index::dataplane::{Applied, InboxReply, InboxRequest, SealedItem, ShardError, WaitingItem};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;

/// Puts each item in the place of its older version, to wait there.
pub(super) fn put(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::PutInbox,
) -> Result<Applied, Halt> {
    let mut state = changes.state(index)?;
    let writes = command.items.iter().map(write).collect::<Result<Vec<_>, _>>()?;
    changes.prefetch_locators(index, writes.iter().map(|(label, ..)| *label))?;
    let mut applied = Applied::default();
    for ((label, op, bytes), item) in writes.into_iter().zip(&command.items) {
        // The same write again: it waits, or has been promoted since.
        if changes.locator(index, &label).is_some_and(|old| old.op == op) {
            continue;
        }
        state.inbox.arrivals += 1;
        let waiting = Waiting {
            op,
            arrival: state.inbox.arrivals,
            bytes,
        };
        remove(changes, index, &label, &mut state);
        if changes.locator(index, &label).is_some_and(|old| !old.in_inbox) {
            delete_records(changes, index, &label);
        }
        state.inbox.bytes += u64::from(bytes);
        changes.set_waiting(index, label, Some(waiting));
        let key = changes.keys(index).item(&label);
        changes.batch.put(Family::Inbox, &key, &encode(&waiting, item));
        let locator = Locator {
            op,
            rows: Vec::new(),
            in_inbox: true,
        };
        match changes.replace_locator(index, label, Some(locator)) {
            None => applied.created += 1,
            Some(old) => applied.orphaned.extend(live_rows(&state, old)),
        }
    }
    state.items += applied.created;
    changes.set_state(index, state);
    Ok(applied)
}

/// Makes ordinary items of those that still wait with the op they are promoted with. Refused whole if an item has no row
/// in a live generation.
pub(super) fn promote(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::PromoteItems,
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
        match changes.locator(index, &label) {
            Some(old) if old.op == locator.op && old.in_inbox => {
                put_records(changes, index, &label, &locator.op, item);
                depart(changes, index, &label, &mut state);
                changes.replace_locator(index, label, Some(locator));
            }
            // Somebody else was first.
            Some(old) if old.op == locator.op => {}
            // Overtaken by another write: the rows that were made for it are dead.
            _ => applied.orphaned.extend(live_rows(&state, locator)),
        }
    }
    changes.set_state(index, state);
    Ok(applied)
}

/// Takes an item out of the inbox, if it is there, to be an ordinary item from now on.
pub(super) fn depart(changes: &mut Changes<'_>, index: IndexId, label: &ItemLabel, state: &mut IndexState) {
    if let Some(waiting) = remove(changes, index, label, state) {
        state.inbox.departed = state.inbox.departed.max(waiting.arrival);
    }
}

/// Takes an item out of the inbox, if it is there, to be replaced there or deleted.
pub(super) fn remove(
    changes: &mut Changes<'_>,
    index: IndexId,
    label: &ItemLabel,
    state: &mut IndexState,
) -> Option<Waiting> {
    let waiting = changes.waiting(index, label)?;
    let key = changes.keys(index).item(label);
    changes.batch.delete(Family::Inbox, &key);
    changes.set_waiting(index, *label, None);
    state.inbox.bytes = state.inbox.bytes.saturating_sub(u64::from(waiting.bytes));
    Some(waiting)
}

fn write(item: &wire::InboxItem) -> Result<(ItemLabel, Op, u32), ShardError> {
    let label = ItemLabel::from_slice(&item.label).ok_or(ShardError::BadEntry("item label"))?;
    let op = Op::from_slice(&item.op).ok_or(ShardError::BadEntry("item op"))?;
    let bytes = u32::try_from(item.sealed.len()).map_err(|_| ShardError::BadEntry("bytes of an item"))?;
    Ok((label, op, bytes))
}

fn encode(waiting: &Waiting, item: &wire::InboxItem) -> Vec<u8> {
    wire::InboxRecord {
        version: ENTRY_VERSION,
        op: item.op.clone(),
        epoch: item.epoch,
        arrival: waiting.arrival,
        sealed: item.sealed.clone(),
    }
    .encode_to_vec()
}

/// `None` if the record is damaged or from a later version.
pub(super) fn decode(stored: &[u8]) -> Option<(Waiting, SealedItem)> {
    let record = wire::InboxRecord::decode(stored).ok()?;
    let waiting = Waiting {
        op: Op::from_slice(&record.op)?,
        arrival: record.arrival,
        bytes: u32::try_from(record.sealed.len()).ok()?,
    };
    let sealed = SealedItem {
        epoch: KeyEpoch(record.epoch),
        sealed: record.sealed.to_vec(),
    };
    (record.version == ENTRY_VERSION).then_some((waiting, sealed))
}

/// What waits in an index's inbox, if memory tells: nothing of it has to be read, and storage is not ahead.
pub(crate) fn list(directory: &Directory, request: &InboxRequest) -> Result<Option<InboxReply>, ShardError> {
    if directory.is_inbox_changing(request.index) {
        return Ok(None);
    }
    let listed = listed(directory, request.index)?;
    let known = listed.waiting.iter().all(|item| item.arrival <= request.seen);
    Ok(known.then_some(listed))
}

fn listed(directory: &Directory, index: IndexId) -> Result<InboxReply, ShardError> {
    let (state, waiting) = directory.inbox(index).ok_or(ShardError::UnknownIndex)?;
    let item = |(label, waiting): (ItemLabel, Waiting)| WaitingItem {
        label,
        op: waiting.op,
        arrival: waiting.arrival,
        sealed: None,
    };
    Ok(InboxReply {
        bytes: state.bytes,
        arrivals: state.arrivals,
        departed: state.departed,
        waiting: waiting.into_iter().map(item).collect(),
    })
}

/// What waits in an index's inbox; with it comes what is sealed of those that arrived after the last one seen, as they
/// are now. Those that leave meanwhile are left out, and counted as departed.
pub(crate) fn read(
    database: &Database,
    directory: &Directory,
    request: &InboxRequest,
) -> Result<InboxReply, ShardError> {
    // What anybody may have seen in storage before this look is in memory then.
    directory.settle();
    let mut listed = listed(directory, request.index)?;
    let keys = Keys::new(request.partition, request.index);
    let view = database.latest();
    let mut waiting = Vec::with_capacity(listed.waiting.len());
    for mut item in listed.waiting {
        if item.arrival > request.seen {
            let Some(stored) = view.get(Family::Inbox, &keys.item(&item.label))? else {
                continue;
            };
            let (now, sealed) = decode(&stored).ok_or(ShardError::Corrupt("inbox"))?;
            (item.op, item.arrival, item.sealed) = (now.op, now.arrival, Some(sealed));
        }
        waiting.push(item);
    }
    listed.waiting = waiting;
    directory.settle();
    let now = directory.inbox_state(request.index);
    listed.departed = now.ok_or(ShardError::UnknownIndex)?.departed;
    Ok(listed)
}
