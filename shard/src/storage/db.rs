//! The database of a node: opening it, reading it consistently, and the one way to change it.

use super::families::Family;
use rocksdb::{
    BottommostLevelCompaction, Cache, CompactOptions, DB, DBPinnableSlice, Direction, ErrorKind,
    FlushOptions, IteratorMode, LogLevel, Options, ReadOptions, ReadTier, SnapshotWithThreadMode, WriteBatch,
    WriteOptions, properties::CUR_SIZE_ALL_MEM_TABLES,
};
use sealdex_consensus::{Space, StorageFault, check_logs};
use sealdex_index::dataplane::ShardError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;

/// Memtables of all families together, so that a bulk load into all of them at once cannot take more.
const MEMTABLE_BYTES_MAX: usize = 192 * MIB;

/// What may have to be applied again from the groups' log after a crash was in memtables before, and takes no more in them now.
const RECOVERY_BYTES_MAX: usize = 2 * MEMTABLE_BYTES_MAX;

/// Open files at most: 32 GiB of tables before any has to be opened twice.
const OPEN_FILES_MAX: i32 = 512;

/// How long a purge waits for readers that began before it, and how often it looks.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(60);
const SNAPSHOT_LOOK_EVERY: Duration = Duration::from_millis(10);

/// One RocksDB for all partitions of a node. It keeps no log of its own: what is not in tables yet is in the groups'
/// log, and is applied again from there after a crash.
pub(crate) struct Database {
    db: DB,
    /// Compactions end without having done their work.
    giving_up: AtomicBool,
    space: Arc<Space>,
}

/// A value where RocksDB keeps it; nothing is copied.
pub(crate) type Pinned<'a> = DBPinnableSlice<'a>;

impl Database {
    /// Opens or creates the database in `directory`, whose disk `space` watches. `threads` serve flushes and compactions.
    pub(crate) fn open(
        directory: &Path,
        block_cache_bytes: usize,
        threads: usize,
        space: Arc<Space>,
    ) -> Result<Self, ShardError> {
        let path = directory.join("db");
        check_logs(&path).map_err(|error| ShardError::Storage(error.to_string()))?;
        let cache = Cache::new_hyper_clock_cache(block_cache_bytes, 0);
        let mut options = options(threads);
        let mut memtable_bytes_min = 0;
        if !space.has(RECOVERY_BYTES_MAX as u64) {
            tracing::warn!("the disk is almost full: what is read from the log again stays in memory");
            space.give_headroom();
            // A memtable that is full would be flushed.
            memtable_bytes_min = RECOVERY_BYTES_MAX;
            options.set_db_write_buffer_size(RECOVERY_BYTES_MAX);
        }
        let families = Family::ALL.map(|family| family.descriptor(&cache, memtable_bytes_min));
        let db = DB::open_cf_descriptors(&options, path, families).map_err(read_error)?;
        space.keep_headroom();
        Ok(Self {
            db,
            giving_up: AtomicBool::new(false),
            space,
        })
    }

