//! The metadata group's state behind its log: one group, one small RocksDB, and a copy in memory that readers share.

use super::catalog_codec::{decode_record, encode_record};
use super::deployment_codec::{decode_deployment, encode_deployment};
use super::metadata_codec::{decode_metadata_command, encode_metadata_command};
use crate::domain::deployment::{self, Deployment};
use crate::domain::{
    Catalog, Command, IndexRecord, Metadata, MetadataApplied, MetadataCommand, MetadataRejection, Rejection,
};
use parking_lot::RwLock;
use rocksdb::{DB, DBRecoveryMode, ErrorKind, Options, WriteBatch, WriteOptions};
use sealdex_consensus::{
    Entry, Full, Group, LogIndex, ProposeError, Purpose, Space, StateMachine, StorageFault, Watermark,
    check_logs,
};
use std::path::Path;
use std::sync::Arc;

const APPLIED_KEY: &[u8] = b"applied";
const INDEX_PREFIX: &[u8] = b"index/";
const DEPLOYMENT_KEY: &[u8] = b"deployment";
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
    /// The command does not fit the deployment's state.
    #[error("{0}")]
    DeploymentRejected(deployment::Rejection),
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
    view: Arc<RwLock<Metadata>>,
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
        let store = CatalogStore::open(path, space.clone())?;
        let view = store.view.clone();
        let group = Group::start("catalog", store, QUEUE, space.clone())
            .map_err(|e| CatalogError::Storage(e.to_string()))?;
        Ok(Self { view, group, space })
    }

    /// The index of that name.
    pub fn get(&self, name: &str) -> Option<Arc<IndexRecord>> {
        self.view.read().catalog.get(name)
    }

    /// All indexes, by name in bytewise order.
    pub fn all(&self) -> Vec<Arc<IndexRecord>> {
        self.view.read().catalog.iter().cloned().collect()
    }

    /// The deployment as of now, once it is bootstrapped.
    pub fn deployment(&self) -> Option<Arc<Deployment>> {
        self.view.read().deployment.clone()
    }

    /// Changes the catalogue; returns when the change is durable. See [`Catalog::apply`] for what comes back.
    pub async fn change(&self, command: Command) -> Result<Arc<IndexRecord>, CatalogError> {
        match self.propose(MetadataCommand::Catalog(command)).await? {
            MetadataApplied::Index(record) => Ok(record),
            MetadataApplied::Deployment(_) => Err(CatalogError::Storage("a reply of another kind".into())),
        }
    }

    /// Changes the deployment; returns when the change is durable. See [`Deployment::apply`] for what comes back.
    pub async fn change_deployment(
        &self,
        command: deployment::Command,
    ) -> Result<deployment::Applied, CatalogError> {
        match self.propose(MetadataCommand::Deployment(command)).await? {
            MetadataApplied::Deployment(applied) => Ok(applied),
            MetadataApplied::Index(_) => Err(CatalogError::Storage("a reply of another kind".into())),
        }
    }

    async fn propose(&self, command: MetadataCommand) -> Result<MetadataApplied, CatalogError> {
        let payload = encode_metadata_command(&command).into();
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
fn purpose_of(command: &MetadataCommand) -> Purpose {
    match command {
        MetadataCommand::Catalog(command) => purpose_of_catalog(command),
        MetadataCommand::Deployment(command) => purpose_of_deployment(command),
    }
}

/// A deployment goes on with what it began, loses and replaces nodes, whatever the disk; it only takes nothing new.
fn purpose_of_deployment(command: &deployment::Command) -> Purpose {
    use deployment::Command as Change;
    match command {
        Change::Bootstrap(_) | Change::RegisterNode(_) | Change::ClaimJob { .. } => Purpose::Grow,
        Change::UpdateNode { .. }
        | Change::SetNode { .. }
        | Change::MakeTable(_)
        | Change::BeginChange { .. }
        | Change::AdvanceChange { .. }
        | Change::AdvanceJob { .. }
        | Change::FinishJob { .. }
        | Change::Configure(_) => Purpose::Finish,
    }
}

fn purpose_of_catalog(command: &Command) -> Purpose {
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
    view: Arc<RwLock<Metadata>>,
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
        let deployment = db
            .get(DEPLOYMENT_KEY)
            .map_err(|e| CatalogError::Storage(e.to_string()))?
            .map(|bytes| decode_deployment(&bytes).map(Arc::new))
            .transpose()
            .map_err(|e| CatalogError::Storage(e.to_string()))?;
        let mut store = Self {
            db,
            space,
            unpurged: true,
            watermark,
            applied,
            view: Arc::new(RwLock::new(Metadata {
                catalog: Catalog::restore(records),
                deployment,
            })),
        };
        // The last run may have ended between an erasure and its purge.
        store
            .purge()
            .map_err(|fault| CatalogError::Storage(fault.reason))?;
        Ok(store)
    }
}

impl StateMachine for CatalogStore {
    type Reply = Result<MetadataApplied, CatalogError>;

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Self::Reply>, StorageFault> {
        let mut metadata = self.view.read().clone();
        let mut batch = WriteBatch::default();
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            self.applied = entry.index;
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
        *self.view.write() = metadata;
        Ok(replies)
    }

    fn applied(&self) -> LogIndex {
        self.applied
    }
}

impl CatalogStore {
    /// Applies one command, and writes the index it changed into the batch.
    fn apply_command(
        &mut self,
        metadata: &mut Metadata,
        command: MetadataCommand,
        batch: &mut WriteBatch,
    ) -> Result<MetadataApplied, CatalogError> {
        let deletes = matches!(command, MetadataCommand::Catalog(Command::Delete { .. }));
        let erases = matches!(
            command,
            MetadataCommand::Catalog(
                Command::Delete { .. }
                    | Command::RemoveUser { .. }
                    | Command::Rewrap { .. }
                    | Command::FinishEpoch { .. }
            )
        );
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
