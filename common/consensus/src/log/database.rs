//! The database of a process's logs, apart from that of its state: it is synced with every write, and the state is not.
//! Blocks; whoever calls it is not on an async thread.

use super::keys::{self, Meta};
use crate::raft::format::{self, FormatError, WireLogId, WireVote};
use crate::raft::types::{Entry, LogId, Vote};
use crate::{GroupId, LogError, LogIndex, Space, StorageFault, Watermark, WatermarkError, check_logs};
use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType,
    DBRecoveryMode, Direction, ErrorKind, FlushOptions, IteratorMode, LogLevel, Options, ReadOptions,
    WriteBatch, WriteOptions, properties,
};
use serde::Serialize;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const MIB: usize = 1024 * 1024;
const ENTRIES: &str = "raft_log";
const META: &str = "raft_meta";

/// Entries in memory before they are moved into tables. With luck they are purged before that.
const MEMTABLE_BYTES: usize = 32 * MIB;

/// RocksDB's own log, to be read again after a crash.
const WAL_BYTES_MAX: u64 = 128 * MIB as u64;

/// Memtables and tables of what is read again from it, against its bytes.
const COPIES_IN_RECOVERY: u64 = 2;

/// See the module.
pub(crate) struct Database {
    db: DB,
    space: Arc<Space>,
    watermark: Watermark,
    writes: Mutex<u64>,
}

