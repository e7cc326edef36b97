//! A state machine for tests: numbered keys whose versions only grow, so that a command may come twice. Deleting is a
//! version too, and leaves a tombstone.

use crate::{Entry, LogIndex, Mark, SnapshotReader, StateMachine, StorageFault};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sets `key` to `version`, unless it has a later one. `deleted` leaves a tombstone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Command {
    pub(crate) key: u16,
    pub(crate) version: u64,
    pub(crate) deleted: bool,
}

impl Command {
    pub(crate) fn set(key: u16, version: u64) -> Bytes {
        let deleted = false;
        Self {
            key,
            version,
            deleted,
        }
        .encode()
    }

    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = self.key.to_le_bytes().to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.push(u8::from(self.deleted));
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            key: u16::from_le_bytes(bytes[..2].try_into().unwrap()),
            version: u64::from_le_bytes(bytes[2..10].try_into().unwrap()),
            deleted: bytes[10] != 0,
        }
    }
}

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Plants {
    /// Says that everything is durable at once.
    pub(crate) lies_about_durable: bool,
    /// Leaves tombstones out of snapshots, and does not clear what was there when one is installed.
    pub(crate) loses_tombstones: bool,
}

/// State that is compared byte by byte.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct State {
    pub(crate) keys: BTreeMap<u16, (u64, bool)>,
    /// Of all commands in their order.
    pub(crate) history: u64,
    mark: Option<Vec<u8>>,
}

impl State {
    pub(crate) fn version(&self, key: u16) -> u64 {
        self.keys.get(&key).map_or(0, |(version, _)| *version)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.history.to_le_bytes().to_vec();
        for (key, (version, deleted)) in &self.keys {
            bytes.extend(key.to_le_bytes());
            bytes.extend(version.to_le_bytes());
            bytes.push(u8::from(*deleted));
        }
        bytes
    }
}

/// What outlives a crash, and what readers of a running node see.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) durable: Arc<Mutex<State>>,
    pub(crate) live: Arc<Mutex<State>>,
    /// Entries in each call of `apply`.
    batches: Arc<Mutex<Vec<usize>>>,
}

pub(crate) struct Ledger {
    disk: Disk,
    plants: Plants,
}

impl Ledger {
    /// As a start after a crash finds it.
    pub(crate) fn open(disk: &Disk, plants: Plants) -> Self {
        *disk.live.lock() = disk.durable.lock().clone();
        Self {
            disk: disk.clone(),
            plants,
        }
    }

    pub(crate) fn batches(disk: &Disk) -> Vec<usize> {
        disk.batches.lock().clone()
    }

    pub(crate) fn durable_index(disk: &Disk) -> LogIndex {
        mark_of(&disk.durable.lock()).map_or(LogIndex(0), |mark| mark.index())
    }
}

fn mark_of(state: &State) -> Option<Mark> {
    state.mark.as_ref().map(|bytes| Mark::from_bytes(bytes).unwrap())
}

impl StateMachine for Ledger {
    /// The version before, and the index.
    type Reply = (u64, u64);

    fn apply(&mut self, entries: &[Entry], mark: &Mark) -> Result<Vec<Self::Reply>, StorageFault> {
        self.disk.batches.lock().push(entries.len());
        let mut state = self.disk.live.lock();
        let mut replies = Vec::new();
        for entry in entries {
            if entry.payload == "fail" {
                return Err(StorageFault::new("no"));
            }
            assert_ne!(entry.payload, "panic");
            let command = Command::decode(&entry.payload);
            let before = state.version(command.key);
            if command.version > before {
                state.keys.insert(command.key, (command.version, command.deleted));
            }
            state.history = entry.payload.iter().fold(state.history, |hash, byte| {
                (hash ^ u64::from(*byte))
                    .wrapping_mul(0x0100_0000_01b3)
                    .rotate_left(5)
            });
            replies.push((before, entry.index.0));
        }
        state.mark = Some(mark.as_bytes().to_vec());
        // A storage engine flushes when it likes.
        if mark.index().0.is_multiple_of(17) && !self.plants.lies_about_durable {
            *self.disk.durable.lock() = state.clone();
        }
        Ok(replies)
    }

    fn mark(&self) -> Option<Mark> {
        mark_of(&self.disk.live.lock())
    }

    fn flush(&mut self) -> Result<(), StorageFault> {
        if !self.plants.lies_about_durable {
            *self.disk.durable.lock() = self.disk.live.lock().clone();
        }
        Ok(())
    }

    fn durable(&self) -> Result<Option<Mark>, StorageFault> {
        if self.plants.lies_about_durable {
            return Ok(self.mark());
        }
        Ok(mark_of(&self.disk.durable.lock()))
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageFault> {
        let state = self.disk.live.lock();
        let mut chunks = vec![Bytes::copy_from_slice(&state.history.to_le_bytes())];
        for (key, (version, deleted)) in &state.keys {
            if *deleted && self.plants.loses_tombstones {
                continue;
            }
            let (key, version, deleted) = (*key, *version, *deleted);
            chunks.push(
                Command {
                    key,
                    version,
                    deleted,
                }
                .encode(),
            );
        }
        Ok(Box::new(Chunks(chunks.into_iter())))
    }

    fn install(&mut self, snapshot: &mut dyn SnapshotReader, mark: &Mark) -> Result<(), StorageFault> {
        let mut state = State::default();
        if self.plants.loses_tombstones {
            state.keys = self.disk.live.lock().keys.clone();
        }
        let history = snapshot.next_chunk()?.ok_or_else(|| StorageFault::new("empty"))?;
        state.history = u64::from_le_bytes(history[..].try_into().unwrap());
        while let Some(chunk) = snapshot.next_chunk()? {
            let command = Command::decode(&chunk);
            state.keys.insert(command.key, (command.version, command.deleted));
        }
        state.mark = Some(mark.as_bytes().to_vec());
        *self.disk.live.lock() = state;
        Ok(())
    }
}

struct Chunks(std::vec::IntoIter<Bytes>);

impl SnapshotReader for Chunks {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageFault> {
        Ok(self.0.next())
    }
}
