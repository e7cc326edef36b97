//! The metadata group's state behind its log: one group, one small RocksDB, and a copy in memory that readers share.

use super::CatalogError;
use super::catalog_codec::{decode_record, encode_record};
use super::deployment_codec::{decode_deployment, encode_deployment};
use super::metadata_codec::decode_metadata_command;
use crate::domain::{Catalog, Command, Metadata, MetadataApplied, MetadataCommand, MetadataRejection};
use bytes::{Buf, Bytes};
use parking_lot::RwLock;
use rocksdb::{DB, ErrorKind, IteratorMode, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions};
use sealdex_consensus::{
    Entry, GroupId, Mark, SnapshotReader, Space, StateMachine, StorageFault, check_logs,
};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

const MARK_KEY: &[u8] = b"mark";
const INDEX_PREFIX: &[u8] = b"index/";
const DEPLOYMENT_KEY: &[u8] = b"deployment";

/// The catalogue is small, and so may be what its engine takes in memory and on disk beforehand.
const MEMTABLE_BYTES: usize = 1024 * 1024;
const PREALLOCATED_BYTES: usize = 64 * 1024;

/// Free space that a start without giving up the headroom takes.
const START_BYTES: u64 = 8 * 1024 * 1024;

/// The group of the catalogue. Partitions' groups follow.
pub(super) const GROUP: GroupId = GroupId(0);

/// The state machine of the metadata group.
pub(crate) struct MetadataStore {
    db: Arc<DB>,
    space: Arc<Space>,
    /// What was erased may still be in some file of the database.
    unpurged: bool,
    erasures: watch::Sender<u64>,
    mark: Option<Mark>,
    view: Arc<RwLock<Metadata>>,
}

impl MetadataStore {
    /// What readers share.
    pub(super) fn view(&self) -> Arc<RwLock<Metadata>> {
        self.view.clone()
    }

    /// Counts what was erased and may still be in the log's files.
    pub(super) fn erasures(&self) -> watch::Receiver<u64> {
        self.erasures.subscribe()
    }

    pub(super) fn open(path: &Path, space: Arc<Space>) -> Result<Self, CatalogError> {
        let storage = |e: rocksdb::Error| CatalogError::Storage(e.to_string());
        if !space.has(START_BYTES) {
            space.give_headroom();
        }
        std::fs::create_dir_all(path).map_err(|e| CatalogError::Storage(e.to_string()))?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_paranoid_checks(true);
        options.set_keep_log_file_num(4);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_manifest_preallocation_size(PREALLOCATED_BYTES);
        let path = path.join("db");
        check_logs(&path).map_err(|e| CatalogError::Storage(e.to_string()))?;
        let db = DB::open(&options, path).map_err(storage)?;
        space.keep_headroom();
        let mark = db.get(MARK_KEY).map_err(storage)?;
        let mark = mark.as_deref().map(Mark::from_bytes).transpose();
        let mut store = Self {
            db: Arc::new(db),
            space,
            unpurged: true,
            erasures: watch::Sender::new(0),
            mark: mark.map_err(|e| CatalogError::Storage(e.to_string()))?,
            view: Arc::default(),
        };
        if store.mark.is_none() {
            // Nothing yet, or half of a snapshot, which is installed again.
            store
                .clear()
                .map_err(|fault| CatalogError::Storage(fault.reason))?;
        }
        *store.view.write() = store.load()?;
        // The last run may have ended between an erasure and its purge.
        store
            .purge()
            .map_err(|fault| CatalogError::Storage(fault.reason))?;
        Ok(store)
    }

    fn load(&self) -> Result<Metadata, CatalogError> {
        let mut records = Vec::new();
        for entry in self.db.prefix_iterator(INDEX_PREFIX) {
            let (key, value) = entry.map_err(|e| CatalogError::Storage(e.to_string()))?;
            if key.starts_with(INDEX_PREFIX) {
                records.push(decode_record(&value).map_err(|e| CatalogError::Storage(e.to_string()))?);
            }
        }
        let deployment = self.db.get(DEPLOYMENT_KEY);
        let deployment = deployment.map_err(|e| CatalogError::Storage(e.to_string()))?;
        let deployment = deployment
            .map(|bytes| decode_deployment(&bytes).map(Arc::new))
            .transpose();
        Ok(Metadata {
            catalog: Catalog::restore(records),
            deployment: deployment.map_err(|e| CatalogError::Storage(e.to_string()))?,
        })
    }