    /// The disk it is on.
    pub(crate) fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// A batch to be committed here.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch {
            db: &self.db,
            inner: WriteBatch::default(),
            joined: Vec::new(),
        }
    }

    /// Writes a batch, all of it or nothing, to be seen at once and durable with the next flush. Where a flush has met a
    /// full disk RocksDB takes no write; it waits until there is room.
    pub(crate) fn commit(&self, batch: WriteBatch) -> Result<(), StorageFault> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let write = || self.db.write_opt(WriteBatch::from_data(batch.data()), &options);
        let written = self.space.outlast(is_full, write);
        written.map_err(|error| StorageFault {
            reason: error.to_string(),
        })
    }

    /// What of a record would be there after a power cut.
    pub(crate) fn durable(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, ShardError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        self.db
            .get_cf_opt(handle(&self.db, family), key, &options)
            .map_err(read_error)
    }

    /// Reads what is there now. Each call to the view may see a later state.
    pub(crate) fn latest(&self) -> View<'_> {
        View {
            db: &self.db,
            snapshot: None,
            keep: true,
        }
    }

    /// Reads what is there now, and goes on seeing just that.
    pub(crate) fn snapshot(&self) -> View<'_> {
        View {
            db: &self.db,
            snapshot: Some(self.db.snapshot()),
            keep: true,
        }
    }

    /// Moves what is in memory only into tables, so that the next opening has no log to read.
    pub(crate) fn flush(&self) -> Result<(), ShardError> {
        let families = Family::ALL.map(|family| handle(&self.db, family));
        self.db
            .flush_cfs_opt(&families.each_ref(), &FlushOptions::default())
            .map_err(read_error)
    }

    /// Gives back the disk space of deleted records whose keys begin with `prefix`. Blocks until done or given up.
    pub(super) fn compact(&self, families: &[Family], prefix: &[u8]) {
        let end = super::prefix_end(prefix);
        for family in families {
            self.db
                .compact_range_cf(handle(&self.db, *family), Some(prefix), Some(&end));
        }
    }

    /// Rewrites the tables that hold records whose keys begin with `prefix`, so that what was replaced or deleted before is
    /// in no file any more. Blocks until done or given up.
    pub(super) fn purge(&self, families: &[Family], prefix: &[u8]) -> Result<(), ShardError> {
        self.flush()?;
        self.outlive_snapshots(self.last_write());
        let end = super::prefix_end(prefix);
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        // Also what lies in the last level already: a snapshot may have kept both versions when it was put there.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for family in families {
            let handle = handle(&self.db, *family);
            self.db
                .compact_range_cf_opt(handle, Some(prefix), Some(&end), &options);
        }
        if self.giving_up.load(Ordering::SeqCst) {
            return Err(ShardError::Stopped);
        }
        Ok(())
    }

    /// Waits for readers that began before `write`: a compaction keeps what they may still ask for. They last milliseconds;
    /// one that hangs is not waited for.
    fn outlive_snapshots(&self, write: u64) {
        let give_up = Instant::now() + SNAPSHOT_AGE_MAX;
        let oldest = || self.db.property_int_value("rocksdb.oldest-snapshot-sequence");
        while oldest()
            .ok()
            .flatten()
            .is_some_and(|oldest| 0 < oldest && oldest < write)
            && Instant::now() < give_up
        {
            std::thread::sleep(SNAPSHOT_LOOK_EVERY);
        }
    }

    /// Ends compactions that are under way, and all later ones. What was flushed stays; nothing can be flushed any more.
    pub(super) fn give_up_compactions(&self) {
        self.giving_up.store(true, Ordering::SeqCst);
        self.db.cancel_all_background_work(false);
    }

    /// The number of the latest write: it changes when anything is written.
    pub(super) fn last_write(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Bytes of records that are in memory and in the log, but not yet in tables.
    pub(crate) fn unwritten_bytes(&self) -> u64 {
        let of = |family| {
            let bytes = self
                .db
                .property_int_value_cf(handle(&self.db, family), CUR_SIZE_ALL_MEM_TABLES);
            bytes.ok().flatten().unwrap_or(0)
        };
        Family::ALL.map(of).into_iter().sum()
    }
}

/// Changes that become visible and durable together.
pub(crate) struct Batch<'a> {
    db: &'a DB,
    inner: WriteBatch,
    joined: Vec<u8>,
}

impl Batch<'_> {
    pub(crate) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.inner.put_cf(handle(self.db, family), key, value);
    }

    /// Puts `head` followed by `tail`.
    pub(crate) fn put_joined(&mut self, family: Family, key: &[u8], head: &[u8], tail: &[u8]) {
        self.joined.clear();
        self.joined.extend_from_slice(head);
        self.joined.extend_from_slice(tail);
        self.inner.put_cf(handle(self.db, family), key, &self.joined);
    }

    pub(crate) fn delete(&mut self, family: Family, key: &[u8]) {
        self.inner.delete_cf(handle(self.db, family), key);
    }

    /// Deletes every key that begins with `prefix`.
    pub(crate) fn delete_prefix(&mut self, family: Family, prefix: &[u8]) {
        self.inner
            .delete_range_cf(handle(self.db, family), prefix, &super::prefix_end(prefix));
    }

    /// What is to be committed.
    pub(crate) fn finish(self) -> WriteBatch {
        self.inner
    }
}

/// Reads of the database, either as it is or as it was.
pub(crate) struct View<'a> {
    db: &'a DB,
    snapshot: Option<SnapshotWithThreadMode<'a, DB>>,
    /// Whether what is read goes into the block cache.
    keep: bool,
}