/// Why the logs cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogStoreError {
    #[error(transparent)]
    Frames(#[from] LogError),
    #[error(transparent)]
    Watermark(#[from] WatermarkError),
    #[error("the log cannot be read: {0}; restore this node from a replica or a backup")]
    Damaged(#[from] FormatError),
    #[error("the log cannot be opened: {0}")]
    Storage(#[from] rocksdb::Error),
    #[error("the log cannot be opened: {0}")]
    Io(#[from] std::io::Error),
}

impl From<LogStoreError> for std::io::Error {
    fn from(error: LogStoreError) -> Self {
        Self::other(error)
    }
}

/// What is kept of one group.
pub(super) struct Stored {
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    pub(super) forgotten: Option<LogId>,
}

impl Database {
    /// Opens or creates the database in `folder`. An error if it comes back with less than was synced.
    pub(crate) fn open(folder: &Path, space: Arc<Space>) -> Result<Self, LogStoreError> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join("db");
        check_logs(&path)?;
        let mut options = options();
        let mut memtable_bytes = MEMTABLE_BYTES;
        // Recovery moves RocksDB's own log into tables, if there is room for them. If there is not, it stays where it is.
        let recovered = COPIES_IN_RECOVERY * wal_bytes(&path);
        if !space.has(recovered) {
            tracing::warn!(
                recovered,
                "the disk is almost full: the log of the last run is read again and not moved"
            );
            space.give_headroom();
            options = options.get_options_from_string("avoid_flush_during_recovery=true")?;
            // A memtable that is full would be flushed all the same.
            memtable_bytes = memtable_bytes.max(recovered as usize);
        }
        let families = [ENTRIES, META].map(|name| ColumnFamilyDescriptor::new(name, family(memtable_bytes)));
        let db = DB::open_cf_descriptors(&options, path, families)?;
        space.keep_headroom();
        let writes = match db.get_cf(handle(&db, META), keys::WRITES)? {
            Some(record) => format::take(&mut format::open_record(record.into())?)?,
            None => 0,
        };
        let watermark = Watermark::open(&folder.join("watermark"), 1)?;
        watermark.recovered(0, LogIndex(writes))?;
        Ok(Self {
            db,
            space,
            watermark,
            writes: Mutex::new(writes),
        })
    }

    /// Begins a batch of changes.
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            db: &self.db,
            inner: WriteBatch::default(),
        }
    }

    /// Writes a batch, all of it or nothing, and returns when it is on the disk and the watermark says so. A full disk is
    /// waited out. After an error nothing may be written any more.
    pub(super) fn commit(&self, mut batch: Batch<'_>) -> Result<(), StorageFault> {
        let mut writes = self.writes.lock();
        *writes += 1;
        batch.put_meta(keys::WRITES, &*writes);
        let mut options = WriteOptions::default();
        options.set_sync(true);
        let write = || {
            self.db
                .write_opt(WriteBatch::from_data(batch.inner.data()), &options)
        };
        self.space.outlast(is_full, write).map_err(StorageFault::new)?;
        self.watermark
            .reached(0, LogIndex(*writes))
            .map_err(StorageFault::new)
    }

    /// What is there of a group.
    pub(super) fn load(&self, group: GroupId) -> Result<Stored, LogStoreError> {
        let id = |meta| -> Result<Option<LogId>, LogStoreError> {
            Ok(self.get_meta::<WireLogId>(group, meta)?.map(Into::into))
        };
        let vote: Option<WireVote> = self.get_meta(group, Meta::Vote)?;
        let purged = id(Meta::Purged)?;
        Ok(Stored {
            vote: vote.map(Into::into),
            purged,
            last: self.last(group)?.max(purged),
            forgotten: id(Meta::Forgotten)?,
        })
    }

    /// Entries of `range`, as many as fit into `bytes_max`, but one at least. An error if one of them is missing or damaged.
    pub(super) fn read(
        &self,
        group: GroupId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, LogStoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::entry(group, range.end));
        let from = keys::entry(group, range.start);
        let records = self.db.iterator_cf_opt(
            handle(&self.db, ENTRIES),
            options,
            IteratorMode::From(&from, Direction::Forward),
        );
        let mut entries = Vec::new();
        let mut expected = range.start;
        let mut bytes = 0;
        for record in records {
            let (key, value) = record?;
            let entry = open_entry(&key, value, group)?;
            if entry.log_id.index != expected {
                return Err(FormatError("an entry of the log is missing").into());
            }
            bytes += entry_bytes(&entry);
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
            expected += 1;
        }
        if expected < range.end {
            return Err(FormatError("entries of the log are missing").into());
        }
        Ok(entries)
    }

    /// Whether the disk has room for what is in memory only. A flush that meets the end of the disk would stop all writes.
    pub(super) fn has_room_to_flush(&self) -> bool {
        let in_memory = |name| {
            let bytes = self
                .db
                .property_int_value_cf(handle(&self.db, name), properties::CUR_SIZE_ALL_MEM_TABLES);
            bytes.ok().flatten().unwrap_or(0)
        };
        self.space
            .has(COPIES_IN_RECOVERY * (in_memory(ENTRIES) + in_memory(META)))
    }

    /// Rewrites the files that hold a group's entries, so that what was purged is in none of them any more.
    pub(super) fn erase_purged(&self, group: GroupId) -> Result<(), LogStoreError> {
        let families = [ENTRIES, META].map(|name| handle(&self.db, name));
        self.db.flush_cfs_opt(&families, &FlushOptions::default())?;
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(
            families[0],
            Some(keys::entry(group, 0)),
            keys::end(group),
            &options,
        );
        Ok(())
    }

    fn last(&self, group: GroupId) -> Result<Option<LogId>, LogStoreError> {
        let from = keys::entry(group, u64::MAX);
        let mode = IteratorMode::From(&from, Direction::Reverse);
        let Some(record) = self.db.iterator_cf(handle(&self.db, ENTRIES), mode).next() else {
            return Ok(None);
        };
        let (key, value) = record?;
        if keys::index_in(group, &key).is_none() {
            return Ok(None);
        }
        Ok(Some(open_entry(&key, value, group)?.log_id))
    }

    fn get_meta<T: serde::de::DeserializeOwned>(
        &self,
        group: GroupId,
        meta: Meta,
    ) -> Result<Option<T>, LogStoreError> {
        let record = self.db.get_cf(handle(&self.db, META), keys::meta(group, meta))?;
        Ok(record
            .map(|record| format::take(&mut format::open_record(record.into())?))
            .transpose()?)
    }
}