    /// Applies one command, and writes the index it changed into the batch.
    fn apply_command(
        &mut self,
        metadata: &mut Metadata,
        command: MetadataCommand,
        batch: &mut WriteBatch,
    ) -> Result<MetadataApplied, CatalogError> {
        let deletes = matches!(command, MetadataCommand::Catalog(Command::Delete { .. }));
        let erases = command.erases();
        let applied = metadata.apply(command).map_err(|rejection| match rejection {
            MetadataRejection::Catalog(rejection) => CatalogError::Rejected(rejection),
            MetadataRejection::Deployment(rejection) => CatalogError::DeploymentRejected(rejection),
        })?;
        self.unpurged |= erases;
        if let MetadataApplied::Index(record) = &applied {
            let key = [INDEX_PREFIX, &record.id.0.to_be_bytes()].concat();
            if deletes {
                batch.delete(key);
            } else {
                batch.put(key, encode_record(record));
            }
        }
        Ok(applied)
    }

    /// Writes a batch, to be durable with the next flush: until then it is in the log.
    fn write(&self, batch: &WriteBatch) -> Result<(), StorageFault> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let write = || self.db.write_opt(WriteBatch::from_data(batch.data()), &options);
        self.space.outlast(is_full, write).map_err(fault)
    }

    fn clear(&self) -> Result<(), StorageFault> {
        let mut batch = WriteBatch::default();
        batch.delete_range::<&[u8]>(&[], &[0xff]);
        self.write(&batch)
    }
}

impl StateMachine for MetadataStore {
    type Reply = Result<MetadataApplied, CatalogError>;

    fn apply(&mut self, entries: &[Entry], mark: &Mark) -> Result<Vec<Self::Reply>, StorageFault> {
        let mut metadata = self.view.read().clone();
        let mut batch = WriteBatch::default();
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            replies.push(match decode_metadata_command(&entry.payload) {
                Err(unreadable) => Err(CatalogError::Storage(unreadable.to_string())),
                Ok(command) => self.apply_command(&mut metadata, command, &mut batch),
            });
        }
        if let Some(deployment) = &metadata.deployment {
            let shared = self.view.read().deployment.clone();
            if shared.is_none_or(|shared| !Arc::ptr_eq(&shared, deployment)) {
                batch.put(DEPLOYMENT_KEY, encode_deployment(deployment));
            }
        }
        batch.put(MARK_KEY, mark.as_bytes());
        self.write(&batch)?;
        self.mark = Some(mark.clone());
        if self.unpurged {
            self.purge()?;
        }
        self.space.keep_headroom();
        *self.view.write() = metadata;
        Ok(replies)
    }

    fn mark(&self) -> Option<Mark> {
        self.mark.clone()
    }

    fn flush(&mut self) -> Result<(), StorageFault> {
        self.db.flush().map_err(fault)
    }

    fn durable(&self) -> Result<Option<Mark>, StorageFault> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        let mark = self.db.get_opt(MARK_KEY, &options).map_err(fault)?;
        let mark = mark.as_deref().map(Mark::from_bytes).transpose();
        mark.map_err(|e| StorageFault {
            reason: e.to_string(),
        })
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageFault> {
        let records = self
            .db
            .iterator(IteratorMode::Start)
            .filter_map(|record| match record {
                Ok((key, value)) => (*key != *MARK_KEY).then(|| Ok(joined(&key, &value))),
                Err(error) => Some(Err(fault(error))),
            });
        let records: Vec<Bytes> = records.collect::<Result<_, _>>()?;
        Ok(Box::new(CatalogReader(records.into_iter())))
    }

    fn install(&mut self, snapshot: &mut dyn SnapshotReader, mark: &Mark) -> Result<(), StorageFault> {
        self.mark = None;
        self.clear()?;
        while let Some(chunk) = snapshot.next_chunk()? {
            let mut batch = WriteBatch::default();
            let (key, value) = split_chunk(chunk)?;
            batch.put(key, value);
            self.write(&batch)?;
        }
        let installed = self.load().map_err(|e| StorageFault {
            reason: e.to_string(),
        })?;
        let mut batch = WriteBatch::default();
        batch.put(MARK_KEY, mark.as_bytes());
        self.write(&batch)?;
        self.mark = Some(mark.clone());
        *self.view.write() = installed;
        self.purge()
    }
}

/// The catalogue's records as they were when this was made, one to a chunk: the catalogue is small.
struct CatalogReader(std::vec::IntoIter<Bytes>);

impl SnapshotReader for CatalogReader {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, StorageFault> {
        Ok(self.0.next())
    }
}

fn joined(key: &[u8], value: &[u8]) -> Bytes {
    [&(key.len() as u32).to_le_bytes(), key, value].concat().into()
}

fn split_chunk(mut chunk: Bytes) -> Result<(Bytes, Bytes), StorageFault> {
    let key_bytes = if chunk.len() >= 4 {
        chunk.get_u32_le() as usize
    } else {
        usize::MAX
    };
    if chunk.len() < key_bytes {
        return Err(StorageFault {
            reason: "a snapshot is damaged: a chunk ends within a record".to_owned(),
        });
    }
    Ok((chunk.split_to(key_bytes), chunk))
}

