//! The catalogue behind its log: one group, one small RocksDB, and a copy in memory that readers share.

use super::catalog_codec::{decode_command, decode_record, encode_command, encode_record};
use crate::domain::{Catalog, Command, IndexRecord, Rejection};
use parking_lot::RwLock;
use rocksdb::{DB, DBRecoveryMode, ErrorKind, Options, WriteBatch, WriteOptions};
use sealdex_consensus::{
    Entry, Full, Group, LogIndex, ProposeError, Purpose, Space, StateMachine, StorageFault, Watermark,
    check_logs,
};
use sealdex_telemetry::{Store, metrics};
use std::path::Path;
use std::sync::Arc;

const APPLIED_KEY: &[u8] = b"applied";
const INDEX_PREFIX: &[u8] = b"index/";
const QUEUE: usize = 256;

/// The catalogue is small, and so may be what its engine takes in memory and on disk beforehand.
const MEMTABLE_BYTES: usize = 1024 * 1024;
const PREALLOCATED_BYTES: usize = 64 * 1024;

/// Free space that a start without giving up the headroom takes.
const START_BYTES: u64 = 8 * 1024 * 1024;

/// The catalogue is the only group in its database.
const GROUP: usize = 0;

/// Why the catalogue did not take a command, or could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The command does not fit the catalogue's state.
    #[error("refused: {0:?}")]
    Rejected(Rejection),
    /// Too much is under way.
    #[error("too many changes are under way")]
    Busy,
    /// The disk is too full for it. The catalogue is as it was.
    #[error("{0}")]
    Full(Full),
    /// The server is stopping.
    #[error("the catalogue is stopping")]
    Stopped,
    /// Storage failed or holds what cannot be read. For the operator.
    #[error("catalogue storage: {0}")]
    Storage(String),
}

/// The catalogue: reads from memory, changes through the log.
pub struct CatalogHandle {
    view: Arc<RwLock<Catalog>>,
    group: Group<CatalogStore>,
    space: Arc<Space>,
}

impl CatalogHandle {
    /// Opens the catalogue in `path`, making it if there is none. So many bytes of the disk are kept free for what must
    /// go on when it is almost full; `None` chooses by the size of the disk. Blocks; call it before serving.
    pub fn open(path: &Path, disk_reserve_bytes: Option<u64>) -> Result<Self, CatalogError> {
        let space =
            Space::open(path, disk_reserve_bytes).map_err(|e| CatalogError::Storage(e.to_string()))?;
        let space = Arc::new(space);
        metrics().at_scrape(&space, |space| {
            if let Some(room) = space.room() {
                metrics()
                    .disk
                    .set(Store::Catalog, room.free_bytes, room.needed_bytes);
            }
        });
        let store = CatalogStore::open(path, space.clone())?;
        let view = store.view.clone();
        let group = Group::start("catalog", store, QUEUE, space.clone())
            .map_err(|e| CatalogError::Storage(e.to_string()))?;
        Ok(Self { view, group, space })
    }

    /// The index of that name.
    pub fn get(&self, name: &str) -> Option<Arc<IndexRecord>> {
        self.view.read().get(name)
    }

    /// All indexes, by name in bytewise order.
    pub fn all(&self) -> Vec<Arc<IndexRecord>> {
        self.view.read().iter().cloned().collect()
    }

    /// Changes the catalogue; returns when the change is durable. See [`Catalog::apply`] for what comes back.
    pub async fn change(&self, command: Command) -> Result<Arc<IndexRecord>, CatalogError> {
        let payload = encode_command(&command).into();
        match self.group.propose(purpose_of(&command), payload).await {
            Ok(reply) => reply,
            Err(ProposeError::Full(full)) => Err(CatalogError::Full(full)),
            Err(ProposeError::Busy) => Err(CatalogError::Busy),
            Err(ProposeError::Stopped) => Err(CatalogError::Stopped),
        }
    }

    /// Finishes what is under way and closes the log.
    pub async fn stop(&self) {
        self.space.close();
        self.group.stop().await;
    }
}

