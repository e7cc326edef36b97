//! From one key epoch of an index to the next, while requests go on: who has begun it, who carries it on, how far it is.
//!
//! Each stage is a commit of the catalogue, so that a crash at any point resumes at the stage that was reached:
//!
//! 1. *Announced*: the next epoch's keys are there, and whoever opens the index can read what they seal. When nobody is
//!    left who opened it before, everything is sealed under them from then on.
//! 2. *Resealing*: when nobody is left who seals under the old ones, every record is gone through ([`super::reseal`]), the
//!    files that held its old form are rewritten, and the old epoch is erased.
//!
//! The keys are in memory while it goes on. An index whose key a KMS keeps goes on by itself after a restart; one whose key
//! its owner sends goes on when they send it next.

use super::bundles::Bundles;
use super::startup::rotation_of;
use super::{IndexRef, NewKey, OpenIndex, Service, ServiceError};
use crate::adapters::CatalogError;
use crate::auth::Caller;
use crate::domain::deployment::{Work, WorkState};
use crate::domain::{Command, EpochStage, Epochs, IndexRecord, KeySource, Rejection};
use parking_lot::Mutex;
use sealdex_core::{ErrorCode, IndexId, KeyEpoch};
use sealdex_crypto::IndexKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often it is looked whether requests of an earlier stage are still under way.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long what failed waits before it is tried again: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often it is looked for rotations whose key a KMS can give.
const RESUME_EVERY: Duration = Duration::from_secs(30);

/// The rotations that this process carries on.
#[derive(Default)]
pub(crate) struct Rotations {
    running: Mutex<HashMap<IndexId, Running>>,
}

struct Running {
    /// The epoch that it leads to.
    toward: KeyEpoch,
    progress: Arc<Progress>,
    task: JoinHandle<()>,
}

/// How far a rotation is.
#[derive(Default)]
pub(crate) struct Progress {
    inner: Mutex<Counts>,
}

#[derive(Clone, Default)]
struct Counts {
    phase: RotationPhase,
    items: u64,
    items_total: u64,
    blocks: u64,
    error: Option<String>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RotationPhase {
    /// Nothing: all records are of one epoch.
    None,
    /// Requests that began before it are waited for.
    #[default]
    Preparing,
    /// Records are sealed again.
    Resealing,
    /// Files that hold records of the old epoch are rewritten.
    Purging,
    /// Nobody is at it: it goes on when the index's key is there.
    WaitingForKey,
}

/// How far an index is on its way to its next key epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RotationStatus {
    /// The index's name.
    pub name: String,
    /// The epoch that is sealed under.
    pub epoch: KeyEpoch,
    /// The other epoch that records are of, if there is one.
    pub other: Option<KeyEpoch>,
    /// What is being done.
    pub phase: RotationPhase,
    /// Items gone through, and how many there are to go through, as far as that is known.
    pub items: (u64, u64),
    /// Blocks of clusters gone through.
    pub blocks: u64,
    /// Why it does not get on, if it does not. It is tried again by itself.
    pub error: Option<String>,
}

impl Progress {
    pub(super) fn enter(&self, phase: RotationPhase) {
        let mut counts = self.inner.lock();
        counts.phase = phase;
        counts.error = None;
    }

    pub(super) fn begin_resealing(&self, items_total: u64) {
        *self.inner.lock() = Counts {
            phase: RotationPhase::Resealing,
            items_total,
            ..Counts::default()
        };
    }

    pub(super) fn went_through(&self, items: u64, blocks: u64) {
        let mut counts = self.inner.lock();
        counts.items += items;
        // Items that were written meanwhile are gone through too.
        counts.items_total = counts.items_total.max(counts.items);
        counts.blocks += blocks;
        counts.error = None;
    }

    fn failed(&self, error: &ServiceError) {
        self.inner.lock().error = Some(error.detail().to_owned());
    }
}

