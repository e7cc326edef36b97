//! A partition's snapshot: every record of it, as it lies in storage, in chunks of about a MiB. Sealed records stay sealed;
//! who ships or keeps a snapshot learns what who has the disk learns.
//!
//! ```text
//! chunk   = one or more records
//! record  = family u8 | bytes of the key u32 LE | bytes of the value u32 LE | key | value
//! ```
//!
//! Families are numbered by their place in [`Family::ALL`].

use crate::storage::{Database, Family, View, partition_key, prefix_end};
use bytes::{Buf, Bytes};
use sealdex_consensus::{SnapshotReader, StorageFault};
use sealdex_core::PartitionId;
use sealdex_index::dataplane::ShardError;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// After so many bytes a chunk takes no further record.
const CHUNK_BYTES: usize = 1024 * 1024;

const HEADER_BYTES: usize = 9;

/// Reads a partition as it was when this was made.
pub(super) struct PartitionReader {
    chunks: Receiver<Result<Bytes, StorageFault>>,
}

impl PartitionReader {
    /// A thread reads, one chunk ahead: what RocksDB keeps for a reader cannot leave the place it was made in.
    pub(super) fn start(database: &Arc<Database>, id: PartitionId) -> Result<Self, StorageFault> {
        let (sender, chunks) = sync_channel(1);
        let (ready, began) = sync_channel::<()>(0);
        let database = Arc::clone(database);
        let read = move || {
            let view = database.snapshot().uncached();
            drop(ready);
            if let Err(error) = read(&view, id, &sender) {
                // Whoever wanted it may have gone.
                let _ = sender.send(Err(fault(error)));
            }
        };
        std::thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn(read)
            .map_err(|error| StorageFault {
                reason: error.to_string(),
            })?;
        // Nothing comes; it ends when the view is there.
        let _ = began.recv();
        Ok(Self { chunks })
    }
}

impl SnapshotReader for PartitionReader {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageFault> {
        self.chunks.recv().ok().transpose()
    }
}

/// Sends all chunks, as long as somebody takes them.
fn read(
    view: &View<'_>,
    id: PartitionId,
    sender: &SyncSender<Result<Bytes, StorageFault>>,
) -> Result<(), ShardError> {
    let prefix = partition_key(id);
    let mut chunk = Vec::new();
    for (number, family) in (0u8..).zip(Family::ALL) {
        for record in view.range(family, &prefix, prefix_end(&prefix)) {
            let (key, value) = record?;
            put(&mut chunk, number, &key, &value);
            if chunk.len() >= CHUNK_BYTES && sender.send(Ok(std::mem::take(&mut chunk).into())).is_err() {
                return Ok(());
            }
        }
    }
    if !chunk.is_empty() {
        let _ = sender.send(Ok(chunk.into()));
    }
    Ok(())
}

fn put(chunk: &mut Vec<u8>, family: u8, key: &[u8], value: &[u8]) {
    chunk.push(family);
    chunk.extend((key.len() as u32).to_le_bytes());
    chunk.extend((value.len() as u32).to_le_bytes());
    chunk.extend(key);
    chunk.extend(value);
}

/// Deletes everything of a partition, its mark included, in one batch.
pub(crate) fn clear(database: &Database, id: PartitionId) -> Result<(), StorageFault> {
    let mut batch = database.batch();
    for family in Family::ALL {
        batch.delete_prefix(family, &partition_key(id));
    }
    database.commit(batch.finish())
}

/// Writes a chunk's records. All but the mark: with it, the partition would claim to be whole.
pub(super) fn write(database: &Database, id: PartitionId, mut chunk: Bytes) -> Result<(), StorageFault> {
    let mut batch = database.batch();
    let prefix = partition_key(id);
    while chunk.has_remaining() {
        let (family, key, value) = take(&mut chunk).ok_or_else(|| damaged("a chunk ends within a record"))?;
        if !key.starts_with(&prefix) {
            return Err(damaged("a record of another partition"));
        }
        if !(family == Family::State && *key == prefix) {
            batch.put(family, &key, &value);
        }
    }
    database.commit(batch.finish())
}

fn take(chunk: &mut Bytes) -> Option<(Family, Bytes, Bytes)> {
    if chunk.len() < HEADER_BYTES {
        return None;
    }
    let family = *Family::ALL.get(usize::from(chunk.get_u8()))?;
    let (key, value) = (chunk.get_u32_le() as usize, chunk.get_u32_le() as usize);
    if chunk.len() < key.checked_add(value)? {
        return None;
    }
    Some((family, chunk.split_to(key), chunk.split_to(value)))
}

fn damaged(what: &str) -> StorageFault {
    StorageFault {
        reason: format!("a snapshot is damaged: {what}"),
    }
}

fn fault(error: ShardError) -> StorageFault {
    StorageFault {
        reason: error.to_string(),
    }
}