/// How far a change may go into what is kept free on the disk.
fn purpose_of(command: &Command) -> Purpose {
    match command {
        Command::Create(_)
        | Command::SetUntrainedModel { .. }
        | Command::FixDimension { .. }
        | Command::BeginTraining { .. }
        | Command::AddUser { .. }
        | Command::Rewrap { .. }
        | Command::BeginEpoch { .. } => Purpose::Grow,
        Command::FinishTraining { .. } | Command::SwitchEpoch { .. } | Command::FinishEpoch { .. } => {
            Purpose::Finish
        }
        Command::Delete { .. }
        | Command::AbortTraining { .. }
        | Command::RemoveUser { .. }
        | Command::ForgetGeneration { .. } => Purpose::Relieve,
    }
}

struct CatalogStore {
    db: DB,
    space: Arc<Space>,
    /// What was erased may still be in some file.
    unpurged: bool,
    watermark: Watermark,
    applied: LogIndex,
    view: Arc<RwLock<Catalog>>,
}

impl CatalogStore {
    fn open(path: &Path, space: Arc<Space>) -> Result<Self, CatalogError> {
        if !space.has(START_BYTES) {
            space.give_headroom();
        }
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_paranoid_checks(true);
        options.set_keep_log_file_num(4);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_manifest_preallocation_size(PREALLOCATED_BYTES);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_track_and_verify_wals_in_manifest(true);
        check_logs(&path.join("db")).map_err(|e| CatalogError::Storage(e.to_string()))?;
        let db = DB::open(&options, path.join("db")).map_err(|e| CatalogError::Storage(e.to_string()))?;
        space.keep_headroom();
        let applied = match db
            .get(APPLIED_KEY)
            .map_err(|e| CatalogError::Storage(e.to_string()))?
        {
            None => LogIndex(0),
            Some(bytes) => {
                LogIndex(u64::from_be_bytes(bytes.try_into().map_err(|_| {
                    CatalogError::Storage("applied index is damaged".into())
                })?))
            }
        };
        let watermark = Watermark::open(&path.join("watermark"), 1)
            .and_then(|watermark| watermark.recovered(GROUP, applied).map(|()| watermark))
            .map_err(|e| CatalogError::Storage(e.to_string()))?;
        let mut records = Vec::new();
        for entry in db.prefix_iterator(INDEX_PREFIX) {
            let (key, value) = entry.map_err(|e| CatalogError::Storage(e.to_string()))?;
            if key.starts_with(INDEX_PREFIX) {
                records.push(decode_record(&value).map_err(|e| CatalogError::Storage(e.to_string()))?);
            }
        }
        let mut store = Self {
            db,
            space,
            unpurged: true,
            watermark,
            applied,
            view: Arc::new(RwLock::new(Catalog::restore(records))),
        };
        // The last run may have ended between an erasure and its purge.
        store
            .purge()
            .map_err(|fault| CatalogError::Storage(fault.reason))?;
        Ok(store)
    }
}

impl StateMachine for CatalogStore {
    type Reply = Result<Arc<IndexRecord>, CatalogError>;

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Self::Reply>, StorageFault> {
        let mut catalog = self.view.read().clone();
        let mut batch = WriteBatch::default();
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            self.applied = entry.index;
            replies.push(match decode_command(&entry.payload) {
                Err(unreadable) => Err(CatalogError::Storage(unreadable.to_string())),
                Ok(command) => {
                    let deletes = matches!(command, Command::Delete { .. });
                    let erases = matches!(
                        command,
                        Command::Delete { .. }
                            | Command::RemoveUser { .. }
                            | Command::Rewrap { .. }
                            | Command::FinishEpoch { .. }
                    );
                    let outcome = catalog.apply(command).map_err(CatalogError::Rejected);
                    if let Ok(record) = &outcome {
                        let key = [INDEX_PREFIX, &record.id.0.to_be_bytes()].concat();
                        self.unpurged |= erases;
                        if deletes {
                            batch.delete(key);
                        } else {
                            batch.put(key, encode_record(record));
                        }
                    }
                    outcome
                }
            });
        }
        batch.put(APPLIED_KEY, self.applied.0.to_be_bytes());
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        let write = || self.db.write_opt(WriteBatch::from_data(batch.data()), &durable);
        self.space.outlast(is_full, write).map_err(|e| StorageFault {
            reason: e.to_string(),
        })?;
        self.watermark
            .reached(GROUP, self.applied)
            .map_err(|reason| StorageFault { reason })?;
        if self.unpurged {
            self.purge()?;
        }
        self.space.keep_headroom();
        *self.view.write() = catalog;
        Ok(replies)
    }

    fn applied(&self) -> LogIndex {
        self.applied
    }
}