impl Rotations {
    /// Starts `task`, unless one is at that index that leads to the same epoch. One that led to an earlier epoch has nothing left to
    /// do, though it may not have ended yet.
    fn start<F>(&self, index: IndexId, toward: KeyEpoch, task: impl FnOnce(Arc<Progress>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.running.lock();
        let goes_on = |running: &Running| running.toward == toward && !running.task.is_finished();
        if running.get(&index).is_some_and(goes_on) {
            return;
        }
        let progress = Arc::<Progress>::default();
        let task = tokio::spawn(task(progress.clone()));
        let started = Running {
            toward,
            progress,
            task,
        };
        if let Some(before) = running.insert(index, started) {
            before.task.abort();
        }
    }

    fn is_running(&self, index: IndexId) -> bool {
        let running = self.running.lock();
        running
            .get(&index)
            .is_some_and(|running| !running.task.is_finished())
    }

    fn counts(&self, index: IndexId) -> Option<Counts> {
        let running = self.running.lock();
        let running = running
            .get(&index)
            .filter(|running| !running.task.is_finished())?;
        Some(running.progress.inner.lock().clone())
    }

    /// All that is being done.
    pub(super) fn work(&self) -> Vec<Work> {
        let running = self.running.lock();
        let running = running.iter().filter(|(_, running)| !running.task.is_finished());
        let work = |(index, running): (&IndexId, &Running)| {
            let counts = running.progress.inner.lock();
            Work {
                job: rotation_of(*index),
                state: match counts.phase {
                    _ if counts.error.is_some() => WorkState::Failing,
                    RotationPhase::Purging => WorkState::Purging,
                    RotationPhase::Resealing => WorkState::Running,
                    RotationPhase::None | RotationPhase::Preparing | RotationPhase::WaitingForKey => {
                        WorkState::Preparing
                    }
                },
                done: counts.items,
                total: counts.items_total,
            }
        };
        running.map(work).collect()
    }

    /// Ends what is done for a deleted index.
    pub(crate) fn forget(&self, index: IndexId) {
        if let Some(running) = self.running.lock().remove(&index) {
            running.task.abort();
        }
    }

    /// Ends all of them where they are.
    pub(crate) async fn stop(&self) {
        let running: Vec<Running> = self.running.lock().drain().map(|(_, running)| running).collect();
        for running in running {
            running.task.abort();
            let _ = running.task.await;
        }
    }
}

impl Service {
    /// Begins a new key epoch, perhaps under another index key. Returns when that is durable; the rest goes on by itself.
    pub async fn begin_epoch(
        self: &Arc<Self>,
        caller: &Caller,
        index: IndexRef,
        new: Option<NewKey>,
    ) -> Result<KeyEpoch, ServiceError> {
        caller.require_admin()?;
        let mut record = self.named(&index.name).await?;
        let old = self.callers_key(caller, &record, index.key).await?;
        self.custodian.verify(&record, &old)?;
        check_settled(&record)?;
        let (new, source) = match new {
            None => (old.clone(), record.key.source.clone()),
            Some(new) => {
                let (key, source) = self.new_key(&record, new).await?;
                (Arc::new(key), source)
            }
        };
        loop {
            check_settled(&record)?;
            let (old, new_key, source, of) = (old.clone(), new.clone(), source.clone(), record.clone());
            let (bundles, key, users) = self
                .cpu
                .run(move || {
                    let bundles = Bundles::open(&of, &old)?.with_next();
                    let users = of.users.iter().map(|user| bundles.extended(&of, user));
                    let users = users.collect::<Result<Vec<_>, _>>()?;
                    let key = bundles.envelope(&new_key, source);
                    Ok::<_, ServiceError>((bundles, key, users))
                })
                .await??;
            let begin = Command::BeginEpoch {
                name: record.name.clone(),
                id: record.id,
                replaces: record.key.commitment,
                key: Box::new(key),
                users,
            };
            match self.catalog.change(begin).await {
                Ok(begun) => {
                    if begun.key.source == KeySource::Client {
                        self.set_by(caller, begun.id, &new);
                    }
                    self.opened_keys.forget(begun.id);
                    self.carry_on(&begun, bundles);
                    return Ok(KeyEpoch(begun.key.epoch.0 + 1));
                }
                // Users came or went meanwhile.
                Err(CatalogError::Rejected(Rejection::OutOfTurn)) => {
                    record = self.changed_meanwhile(&record).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How far an index is on its way to its next key epoch.
    pub async fn rotation_status(&self, caller: &Caller, name: &str) -> Result<RotationStatus, ServiceError> {
        caller.require_admin()?;
        let record = self.named(name).await?;
        let epochs = record.key.epochs();
        let counts = match epochs.stage() {
            EpochStage::Settled => Counts {
                phase: RotationPhase::None,
                ..Counts::default()
            },
            stage => self.rotations.counts(record.id).unwrap_or_else(|| Counts {
                phase: match stage {
                    _ if !self.catalog.is_taken_elsewhere(rotation_of(record.id)) => {
                        RotationPhase::WaitingForKey
                    }
                    EpochStage::Resealing => RotationPhase::Resealing,
                    _ => RotationPhase::Preparing,
                },
                ..Counts::default()
            }),
        };
        Ok(RotationStatus {
            name: record.name.clone(),
            epoch: epochs.sealing,
            other: epochs.other,
            phase: counts.phase,
            items: (counts.items, counts.items_total),
            blocks: counts.blocks,
            error: counts.error,
        })
    }

    /// Carries on a rotation that nobody is at, now that somebody has brought the index's key.
    pub(crate) fn resume_with(
        self: &Arc<Self>,
        record: &IndexRecord,
        key: &IndexKey,
    ) -> Result<(), ServiceError> {
        let settled = record.key.epochs().stage() == EpochStage::Settled;
        let taken = || self.catalog.is_taken_elsewhere(rotation_of(record.id));
        if !settled && !self.rotations.is_running(record.id) && !taken() {
            self.carry_on(record, Bundles::open(record, key)?);
        }
        Ok(())
    }

    /// Looks for rotations whose key a KMS can give, at the start and from time to time.
    pub(crate) fn spawn_resumer(self: &Arc<Self>) {
        let service = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(service) = service.upgrade() {
                // One coordinator of several is enough.
                let here = service.catalog.status().is_leader;
                for record in service.catalog.all() {
                    let settled = record.key.epochs().stage() == EpochStage::Settled;
                    if settled || service.rotations.is_running(record.id) {
                        continue;
                    }
                    // Whoever is brought the key next may do what this process, before it was started again, had taken.
                    service.catalog.finish_job(rotation_of(record.id)).await;
                    if here && matches!(record.key.source, KeySource::Kms(_)) {
                        service.resume_from_kms(&record).await;
                    }
                }
                drop(service);
                tokio::time::sleep(RESUME_EVERY).await;
            }
        });
    }

    async fn resume_from_kms(self: &Arc<Self>, record: &IndexRecord) {
        let resumed = match self.unwrapped(record).await {
            Ok(key) => self.resume_with(record, &key),
            Err(error) => Err(error),
        };
        if let Err(error) = resumed {
            tracing::warn!(index = %record.id, code = ?error.code(), context = error.context(), "a key rotation waits for the index's key");
        }
    }

    fn carry_on(self: &Arc<Self>, record: &IndexRecord, bundles: Bundles) {
        let (service, name, id) = (Arc::downgrade(self), record.name.clone(), record.id);
        let toward = toward(record);
        self.rotations.start(id, toward, |progress| async move {
            let mut pause = RETRY_FIRST;
            let job = rotation_of(id);
            while let Some(service) = service.upgrade() {
                let claimed = service.catalog.claim_job(job).await;
                // Another coordinator is at it.
                if let Err(CatalogError::JobTaken) = claimed {
                    return;
                }
                let rotated = match claimed {
                    Ok(()) => service.rotate(&name, (id, toward), &bundles, &progress).await,
                    Err(error) => Err(error.into()),
                };
                match rotated {
                    Ok(()) => return service.catalog.finish_job(job).await,
                    Err(error) if ends(&error) => return service.catalog.finish_job(job).await,
                    Err(error) => {
                        tracing::warn!(index = %id, code = ?error.code(), context = error.context(), "a key rotation does not get on; it is tried again");
                        progress.failed(&error);
                    }
                }
                drop(service);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        });
    }

    /// Takes an index from the stage it is at to the end. Who has asked for the epoch after that is served by another task.
    async fn rotate(
        &self,
        name: &str,
        (id, to): (IndexId, KeyEpoch),
        bundles: &Bundles,
        progress: &Progress,
    ) -> Result<(), ServiceError> {
        let mine = |record: &Arc<IndexRecord>| record.id == id && toward(record) == to;
        while let Some(record) = self.catalog.get(name).filter(mine) {
            // Whoever pulled the key of a KMS-backed index stops this too.
            self.check_key_is_live(&record).await?;
            let change = match record.key.epochs().stage() {
                EpochStage::Settled => break,
                EpochStage::Announced => self.announced(&record, bundles, progress).await?,
                EpochStage::Resealing => self.resealed(&record, bundles, progress).await?,
            };
            let record = self.catalog.change(change).await?;
            tracing::info!(index = %id, epoch = record.key.epoch.0, stage = ?record.key.epochs().stage(), "key rotation");
            let _ = self.custodian.reached(&record);
        }
        Ok(())
    }

    /// Makes everything ready for the switch.
    async fn announced(
        &self,
        record: &Arc<IndexRecord>,
        bundles: &Bundles,
        progress: &Progress,
    ) -> Result<Command, ServiceError> {
        progress.enter(RotationPhase::Preparing);
        let next = record.key.other.as_ref();
        let next = next.ok_or_else(|| ServiceError::internal("no next epoch"))?;
        let index = self.opened_with(record, bundles)?;
        self.pin_write_key(&index, next).await?;
        drop(index);
        self.drained(record).await?;
        Ok(Command::SwitchEpoch {
            name: record.name.clone(),
            id: record.id,
            epoch: next.epoch,
        })
    }

    /// Leaves nothing of the old epoch.
    async fn resealed(
        &self,
        record: &Arc<IndexRecord>,
        bundles: &Bundles,
        progress: &Progress,
    ) -> Result<Command, ServiceError> {
        progress.enter(RotationPhase::Preparing);
        let index = self.opened_with(record, bundles)?;
        self.drained(record).await?;
        self.drop_write_keys(&index).await?;
        // What waits in the inbox cannot be sealed again there; promoted, it is sealed as everything else.
        self.promote_all(&index).await?;
        self.reseal_all(&index, progress).await?;
        progress.enter(RotationPhase::Purging);
        for partition in self.fanout.placement.partitions() {
            self.fanout.shards.purge(partition, record.id).await?;
        }
        Ok(Command::FinishEpoch {
            name: record.name.clone(),
            id: record.id,
            epoch: record.key.epoch,
        })
    }

    fn opened_with(&self, record: &Arc<IndexRecord>, bundles: &Bundles) -> Result<OpenIndex, ServiceError> {
        let opened = self.custodian.open_with(record, bundles)?;
        // Nobody but this task takes the index further.
        let outdated = |_| ServiceError::internal("the index has gone on without its rotation");
        let (reader, writer) = opened.map_err(outdated)?;
        Ok(OpenIndex {
            record: record.clone(),
            reader,
            writer,
        })
    }

    /// Waits until nobody is left who opened the index at an earlier stage. A training may take its time.
    async fn drained(&self, record: &IndexRecord) -> Result<(), ServiceError> {
        while !self.custodian.is_drained(record.id) {
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
        let settled = self
            .fanout
            .fellows
            .settle_epochs(record.id, record.key.epochs())
            .await;
        settled.map_err(|unsettled| ServiceError::internal(unsettled.to_string()))
    }

    /// On behalf of another coordinator: waits until nothing of an index is half way here, either its writes or, with `epochs`,
    /// whatever opened it before it reached them.
    pub(crate) async fn settle(&self, index: IndexId, epochs: Option<Epochs>) -> Result<(), ServiceError> {
        let Some(epochs) = epochs else {
            if let Some(under_way) = self.custodian.under_way(index) {
                under_way.writes.settled().await;
            }
            return Ok(());
        };
        self.catalog.catch_up().await?;
        let record = self.catalog.all().into_iter().find(|record| record.id == index);
        let Some(record) = record.filter(|record| record.key.epochs() == epochs) else {
            // Gone, or gone further: the one who asks will see it.
            return Ok(());
        };
        // Somebody here may have been quicker.
        let _ = self.custodian.reached(&record);
        while !self.custodian.is_drained(index) {
            tokio::time::sleep(DRAIN_LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// The epoch that an index is on its way to, or has reached.
fn toward(record: &IndexRecord) -> KeyEpoch {
    let epochs = record.key.epochs();
    epochs
        .other
        .map_or(epochs.sealing, |other| other.max(epochs.sealing))
}

fn check_settled(record: &IndexRecord) -> Result<(), ServiceError> {
    if record.key.epochs().stage() == EpochStage::Settled {
        return Ok(());
    }
    Err(ServiceError::new(
        ErrorCode::Conflict,
        format!(
            "Index '{0}' is on its way to a new key epoch already; GET /v1/indexes/{0}/rotation tells how far it is. Rotate again when it is done.",
            record.name
        ),
    ))
}

/// Whether trying again is of no use: the index is gone, or its key was pulled and has to come back first.
fn ends(error: &ServiceError) -> bool {
    matches!(
        error.code(),
        ErrorCode::NotFound | ErrorCode::Upstream | ErrorCode::Unavailable { .. }
    )
}

#[cfg(test)]
mod tests;