/// Changes that become durable together.
pub(super) struct Batch<'a> {
    db: &'a DB,
    inner: WriteBatch,
}

impl Batch<'_> {
    pub(super) fn append(&mut self, group: GroupId, entry: &Entry) {
        self.inner.put_cf(
            handle(self.db, ENTRIES),
            keys::entry(group, entry.log_id.index),
            format::record(|out| format::put_entry(out, entry)),
        );
    }

    pub(super) fn delete(&mut self, group: GroupId, range: Range<u64>) {
        self.inner.delete_range_cf(
            handle(self.db, ENTRIES),
            keys::entry(group, range.start),
            keys::entry(group, range.end),
        );
    }

    pub(super) fn vote(&mut self, group: GroupId, vote: Vote) {
        self.put_meta(&keys::meta(group, Meta::Vote), &WireVote::from(vote));
    }

    pub(super) fn purged(&mut self, group: GroupId, upto: LogId) {
        self.put_meta(&keys::meta(group, Meta::Purged), &WireLogId::from(upto));
    }

    /// Everything of the group goes but its vote, and the id of the last entry it had.
    pub(super) fn forget(&mut self, group: GroupId, last: Option<LogId>) {
        self.delete(group, 0..u64::MAX);
        self.inner
            .delete_cf(handle(self.db, META), keys::meta(group, Meta::Purged));
        if let Some(last) = last {
            self.put_meta(&keys::meta(group, Meta::Forgotten), &WireLogId::from(last));
        }
    }

    pub(super) fn recalled(&mut self, group: GroupId) {
        self.inner
            .delete_cf(handle(self.db, META), keys::meta(group, Meta::Forgotten));
    }

    fn put_meta(&mut self, key: &[u8], value: &impl Serialize) {
        let record = format::record(|out| format::put(out, value));
        self.inner.put_cf(handle(self.db, META), key, record);
    }
}

/// What an entry takes in memory and in messages, about.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    const OTHER: usize = 64;
    match &entry.payload {
        crate::raft::types::Payload::Normal(command) => command.0.len() + OTHER,
        _ => OTHER,
    }
}

fn open_entry(key: &[u8], value: Box<[u8]>, group: GroupId) -> Result<Entry, FormatError> {
    let mut content = format::open_record(Bytes::from(value))?;
    let entry = format::take_entry(&mut content)?;
    if !content.is_empty() || keys::index_in(group, key) != Some(entry.log_id.index) {
        return Err(FormatError("an entry of the log is in the wrong place"));
    }
    Ok(entry)
}

/// What is left in RocksDB's own log to be read again, before the database is opened.
fn wal_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    let logs = files.filter(|file| {
        file.path()
            .extension()
            .is_some_and(|extension| extension == "log")
    });
    logs.filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// RocksDB's word for ENOSPC, of a write itself or of a flush that stopped all writes.
fn is_full(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && AsRef::<str>::as_ref(error).contains("No space left on device")
}

fn handle<'a>(db: &'a DB, family: &str) -> &'a ColumnFamily {
    db.cf_handle(family)
        .expect("every family is created when the database is opened")
}

fn family(memtable_bytes: usize) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(memtable_bytes);
    // Entries are sealed: they do not shrink.
    options.set_compression_type(DBCompressionType::None);
    options
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Damage is an error, never something to read around. After a crash the log's torn end is dropped, and the watermark
    // tells whether it was an end.
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    // Both families together, so that the number of writes vouches for what was written.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_bytes_per_sync(MIB as u64);
    options.set_log_level(LogLevel::Warn);
    options.set_manifest_preallocation_size(64 * 1024);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * MIB);
    options.set_stats_dump_period_sec(0);
    options
}
