//! A partition's state machine: entries in, one batch and one reply per entry out.

use super::changes::{Changes, Halt};
use super::directory::Directory;
use super::snapshot::{self, PartitionReader};
use super::{blocks, generations, inbox, items, write_keys};
use crate::storage::{Database, Family, partition_key};
use prost::Message;
use sealdex_consensus::{Entry, Mark, SnapshotReader, StateMachine, StorageFault};
use sealdex_core::{IndexId, PartitionId};
use sealdex_index::dataplane::{Applied, ShardError};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;
use std::sync::Arc;

const MARK_VERSION: u8 = 2;

/// One partition's records, and the only one who changes them.
pub(crate) struct Partition {
    id: PartitionId,
    database: Arc<Database>,
    directory: Arc<Directory>,
    mark: Option<Mark>,
}

impl Partition {
    /// Takes up where the last flush left off.
    pub(crate) fn open(database: Arc<Database>, id: PartitionId) -> Result<Self, ShardError> {
        let record = database.latest().get(Family::State, &partition_key(id))?;
        let mark = record.map(|record| decode_mark(&record)).transpose()?;
        if mark.is_none() {
            // Nothing yet, or half of a snapshot, which is installed again.
            snapshot::clear(&database, id).map_err(|fault| ShardError::Storage(fault.reason))?;
        }
        let directory = Arc::new(Directory::load(&database.latest(), id)?);
        Ok(Self {
            id,
            database,
            directory,
            mark,
        })
    }

    /// What readers see of the partition.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Writes the mark alone, as the last step of what made the partition whole.
    fn write_mark(&mut self, mark: &Mark) -> Result<(), StorageFault> {
        let mut batch = self.database.batch();
        batch.put_joined(
            Family::State,
            &partition_key(self.id),
            &[MARK_VERSION],
            mark.as_bytes(),
        );
        self.database.commit(batch.finish())?;
        self.mark = Some(mark.clone());
        Ok(())
    }
}

impl StateMachine for Partition {
    type Reply = Result<Applied, ShardError>;

    fn apply(&mut self, entries: &[Entry], mark: &Mark) -> Result<Vec<Self::Reply>, StorageFault> {
        if entries.is_empty() {
            self.write_mark(mark)?;
            return Ok(Vec::new());
        }
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
        batch.put_joined(
            Family::State,
            &partition_key(self.id),
            &[MARK_VERSION],
            mark.as_bytes(),
        );
        let writing = self.directory.writing();
        self.directory.announce(&changed);
        self.database.commit(batch.finish())?;
        self.directory.publish(changed);
        drop(writing);
        self.mark = Some(mark.clone());
        Ok(replies)
    }

    fn mark(&self) -> Option<Mark> {
        self.mark.clone()
    }

    fn flush(&mut self) -> Result<(), StorageFault> {
        self.database.flush().map_err(fault)
    }

    fn durable(&self) -> Result<Option<Mark>, StorageFault> {
        let record = self.database.durable(Family::State, &partition_key(self.id));
        let mark = record.and_then(|record| record.map(|record| decode_mark(&record)).transpose());
        mark.map_err(fault)
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageFault> {
        Ok(Box::new(PartitionReader::start(&self.database, self.id)?))
    }

    fn install(&mut self, snapshot: &mut dyn SnapshotReader, mark: &Mark) -> Result<(), StorageFault> {
        self.mark = None;
        let writing = self.directory.writing();
        self.directory.begin_replacing();
        super::snapshot::clear(&self.database, self.id)?;
        while let Some(chunk) = snapshot.next_chunk()? {
            super::snapshot::write(&self.database, self.id, chunk)?;
        }
        let installed = Directory::load(&self.database.latest(), self.id).map_err(fault)?;
        self.directory.replace(installed);
        drop(writing);
        self.write_mark(mark)?;
        self.flush()
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

fn decode_mark(record: &[u8]) -> Result<Mark, ShardError> {
    let mark = match record.split_first() {
        Some((&MARK_VERSION, mark)) => Mark::from_bytes(mark).ok(),
        _ => None,
    };
    mark.ok_or(ShardError::Corrupt("mark of what was applied"))
}

fn fault(error: ShardError) -> StorageFault {
    StorageFault {
        reason: error.to_string(),
    }
}
