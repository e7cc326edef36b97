//! The service: its parts, how it starts on what an earlier process left behind, and how it stops.

use super::KeyCache;
use super::ServiceError;
use super::cpu::{Cpu, Urgency};
use super::custodian::Custodian;
use super::fanout::Fanout;
use super::maintenance::Maintenance;
use super::promotion::Promoter;
use super::rotation::Rotations;
use super::trainer::Trainer;
use crate::adapters::kms::KeyRing;
use crate::adapters::{CatalogError, CatalogHandle};
use crate::auth::Attempts;
use crate::domain::deployment::{JobKind, JobName};
use crate::domain::{Command, IndexRecord, Rejection};
use crate::ports::{Fellows, KmsError, Lookout, ShardClient};
use parking_lot::Mutex;
use sealdex_core::{ErrorCode, Generation, IndexId, Placement, limits};
use sealdex_index::dataplane::ShardError;
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{BeginGeneration, DropIndex, Entry, RetireGeneration, entry};
use sealdex_telemetry::Queue;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Tasks that trainings may have running or waiting.
const TRAINING_QUEUE: usize = 8;

/// What a coordinator can be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Partitions of the deployment. Fixed when it is first started.
    pub partitions: u16,
    /// Threads that compute.
    pub compute_threads: usize,
    /// Compute tasks running or waiting before requests are refused as busy.
    pub compute_queue: usize,
    /// Names the deployment towards key providers.
    pub deployment: [u8; 16],
    /// How long an index key that a provider unwrapped is used before the provider is asked again.
    pub key_cache: Duration,
    /// Wrong keys of an index that are looked at per address and minute; 0 looks at all.
    pub failed_attempts_max: u32,
    /// How long opened keys are kept after their last use.
    pub key_idle: Duration,
    /// An untrained index with more items than this is trained by itself; `None` leaves it to the client.
    pub auto_train_items: Option<u64>,
    /// The recall@k that default parameters of a trained index aim at.
    pub recall_target: f32,
    /// Memory that a training may use for its sample, MiB, unless the request says otherwise.
    pub training_memory_mib: usize,
    /// How fast records are sealed again under a new key epoch, bytes per second; 0 as fast as it goes.
    pub reseal_bytes_per_second: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            partitions: 4,
            compute_threads: std::thread::available_parallelism().map_or(2, |n| n.get()),
            compute_queue: 1024,
            deployment: [0; 16],
            key_cache: Duration::from_secs(60),
            failed_attempts_max: 20,
            key_idle: Duration::from_secs(60),
            auto_train_items: Some(65_536),
            recall_target: 0.95,
            training_memory_mib: 1024,
            reseal_bytes_per_second: 32 << 20,
        }
    }
}

/// All use cases. One per process, shared.
pub struct Service {
    pub(crate) settings: Settings,
    pub(crate) catalog: Arc<CatalogHandle>,
    pub(crate) fanout: Fanout,
    pub(crate) cpu: Cpu,
    /// Apart from `cpu`: the operating system shares the cores between the two, and gives this one little of them where
    /// others want them, so that a training never keeps a query waiting for a whole round of k-means.
    pub(crate) training_cpu: Cpu,
    pub(crate) custodian: Custodian,
    /// Index keys that providers unwrapped, for a short time.
    pub(crate) opened_keys: KeyCache<KmsError>,
    /// Wrong keys, by index and address.
    pub(crate) key_attempts: Attempts<(IndexId, IpAddr)>,
    pub(crate) key_ring: Arc<KeyRing>,
    pub(crate) maintenance: Maintenance,
    pub(crate) trainer: Trainer,
    pub(crate) promoter: Promoter,
    pub(crate) rotations: Rotations,
    pub(crate) lookout: Arc<dyn Lookout>,
    /// Indexes that are in no catalogue, and whose rows are to be dropped.
    forsaken: Mutex<BTreeSet<IndexId>>,
}