impl CatalogStore {
    /// Rewrites the catalogue's files, so that a key envelope that was erased or replaced is in none of them. On a full disk
    /// that is made up for with the next change.
    fn purge(&mut self) -> Result<(), StorageFault> {
        match self.db.flush() {
            Ok(()) => {
                self.db.compact_range::<&[u8], &[u8]>(None, None);
                self.unpurged = false;
            }
            Err(e) if is_full(&e) => {
                tracing::warn!("the disk is full: sealed keys that were erased stay in a file for now")
            }
            Err(e) => {
                return Err(StorageFault {
                    reason: e.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// RocksDB's word for ENOSPC, of a write itself or of a flush that stopped all writes.
fn is_full(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && AsRef::<str>::as_ref(error).contains("No space left on device")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{GenerationRecord, KeyEnvelope, KeySource, PublicKeys};
    use sealdex_core::{Generation, IndexId, KeyEpoch, Metric, Precision};

    fn index(name: &str, id: u64, bundle: &[u8]) -> Command {
        Command::Create(Box::new(IndexRecord {
            name: name.into(),
            id: IndexId(id),
            metric: Metric::Cosine,
            precision: Precision::Float32,
            dimension: None,
            created_unix_seconds: 0,
            key: KeyEnvelope {
                epoch: KeyEpoch(1),
                commitment: [0; 32],
                bundle: bundle.to_vec(),
                public: PublicKeys {
                    admin: [0; 32],
                    write: [0; 32],
                    inbox: [0; 32],
                },
                source: KeySource::Client,
                other: None,
            },
            users: vec![],
            active: GenerationRecord {
                generation: Generation(1),
                trained: false,
                clusters: 4,
                model: None,
            },
            building: None,
            retiring: vec![],
            next_generation: Generation(2),
        }))
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        {
            let catalog = CatalogHandle::open(dir.path(), Some(0)).unwrap();
            catalog.change(index("b", 2, b"")).await.unwrap();
            catalog.change(index("a", 1, b"")).await.unwrap();
            let again = catalog.change(index("a", 3, b"")).await;
            assert!(matches!(again, Err(CatalogError::Rejected(Rejection::NameTaken))));
            catalog
                .change(Command::Delete {
                    name: "b".into(),
                    id: IndexId(2),
                })
                .await
                .unwrap();
            catalog.stop().await;
        }
        let catalog = CatalogHandle::open(dir.path(), Some(0)).unwrap();
        let names: Vec<String> = catalog.all().iter().map(|record| record.name.clone()).collect();
        assert_eq!(names, ["a"]);
        catalog.stop().await;
    }

    #[tokio::test]
    async fn a_deleted_index_leaves_no_key_envelope_in_any_file() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = b"a bundle that must not be found again";
        let found = || {
            std::fs::read_dir(dir.path().join("db")).unwrap().any(|file| {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                bytes.windows(bundle.len()).any(|window| window == bundle)
            })
        };
        let catalog = CatalogHandle::open(dir.path(), Some(0)).unwrap();
        catalog.change(index("a", 1, bundle)).await.unwrap();
        assert!(found());
        catalog
            .change(Command::Delete {
                name: "a".into(),
                id: IndexId(1),
            })
            .await
            .unwrap();
        catalog.stop().await;
        drop(catalog);
        assert!(!found());
    }
}