impl<'a> View<'a> {
    /// For going through records once: leaves the block cache to those who come back.
    pub(crate) fn uncached(mut self) -> Self {
        self.keep = false;
        self
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Pinned<'a>>, ShardError> {
        self.db
            .get_pinned_cf_opt(handle(self.db, family), key, &self.options())
            .map_err(read_error)
    }

    /// Gets many records at once; `keys` are in ascending order. One value or `None` for each.
    pub(crate) fn get_many<K: AsRef<[u8]>>(
        &self,
        family: Family,
        keys: &[K],
    ) -> Result<Vec<Option<Pinned<'a>>>, ShardError> {
        debug_assert!(keys.is_sorted_by(|a, b| a.as_ref() <= b.as_ref()));
        self.db
            .batched_multi_get_cf_opt(handle(self.db, family), keys, true, &self.options())
            .into_iter()
            .map(|result| result.map_err(read_error))
            .collect()
    }

    /// Keys and values from `from` to before `to`, in ascending order.
    pub(crate) fn range(
        &self,
        family: Family,
        from: &[u8],
        to: Vec<u8>,
    ) -> impl Iterator<Item = Result<Record, ShardError>> + use<'a> {
        let mut options = self.options();
        options.set_iterate_upper_bound(to);
        self.db
            .iterator_cf_opt(
                handle(self.db, family),
                options,
                IteratorMode::From(from, Direction::Forward),
            )
            .map(|result| result.map_err(read_error))
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.fill_cache(self.keep);
        if let Some(snapshot) = &self.snapshot {
            options.set_snapshot(snapshot);
        }
        options
    }
}

/// Key and value.
pub(crate) type Record = (Box<[u8]>, Box<[u8]>);

fn handle(db: &DB, family: Family) -> &rocksdb::ColumnFamily {
    db.cf_handle(family.name())
        .expect("every family is created when the database is opened")
}

/// RocksDB's word for ENOSPC, of a write itself or of a flush that stopped all writes.
fn is_full(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && AsRef::<str>::as_ref(error).contains("No space left on device")
}

/// Details are logged here, because a damaged file is reported to clients by kind alone.
fn read_error(error: rocksdb::Error) -> ShardError {
    match error.kind() {
        ErrorKind::Corruption => {
            tracing::error!(%error, "rocksdb found a damaged file");
            ShardError::Corrupt("storage file")
        }
        _ => ShardError::Storage(error.to_string()),
    }
}

fn options(threads: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Damage is an error, never something to read around.
    options.set_paranoid_checks(true);
    // All families together, so that what is in tables is the state after one entry of the groups' log.
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(MEMTABLE_BYTES_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(i32::try_from(threads).unwrap_or(i32::MAX).clamp(2, 16));
    // Tables are written out as they grow, not all at once in front of a log's sync.
    options.set_bytes_per_sync(MIB as u64);
    options.set_log_level(LogLevel::Warn);
    options.set_manifest_preallocation_size(64 * 1024);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * MIB);
    options.set_stats_dump_period_sec(0);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> Result<Database, ShardError> {
        let space = Arc::new(Space::open(directory, Some(0)).unwrap());
        Database::open(directory, 8 * MIB, 2, space)
    }

    fn put(database: &Database, key: &[u8], value: &[u8]) {
        let mut batch = database.batch();
        batch.put(Family::Blobs, key, value);
        database.commit(batch.finish()).unwrap();
    }

    #[test]
    fn a_snapshot_does_not_move() {
        let directory = tempfile::tempdir().unwrap();
        let database = open(directory.path()).unwrap();
        put(&database, b"a", b"1");
        let before = database.snapshot();
        put(&database, b"a", b"2");
        assert_eq!(&*before.get(Family::Blobs, b"a").unwrap().unwrap(), b"1");
        let values = before.get_many(Family::Blobs, &[b"a", b"b"]).unwrap();
        assert_eq!(values[0].as_deref(), Some(b"1".as_slice()));
        assert!(values[1].is_none());
        assert_eq!(
            &*database.latest().get(Family::Blobs, b"a").unwrap().unwrap(),
            b"2"
        );
    }
}