impl Service {
    /// Starts on a catalogue, and puts right what a crash may have left half way: indexes that were never announced or are
    /// deleted, trainings that stopped, generations not yet dropped.
    pub async fn start(
        settings: Settings,
        catalog: Arc<CatalogHandle>,
        shards: Arc<dyn ShardClient>,
        fellows: Arc<dyn Fellows>,
        lookout: Arc<dyn Lookout>,
        key_ring: Arc<KeyRing>,
    ) -> Result<Arc<Self>, ServiceError> {
        let placement = Arc::new(Placement::new(settings.partitions));
        let pool = |name, queue, urgency| {
            Cpu::new(name, settings.compute_threads, queue, urgency)
                .map_err(|e| ServiceError::internal(e.to_string()))
        };
        let cpu = pool(Queue::Compute, settings.compute_queue, Urgency::Asked)?;
        let training_cpu = pool(Queue::Training, TRAINING_QUEUE, Urgency::Behind)?;
        let custodian = Custodian::new(&placement, settings.key_idle);
        let fanout = Fanout {
            shards,
            placement,
            fellows,
        };
        let service = Arc::new(Self {
            maintenance: Maintenance::start(fanout.clone()),
            trainer: Trainer::default(),
            promoter: Promoter::default(),
            rotations: Rotations::default(),
            lookout,
            opened_keys: KeyCache::new(settings.key_cache, KmsError::lasts),
            key_attempts: Attempts::new(settings.failed_attempts_max),
            key_ring,
            settings,
            catalog,
            fanout,
            cpu,
            training_cpu,
            custodian,
            forsaken: Mutex::default(),
        });
        service.find_unknown_indexes().await?;
        service.tidy().await?;
        service.promoter.start(Arc::downgrade(&service));
        service.clone().spawn_sweeper();
        service.spawn_resumer();
        Ok(service)
    }

    /// Waits for maintenance to finish what it is at, then closes the catalogue.
    pub async fn stop(&self) {
        self.promoter.stop().await;
        self.rotations.stop().await;
        self.maintenance.stop().await;
        self.catalog.stop().await;
    }

    /// Proposes the same command to every partition.
    pub(crate) async fn everywhere(
        &self,
        index: IndexId,
        command: entry::Command,
    ) -> Result<(), ServiceError> {
        let proposals = self.fanout.placement.partitions().map(|partition| {
            let entry = Entry {
                version: ENTRY_VERSION,
                index: index.0,
                command: Some(command.clone()),
            };
            self.fanout.shards.propose(partition, entry, None)
        });
        futures_util::future::try_join_all(proposals).await?;
        Ok(())
    }

    /// Makes a generation known to every partition.
    pub(crate) async fn begin_generation(
        &self,
        index: &IndexRecord,
        generation: Generation,
    ) -> Result<(), ServiceError> {
        let begin = BeginGeneration {
            generation: generation.0,
            epoch: index.key.epoch.0,
            write_key: index.key.public.write.to_vec().into(),
        };
        self.everywhere(index.id, entry::Command::BeginGeneration(begin))
            .await
    }

    /// Drops an index's rows everywhere. Its catalogue record, and with it its keys, are gone already. If a disk is too
    /// full even for that, it is done later.
    pub(crate) async fn drop_rows(&self, index: IndexId) -> Result<(), ServiceError> {
        self.forsaken.lock().insert(index);
        let dropped = self.everywhere(index, entry::Command::DropIndex(DropIndex {}));
        if unless_full(dropped.await)?.is_some() {
            self.forsaken.lock().remove(&index);
        }
        Ok(())
    }

    /// Puts right what a crash, a failure or a full disk left half way: rows of indexes that are in no catalogue,
    /// trainings that nobody is at, generations not yet dropped. What a disk is too full for is left for the next time.
    async fn tidy(&self) -> Result<(), ServiceError> {
        // One coordinator of several is enough.
        if !self.catalog.status().is_leader {
            return Ok(());
        }
        let forsaken: Vec<IndexId> = self.forsaken.lock().iter().copied().collect();
        for index in forsaken {
            self.drop_rows(index).await?;
        }
        for record in self.catalog.all() {
            let job = training_of(record.id);
            if self.trainer.is_waiting(&record.name) || self.catalog.is_taken_elsewhere(job) {
                continue;
            }
            // Read again: what is half way now, and was not being trained just before, is nobody's.
            let half_way = |now: &Arc<IndexRecord>| now.building.is_some() || !now.retiring.is_empty();
            if let Some(now) = self.catalog.get(&record.name).filter(half_way) {
                unless_full(self.abandon_training(&now).await)?;
            }
        }
        Ok(())
    }

