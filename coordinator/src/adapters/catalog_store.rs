//! The catalogue behind its log: one group, one small RocksDB, and a copy in memory that readers share.

use super::catalog_codec::{decode_command, decode_record, encode_command, encode_record};
use crate::domain::{Catalog, Command, IndexRecord, Rejection};
use parking_lot::RwLock;
use rocksdb::{DB, DBRecoveryMode, Options, WriteBatch, WriteOptions};
use sealdex_consensus::{Entry, Group, LogIndex, ProposeError, StateMachine, StorageFault, Watermark};
use std::path::Path;
use std::sync::Arc;

const APPLIED_KEY: &[u8] = b"applied";
const INDEX_PREFIX: &[u8] = b"index/";
const QUEUE: usize = 256;

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
}

impl CatalogHandle {
    /// Opens the catalogue in `path`, making it if there is none. Blocks; call it before serving.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        let store = CatalogStore::open(path)?;
        let view = store.view.clone();
        let group =
            Group::start("catalog", store, QUEUE).map_err(|e| CatalogError::Storage(e.to_string()))?;
        Ok(Self { view, group })
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
        match self.group.propose(encode_command(&command).into()).await {
            Ok(reply) => reply,
            Err(ProposeError::Busy) => Err(CatalogError::Busy),
            Err(ProposeError::Stopped) => Err(CatalogError::Stopped),
        }
    }

    /// Finishes what is under way and closes the log.
    pub async fn stop(&self) {
        self.group.stop().await;
    }
}

struct CatalogStore {
    db: DB,
    watermark: Watermark,
    applied: LogIndex,
    view: Arc<RwLock<Catalog>>,
}

impl CatalogStore {
    fn open(path: &Path) -> Result<Self, CatalogError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_paranoid_checks(true);
        options.set_keep_log_file_num(4);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_track_and_verify_wals_in_manifest(true);
        std::fs::create_dir_all(path).map_err(|e| CatalogError::Storage(e.to_string()))?;
        let db = DB::open(&options, path.join("db")).map_err(|e| CatalogError::Storage(e.to_string()))?;
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
        Ok(Self {
            db,
            watermark,
            applied,
            view: Arc::new(RwLock::new(Catalog::restore(records))),
        })
    }
}

impl StateMachine for CatalogStore {
    type Reply = Result<Arc<IndexRecord>, CatalogError>;

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Self::Reply>, StorageFault> {
        let mut catalog = self.view.read().clone();
        let mut batch = WriteBatch::default();
        let mut erased = false;
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            self.applied = entry.index;
            replies.push(match decode_command(&entry.payload) {
                Err(unreadable) => Err(CatalogError::Storage(unreadable.to_string())),
                Ok(command) => {
                    let deletes = matches!(command, Command::Delete { .. });
                    let erases = matches!(
                        command,
                        Command::Delete { .. } | Command::Rewrap { .. } | Command::FinishEpoch { .. }
                    );
                    let outcome = catalog.apply(command).map_err(CatalogError::Rejected);
                    if let Ok(record) = &outcome {
                        let key = [INDEX_PREFIX, &record.id.0.to_be_bytes()].concat();
                        erased |= erases;
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
        self.db.write_opt(batch, &durable).map_err(|e| StorageFault {
            reason: e.to_string(),
        })?;
        self.watermark
            .reached(GROUP, self.applied)
            .map_err(|reason| StorageFault { reason })?;
        if erased {
            self.purge()?;
        }
        *self.view.write() = catalog;
        Ok(replies)
    }

    fn applied(&self) -> LogIndex {
        self.applied
    }
}

impl CatalogStore {
    /// Rewrites the catalogue's files, so that a key envelope that was erased or replaced is in none of them.
    fn purge(&self) -> Result<(), StorageFault> {
        self.db.flush().map_err(|e| StorageFault {
            reason: e.to_string(),
        })?;
        self.db.compact_range::<&[u8], &[u8]>(None, None);
        Ok(())
    }
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
            let catalog = CatalogHandle::open(dir.path()).unwrap();
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
        let catalog = CatalogHandle::open(dir.path()).unwrap();
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
        let catalog = CatalogHandle::open(dir.path()).unwrap();
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
