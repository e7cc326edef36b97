//! A partition on a real database, and shorthands for its entries.

mod block_rules;
mod crash;
mod epochs;
mod inbox;
mod model;
mod rules;
mod snapshot;

use super::index_state::WriteKey;
use super::{Directory, Partition};
use crate::storage::{Database, Family};
use prost::Message;
use sealdex_consensus::{Entry, LogIndex, Mark, Space, StateMachine};
use sealdex_core::{ClusterLabel, Generation, PartitionId};
use sealdex_index::dataplane::{Applied, ShardError};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;
use sealdex_proto::partition::entry::Command;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const PARTITION: PartitionId = PartitionId(2);

/// What every index here is begun with.
const WRITE_KEY: WriteKey = WriteKey {
    epoch: 1,
    public: [7; 32],
};

type Reply = Result<Applied, ShardError>;

/// A partition that can be closed and opened again.
struct Bench {
    home: TempDir,
    open: Option<(Arc<Database>, Partition)>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            home: tempfile::tempdir().unwrap(),
            open: None,
        };
        bench.reopen();
        bench
    }

    fn reopen(&mut self) {
        if let Some((database, _)) = &self.open {
            database.flush().unwrap();
        }
        self.open = None;
        self.open = Some(open(self.home.path()).unwrap());
    }

    fn partition(&mut self) -> &mut Partition {
        &mut self.open.as_mut().unwrap().1
    }

    fn database(&self) -> &Database {
        &self.open.as_ref().unwrap().0
    }

    /// The last entry that was applied.
    fn applied(&mut self) -> LogIndex {
        self.partition().mark().map_or(LogIndex(0), |mark| mark.index())
    }

    /// Applies entries together.
    fn apply(&mut self, entries: Vec<wire::Entry>) -> Vec<Reply> {
        let mut index = self.applied().0;
        let numbered = |entry: wire::Entry| {
            index += 1;
            Entry {
                index: LogIndex(index),
                payload: entry.encode_to_vec().into(),
            }
        };
        let entries: Vec<Entry> = entries.into_iter().map(numbered).collect();
        self.partition()
            .apply(&entries, &Mark::at(LogIndex(index)))
            .unwrap()
    }

    /// Applies one entry.
    fn run(&mut self, entry: wire::Entry) -> Reply {
        self.apply(vec![entry]).remove(0)
    }

    /// All records of a family.
    fn records(&self, family: Family) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let all = self.database().latest().range(family, b"", vec![0xff; 64]);
        all.map(|record| record.unwrap())
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    /// The directory as readers see it is the one that would be loaded from storage.
    fn check_directory(&mut self) {
        let stored = Directory::load(&self.database().latest(), PARTITION).unwrap();
        assert!(self.partition().directory().is_same_as(&stored));
    }
}

fn open(home: &Path) -> Result<(Arc<Database>, Partition), ShardError> {
    let space = Arc::new(Space::open(home, Some(0)).unwrap());
    let database = Arc::new(Database::open(home, 1 << 20, 2, space)?);
    let partition = Partition::open(Arc::clone(&database), PARTITION)?;
    Ok((database, partition))
}

fn label(n: u8) -> bytes::Bytes {
    vec![n; 16].into()
}

fn entry(index: u64, command: Command) -> wire::Entry {
    wire::Entry {
        version: ENTRY_VERSION,
        index,
        command: Some(command),
    }
}

fn begin(index: u64, generation: u32) -> wire::Entry {
    entry(
        index,
        Command::BeginGeneration(wire::BeginGeneration {
            generation,
            epoch: WRITE_KEY.epoch,
            write_key: WRITE_KEY.public.to_vec().into(),
        }),
    )
}

fn retire(index: u64, generation: u32) -> wire::Entry {
    entry(
        index,
        Command::RetireGeneration(wire::RetireGeneration { generation }),
    )
}

fn drop_index(index: u64) -> wire::Entry {
    entry(index, Command::DropIndex(wire::DropIndex {}))
}

fn block(id: u8, rows: u32) -> wire::Block {
    wire::Block {
        id: label(id),
        rows,
        sealed: sealed(id, rows).into(),
    }
}

/// What stands for the sealed bytes of a block.
fn sealed(id: u8, rows: u32) -> Vec<u8> {
    vec![id; rows as usize + 3]
}

/// Appends blocks (id, rows) to one cluster.
fn append(index: u64, generation: u32, cluster: u8, blocks: &[(u8, u32)]) -> wire::Entry {
    let blocks = blocks.iter().map(|(id, rows)| block(*id, *rows)).collect();
    let clusters = vec![wire::ClusterBlocks {
        cluster: label(cluster),
        blocks,
    }];
    entry(
        index,
        Command::AppendBlocks(wire::AppendBlocks { generation, clusters }),
    )
}