    /// Drops the generations of an index that are out of use.
    pub(crate) async fn retire(&self, record: &IndexRecord) -> Result<(), ServiceError> {
        for &generation in &record.retiring {
            let retire = RetireGeneration {
                generation: generation.0,
            };
            self.everywhere(record.id, entry::Command::RetireGeneration(retire))
                .await?;
            let forget = Command::ForgetGeneration {
                name: record.name.clone(),
                id: record.id,
                generation,
            };
            self.catalog.change(forget).await?;
        }
        Ok(())
    }

    /// Gives up the training of an index that nobody is at any more, and drops what is out of use.
    pub(crate) async fn abandon_training(&self, record: &IndexRecord) -> Result<(), ServiceError> {
        let mut record = Arc::new(record.clone());
        if let Some(building) = &record.building {
            let (name, id, generation) = (record.name.clone(), record.id, building.generation);
            record = self
                .catalog
                .change(Command::AbortTraining { name, id, generation })
                .await?;
        }
        self.retire(&record).await
    }

    /// Before anybody can be making an index: where there are several coordinators, another one may be.
    async fn find_unknown_indexes(&self) -> Result<(), ServiceError> {
        if self.catalog.deployment().is_some() {
            return Ok(());
        }
        let known: HashSet<IndexId> = self.catalog.all().iter().map(|record| record.id).collect();
        for partition in self.fanout.placement.partitions() {
            let found = self.fanout.shards.indexes(partition).await?;
            let unknown = found.into_iter().filter(|index| !known.contains(index));
            self.forsaken.lock().extend(unknown);
        }
        Ok(())
    }

    fn spawn_sweeper(self: Arc<Self>) {
        let period = self
            .settings
            .key_idle
            .min(Duration::from_secs(10))
            .max(Duration::from_millis(100));
        let service = Arc::downgrade(&self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                match service.upgrade() {
                    Some(service) => {
                        service.custodian.sweep();
                        service.opened_keys.sweep();
                        if let Err(error) = service.tidy().await {
                            tracing::warn!(code = ?error.code(), context = error.context(), "not everything could be tidied up");
                        }
                    }
                    None => return,
                }
            }
        });
    }
}

/// The job of training an index.
pub(super) fn training_of(index: IndexId) -> JobName {
    JobName {
        kind: JobKind::Training,
        index,
    }
}

/// The job of taking an index to its next key epoch.
pub(super) fn rotation_of(index: IndexId) -> JobName {
    JobName {
        kind: JobKind::Rotation,
        index,
    }
}

/// `None` if a disk was too full for it.
fn unless_full<T>(outcome: Result<T, ServiceError>) -> Result<Option<T>, ServiceError> {
    match outcome {
        Err(error) if error.code() == ErrorCode::DiskFull => Ok(None),
        outcome => outcome.map(Some),
    }
}

impl From<CatalogError> for ServiceError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Rejected(Rejection::NameTaken) => Self::new(
                ErrorCode::Conflict,
                "An index of that name exists already; choose another name or delete it first.",
            ),
            CatalogError::Rejected(Rejection::NoSuchIndex) => ShardError::UnknownIndex.into(),
            CatalogError::Rejected(Rejection::DimensionDiffers) => {
                Self::invalid("The vectors' dimension differs from the index's.")
            }
            CatalogError::Full(full) => Self::disk_full(full.free_bytes, full.needed_bytes),
            CatalogError::Busy | CatalogError::JobTaken | CatalogError::Stopped | CatalogError::Unknown => {
                ShardError::Busy.into()
            }
            CatalogError::NotLeader(leader) => ShardError::NotLeader { leader }.into(),
            CatalogError::Rejected(Rejection::TooManyUsers) => Self::new(
                ErrorCode::TooLarge,
                format!(
                    "An index may have at most {} users; delete some first.",
                    limits::USERS_PER_INDEX_MAX
                ),
            ),
            CatalogError::Rejected(Rejection::OutOfTurn)
            | CatalogError::DeploymentRejected(_)
            | CatalogError::ChangeRefused(_)
            | CatalogError::Storage(_) => Self::internal(error.to_string()),
        }
    }
}
