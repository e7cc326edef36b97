//! A partition's state machine: entries in, one synced batch and one reply per entry out.

use super::changes::{Changes, Halt};
use super::directory::Directory;
use super::{blocks, generations, inbox, items, write_keys};
use crate::storage::{Database, Family, partition_key};
use prost::Message;
use sealdex_consensus::{Entry, LogIndex, StateMachine, StorageFault, Watermark};
use sealdex_core::{IndexId, PartitionId};
use sealdex_index::dataplane::{Applied, ShardError};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;
use std::sync::Arc;

const APPLIED_VERSION: u8 = 1;

/// One partition's records, and the only one who changes them.
pub(crate) struct Partition {
    id: PartitionId,
    database: Arc<Database>,
    watermark: Arc<Watermark>,
    directory: Arc<Directory>,
    applied: LogIndex,
}

impl Partition {
    /// Takes up where the last applied entry left off; an error if more than that was once acknowledged.
    pub(crate) fn open(
        database: Arc<Database>,
        watermark: Arc<Watermark>,
        id: PartitionId,
    ) -> Result<Self, ShardError> {
        let directory = Arc::new(Directory::load(&database.latest(), id)?);
        let applied = match database.latest().get(Family::State, &partition_key(id))? {
            Some(record) => decode_applied(&record).ok_or(ShardError::Corrupt("applied log index"))?,
            None => LogIndex(0),
        };
        watermark
            .recovered(usize::from(id.0), applied)
            .map_err(|error| ShardError::Storage(error.to_string()))?;
        Ok(Self {
            id,
            database,
            watermark,
            directory,
            applied,
        })
    }

    /// What readers see of the partition.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }
}

impl StateMachine for Partition {
    type Reply = Result<Applied, ShardError>;

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Self::Reply>, StorageFault> {
        let Some(last) = entries.last() else {
            return Ok(Vec::new());
        };
        let mut changes = Changes::new(self.id, &self.database, &self.directory);
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            replies.push(match apply_one(&mut changes, entry) {
                Ok(applied) => Ok(applied),
                Err(Halt::Refused(refusal)) => Err(refusal),
                Err(Halt::Fault(fault)) => return Err(fault),
            });
        }
        let (mut batch, changed) = changes.finish();
        batch.put(
            Family::State,
            &partition_key(self.id),
            &encode_applied(last.index),
        );
        let writing = self.directory.writing();
        self.directory.announce(&changed);
        self.database.commit(batch.finish())?;
        self.watermark
            .reached(usize::from(self.id.0), last.index)
            .map_err(|reason| StorageFault { reason })?;
        self.directory.publish(changed);
        drop(writing);
        self.applied = last.index;
        Ok(replies)
    }

    fn applied(&self) -> LogIndex {
        self.applied
    }
}

fn apply_one(changes: &mut Changes<'_>, entry: &Entry) -> Result<Applied, Halt> {
    use wire::entry::Command;
    let entry = wire::Entry::decode(entry.payload.clone()).map_err(|_| ShardError::BadEntry("encoding"))?;
    if entry.version != ENTRY_VERSION {
        return Err(ShardError::BadEntry("version").into());
    }
    let index = IndexId(entry.index);
    match entry.command.ok_or(ShardError::BadEntry("command"))? {
        Command::BeginGeneration(command) => generations::begin(changes, index, &command),
        Command::RetireGeneration(command) => generations::retire(changes, index, &command),
        Command::AppendBlocks(command) => blocks::append(changes, index, &command),
        Command::ReplaceBlocks(command) => blocks::replace(changes, index, &command),
        Command::CommitItems(command) => items::commit(changes, index, command),
        Command::DeleteItems(command) => items::delete(changes, index, &command),
        Command::PutBlobs(command) => blocks::put_blobs(changes, index, &command),
        Command::PutInbox(command) => inbox::put(changes, index, &command),
        Command::PromoteItems(command) => inbox::promote(changes, index, &command),
        Command::PinWriteKey(command) => write_keys::pin(changes, index, &command),
        Command::DropWriteKeys(command) => write_keys::drop_earlier(changes, index, &command),
        Command::ResealItems(command) => items::reseal(changes, index, &command),
        Command::DropIndex(_) => generations::drop_index(changes, index),
    }
}

fn encode_applied(applied: LogIndex) -> [u8; 9] {
    let mut record = [APPLIED_VERSION; 9];
    record[1..].copy_from_slice(&applied.0.to_be_bytes());
    record
}

fn decode_applied(record: &[u8]) -> Option<LogIndex> {
    let (&APPLIED_VERSION, number) = record.split_first()? else {
        return None;
    };
    Some(LogIndex(u64::from_be_bytes(number.try_into().ok()?)))
}