fn replace(index: u64, generation: u32, cluster: u8, old: &[u8], new: &[(u8, u32)]) -> wire::Entry {
    let old_blocks = old.iter().map(|id| label(*id)).collect();
    let new_blocks = new.iter().map(|(id, rows)| block(*id, *rows)).collect();
    let command = wire::ReplaceBlocks {
        generation,
        cluster: label(cluster),
        old_blocks,
        new_blocks,
    };
    entry(index, Command::ReplaceBlocks(command))
}

/// An item with rows (generation, cluster). Its records tell label and op.
fn item(of: u8, op: u8, rows: &[(u32, u8)], contents: bool) -> wire::Item {
    wire::Item {
        label: label(of),
        op: label(op),
        rows: rows
            .iter()
            .map(|(g, c)| wire::RowPlace {
                generation: *g,
                cluster: label(*c),
            })
            .collect(),
        vector: vec![b'v', of, op].into(),
        meta: vec![b'm', of, op].into(),
        contents: contents.then(|| vec![b'c', of, op].into()),
    }
}

fn commit(index: u64, items: Vec<wire::Item>) -> wire::Entry {
    entry(index, Command::CommitItems(wire::CommitItems { items }))
}

fn promote(index: u64, items: Vec<wire::Item>) -> wire::Entry {
    entry(index, Command::PromoteItems(wire::PromoteItems { items }))
}

/// What stands for an item that is sealed to the index's public key.
fn inbox_sealed(of: u8, op: u8) -> Vec<u8> {
    vec![b'w'; 4 + usize::from(of + op)]
}

/// Puts items (label, op) into the inbox.
fn put_inbox(index: u64, items: &[(u8, u8)]) -> wire::Entry {
    let item = |(of, op): &(u8, u8)| wire::InboxItem {
        label: label(*of),
        op: label(*op),
        epoch: WRITE_KEY.epoch,
        sealed: inbox_sealed(*of, *op).into(),
    };
    let items = items.iter().map(item).collect();
    entry(index, Command::PutInbox(wire::PutInbox { items }))
}

fn delete(index: u64, labels: &[u8]) -> wire::Entry {
    entry(
        index,
        Command::DeleteItems(wire::DeleteItems {
            labels: labels.iter().map(|l| label(*l)).collect(),
        }),
    )
}

fn put_blobs(index: u64, generation: u32, labels: &[u8]) -> wire::Entry {
    put_blobs_of(index, generation, labels, |l| vec![b'b', l])
}

fn remove_blobs(index: u64, generation: u32, labels: &[u8]) -> wire::Entry {
    put_blobs_of(index, generation, labels, |_| Vec::new())
}

fn put_blobs_of(index: u64, generation: u32, labels: &[u8], sealed: impl Fn(u8) -> Vec<u8>) -> wire::Entry {
    let blobs = labels
        .iter()
        .map(|l| wire::Blob {
            label: label(*l),
            sealed: sealed(*l).into(),
        })
        .collect();
    entry(index, Command::PutBlobs(wire::PutBlobs { generation, blobs }))
}

fn pin(index: u64, epoch: u32) -> wire::Entry {
    let write_key = key_of(epoch).public.to_vec().into();
    entry(
        index,
        Command::PinWriteKey(wire::PinWriteKey { epoch, write_key }),
    )
}

fn drop_keys(index: u64, epoch: u32) -> wire::Entry {
    entry(index, Command::DropWriteKeys(wire::DropWriteKeys { epoch }))
}

/// The write key of an epoch after the first.
fn key_of(epoch: u32) -> WriteKey {
    WriteKey {
        epoch,
        public: [epoch as u8; 32],
    }
}

/// Seals the vectors of items again, as (label, op).
fn reseal(index: u64, items: &[(u8, u8)]) -> wire::Entry {
    let items = items
        .iter()
        .map(|(of, op)| wire::ResealedItem {
            label: label(*of),
            op: label(*op),
            vector: Some(vec![b'V', *of, *op].into()),
            ..Default::default()
        })
        .collect();
    entry(index, Command::ResealItems(wire::ResealItems { items }))
}

/// The reply to what has nothing to report.
const OK: Reply = Ok(Applied {
    created: 0,
    removed: 0,
    orphaned: Vec::new(),
    crowded: Vec::new(),
});

fn created(created: u64) -> Reply {
    Ok(Applied {
        created,
        ..Applied::default()
    })
}

fn orphaned(rows: &[(u32, u8)]) -> Vec<(Generation, ClusterLabel)> {
    rows.iter()
        .map(|(generation, cluster)| (Generation(*generation), ClusterLabel([*cluster; 16])))
        .collect()
}