fn fault(error: rocksdb::Error) -> StorageFault {
    StorageFault {
        reason: error.to_string(),
    }
}

impl MetadataStore {
    /// Rewrites the catalogue's files, so that a key envelope that was erased or replaced is in none of them, and has the
    /// log's rewritten too. On a full disk that is made up for with the next change.
    fn purge(&mut self) -> Result<(), StorageFault> {
        match self.db.flush() {
            Ok(()) => {
                self.db.compact_range::<&[u8], &[u8]>(None, None);
                self.unpurged = false;
                self.erasures.send_modify(|erasures| *erasures += 1);
            }
            Err(e) if is_full(&e) => {
                tracing::warn!("the disk is full: sealed keys that were erased stay in a file for now")
            }
            Err(e) => return Err(fault(e)),
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
    use crate::adapters::CatalogHandle;
    use crate::domain::{
        Command, GenerationRecord, IndexRecord, KeyEnvelope, KeySource, PublicKeys, Rejection,
    };
    use sealdex_consensus::{Host, HostOptions};
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
            without_inbox: true,
            active: GenerationRecord {
                generation: Generation(1),
                trained: false,
                clusters: 4,
                model: None,
                former: Vec::new(),
            },
            building: None,
            retiring: vec![],
            next_generation: Generation(2),
        }))
    }

    async fn open(path: &Path) -> (CatalogHandle, Arc<Host>) {
        let space = Arc::new(Space::open(path, Some(0)).unwrap());
        let log = HostOptions::alone(path.join("log"), space.clone());
        let me = log.node;
        let host = Host::open(log).unwrap();
        let catalog = CatalogHandle::open(path, space, &host, None).await.unwrap();
        catalog.found(me).await.unwrap();
        (catalog, host)
    }

    async fn stop(catalog: CatalogHandle, host: Arc<Host>) {
        drop(catalog);
        host.stop().await;
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        {
            let (catalog, host) = open(dir.path()).await;
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
            stop(catalog, host).await;
        }
        let (catalog, host) = open(dir.path()).await;
        let names: Vec<String> = catalog.all().iter().map(|record| record.name.clone()).collect();
        assert_eq!(names, ["a"]);
        stop(catalog, host).await;
    }

    /// What a crash of the process at this moment leaves of a folder.
    fn crash_image(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let (path, copy) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                crash_image(&path, &copy);
            } else {
                std::fs::copy(path, copy).unwrap();
            }
        }
    }

    /// Overwrites the last entry of a log that nobody has open.
    fn damage_last_entry(log: &Path) {
        let families = ["raft_log", "raft_meta"];
        let db = DB::open_cf(&Options::default(), log, families).unwrap();
        let entries = db.cf_handle("raft_log").unwrap();
        let last = db.iterator_cf(entries, IteratorMode::End).next().unwrap();
        let (key, _) = last.unwrap();
        db.put_cf(entries, key, b"no entry").unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_that_cannot_read_its_log_ends_the_start_and_says_so() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (catalog, host) = open(dir.path()).await;
        for (name, id) in [("a", 1), ("b", 2)] {
            catalog.change(index(name, id, b"")).await.unwrap();
        }
        crash_image(dir.path(), copy.path());
        stop(catalog, host).await;
        damage_last_entry(&copy.path().join("log/log/db"));

        let space = Arc::new(Space::open(copy.path(), Some(0)).unwrap());
        let log = HostOptions::alone(copy.path().join("log"), space.clone());
        let me = log.node;
        let host = Host::open(log).unwrap();
        let start = async {
            let catalog = CatalogHandle::open(copy.path(), space, &host, None).await?;
            catalog.found(me).await
        };
        let minute = std::time::Duration::from_secs(60);
        let started = tokio::time::timeout(minute, start)
            .await
            .expect("it does not hang");
        let said = started.unwrap_err().to_string();
        assert!(said.contains("restore this node"), "{said}");
        host.stop().await;
    }

    #[tokio::test]
    async fn a_deleted_index_leaves_no_key_envelope_in_any_file() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = b"a bundle that must not be found again";
        let found = || {
            ["db", "log/log/db"].iter().any(|folder| {
                std::fs::read_dir(dir.path().join(folder)).unwrap().any(|file| {
                    let bytes = std::fs::read(file.unwrap().path()).unwrap();
                    bytes.windows(bundle.len()).any(|window| window == bundle)
                })
            })
        };
        let (catalog, host) = open(dir.path()).await;
        catalog.change(index("a", 1, bundle)).await.unwrap();
        assert!(found());
        catalog
            .change(Command::Delete {
                name: "a".into(),
                id: IndexId(1),
            })
            .await
            .unwrap();
        stop(catalog, host).await;
        assert!(!found());
    }
}
