//! Training: learns a new generation from a sample, fills it with every item while queries and writes go on, and
//! puts it in the place of the old one.

use super::coded_rows::CodedRows;
use super::fitness::Fitness;
use super::revision::Revised;
use super::session::{LoadedModel, Session};
use super::startup::training_of;
use super::training_plan::{Lesson, TrainingPlan};
use super::{OpenIndex, Service, ServiceError, TrainOutcome, TrainRequest, TrainingStatus};
use crate::adapters::CatalogError;
use crate::auth::Caller;
use crate::domain::{Command, GenerationRecord, IndexRecord, ModelRef};
use futures_util::future::try_join_all;
use sealdex_core::{ItemLabel, PartitionId, limits};
use sealdex_crypto::{Aad, RecordKind, random_16};
use sealdex_index::dataplane::{Fields, WalkReply, WalkRequest};
use sealdex_index::model::Model;
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{Blob, Entry, PutBlobs, entry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Items that are read, assigned and encoded at a time, if they are small.
const FILL_PAGE: usize = 4096;
/// Codes that are gathered before they are written as blocks, so that blocks are well filled.
const FILL_CODE_BYTES: usize = 128 << 20;

impl Service {
    /// Trains an index and returns when queries use what was learned. An index too small to gain from it stays as it
    /// is: every query looks at all its items.
    pub async fn train(
        self: &Arc<Self>,
        caller: &Caller,
        index: &OpenIndex,
        request: TrainRequest,
    ) -> Result<TrainOutcome, ServiceError> {
        caller.require_admin()?;
        let (service, index) = (self.clone(), index.clone());
        tokio::spawn(async move { service.train_in_turn(&index, Lesson::Clusters, request).await })
            .await
            .map_err(|e| ServiceError::internal(e.to_string()))?
    }

    /// What is being trained.
    pub async fn training_status(&self, caller: &Caller) -> Result<TrainingStatus, ServiceError> {
        caller.require_admin()?;
        let (current, queued) = self.trainer.at_work();
        // Who was asked for twice is trained twice, and is one index.
        let named: BTreeSet<&String> = current.iter().chain(&queued).collect();
        Ok(TrainingStatus {
            training: named.into_iter().cloned().collect(),
            worker_running: current.is_some(),
            threshold: self.settings.auto_train_items.unwrap_or(0),
            current: current.clone(),
            queued,
        })
    }

    /// Starts a training in the background if the index has changed enough to want one. Returns its number of items
    /// then. A failure to tell is not the caller's, whose work is done.
    pub(crate) async fn train_if_due_quietly(self: &Arc<Self>, index: &OpenIndex) -> Option<u64> {
        self.train_if_due(index).await.unwrap_or_else(|error| {
            tracing::warn!(code = ?error.code(), context = error.context(), "cannot tell whether a training is due");
            None
        })
    }

    /// What queries of late ask for: a training if codes have misled them, a fold of all clusters if those are littered
    /// with dead rows, of which a training that filled them or a former process has kept no count.
    pub(crate) async fn tend(self: &Arc<Self>, index: &OpenIndex, session: &Arc<Session>) {
        let (lost, littered) = {
            let mut fitness = session.fitness.lock();
            (fitness.is_misleading(), fitness.take_littered())
        };
        if littered {
            let models: Vec<_> = session.models.lock().values().cloned().collect();
            models
                .iter()
                .for_each(|model| self.maintenance.sweep(session, model));
        }
        if lost && index.writer.is_some() {
            self.train_if_due_quietly(index).await;
        }
    }

    pub(crate) async fn train_if_due(
        self: &Arc<Self>,
        index: &OpenIndex,
    ) -> Result<Option<u64>, ServiceError> {
        let Some(threshold) = self.settings.auto_train_items else {
            return Ok(None);
        };
        let record = self.current_record(index)?;
        if record.building.is_some()
            || self.trainer.is_waiting(&record.name)
            || self.trainer.failed_lately(record.id)
        {
            return Ok(None);
        }
        let session = index.reader("train")?;
        let Some(model) = self.fanout.model(session, &record.active).await? else {
            return Ok(None);
        };
        let items = self.count(index).await?;
        let unfit = session.fitness.lock().unfit(items);
        let unfit = unfit.filter(|_| self.trainer.may_relearn(record.id, items));
        let Some(lesson) = TrainingPlan::due(&record.active, &model.model, items, threshold, unfit) else {
            return Ok(None);
        };
        if unfit.is_some() {
            self.trainer.relearns(record.id, items);
        }
        let (service, index) = (self.clone(), index.clone());
        tokio::spawn(async move {
            let trained = service
                .train_in_turn(&index, lesson, TrainRequest::default())
                .await;
            if let Err(error) = trained {
                service.trainer.has_failed(index.record.id);
                tracing::warn!(code = ?error.code(), context = error.context(), "automatic training failed");
            }
        });
        Ok(Some(items))
    }

    async fn train_in_turn(
        &self,
        index: &OpenIndex,
        lesson: Lesson,
        request: TrainRequest,
    ) -> Result<TrainOutcome, ServiceError> {
        let place = self.trainer.queue(index.name());
        let _turn = self.trainer.turn.lock().await;
        place.begin();
        if let Err(error) = self.promote_all(index).await {
            tracing::warn!(code = ?error.code(), context = error.context(), "trained without what waits in the inbox");
        }
        let record = self.current_record(index)?;
        if record.active.model.is_none() {
            return Ok(TrainOutcome::Needless);
        }
        let items = self.count(index).await?;
        place.expect(items);
        let Some(plan) = TrainingPlan::new(&record, items, lesson, &request, &self.settings)? else {
            return Ok(TrainOutcome::Needless);
        };
        let job = training_of(record.id);
        match self.catalog.claim_job(job).await {
            // It will serve as well.
            Err(CatalogError::JobTaken) => return Ok(TrainOutcome::UnderWay),
            claimed => claimed?,
        }
        let trained = match plan.lesson {
            Lesson::Revision => self.revise_or_train(index, &record, plan).await,
            Lesson::Clusters | Lesson::Codes => self.train_as_planned(index, &record, plan).await,
        };
        self.catalog.finish_job(job).await;
        trained.map(|()| TrainOutcome::Trained)
    }

    /// Revises the active generation; where its codes do not serve any more, learns everything.
    async fn revise_or_train(
        &self,
        index: &OpenIndex,
        record: &Arc<IndexRecord>,
        plan: TrainingPlan,
    ) -> Result<(), ServiceError> {
        let items = plan.items;
        match self.revise(index, record, plan).await? {
            Revised::Done => {
                *index.reader("train")?.fitness.lock() = Fitness::default();
                Ok(())
            }
            Revised::Unserved => {
                let record = self.current_record(index)?;
                let request = TrainRequest::default();
                match TrainingPlan::new(&record, items, Lesson::Clusters, &request, &self.settings)? {
                    Some(plan) => self.train_as_planned(index, &record, plan).await,
                    None => Ok(()),
                }
            }
        }
    }

    async fn train_as_planned(
        &self,
        index: &OpenIndex,
        record: &Arc<IndexRecord>,
        plan: TrainingPlan,
    ) -> Result<(), ServiceError> {
        self.check_room_to_train(record).await?;
        let model = self.learn(index, record, plan).await?;
        let building = GenerationRecord {
            generation: model.generation,
            trained: model.trained,
            clusters: model.clusters(),
            model: Some(self.store_model(index, &model, random_16()).await?),
            former: Vec::new(),
        };
        let outcome = self.replace_generation(index, record, building).await;
        let now = self.catalog.get(&record.name).filter(|now| now.id == record.id);
        if let (Err(_), Some(record)) = (&outcome, now) {
            self.abandon_training(&record).await?;
        }
        let active = outcome?;
        let session = index.reader("train")?;
        *session.fitness.lock() = Fitness::default();
        session
            .models
            .lock()
            .retain(|generation, _| *generation == active.active.generation);
        Ok(())
    }

    /// A new generation is about as large as the old one, which stays until the new one is complete.
    async fn check_room_to_train(&self, record: &IndexRecord) -> Result<(), ServiceError> {
        let shards = &self.fanout.shards;
        let partitions = self.fanout.placement.partitions();
        let sizes =
            try_join_all(partitions.map(|partition| shards.block_bytes(partition, record.id))).await?;
        Ok(shards.check_room(sizes.into_iter().sum()).await?)
    }

    /// Learns a model from a sample of the items.
    async fn learn(
        &self,
        index: &OpenIndex,
        record: &IndexRecord,
        plan: TrainingPlan,
    ) -> Result<Model, ServiceError> {
        let sample = self.sample(index, record, &plan).await?;
        self.training_cpu.run(move || plan.learn(sample)).await?
    }

    /// The vectors of a sample of the items, row-major.
    pub(super) async fn sample(
        &self,
        index: &OpenIndex,
        record: &IndexRecord,
        plan: &TrainingPlan,
    ) -> Result<Vec<f32>, ServiceError> {
        let mut sample = Vec::with_capacity(plan.sample_rows * plan.dimension.get());
        for partition in self.fanout.placement.partitions() {
            let of_partition = self.fanout.shards.count(partition, record.id).await?;
            let mut left = plan.share_of_sample(of_partition.items);
            let mut after = None;
            while left > 0 {
                let fields = Fields {
                    vector: true,
                    ..Fields::default()
                };
                let page = self
                    .walk(index, partition, fields, after, left.min(FILL_PAGE))
                    .await?;
                left -= page.items.len().min(left);
                sample.extend(page.items.into_iter().filter_map(|item| item.vector).flatten());
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(sample)
    }

    /// Fills the new generation and puts it in the old one's place.
    async fn replace_generation(
        &self,
        index: &OpenIndex,
        record: &IndexRecord,
        building: GenerationRecord,
    ) -> Result<Arc<IndexRecord>, ServiceError> {
        let (name, id, generation) = (record.name.clone(), record.id, building.generation);
        let begin = Command::BeginTraining {
            name: name.clone(),
            id,
            building: building.clone(),
        };
        self.catalog.change(begin).await?;
        // From here on every partition refuses to commit an item that has no row in the new generation, so whatever
        // the walk below does not see was written to it by its writer.
        self.begin_generation(record, generation).await?;
        let model = self
            .fanout
            .model(index.reader("train")?, &building)
            .await?
            .ok_or_else(|| ServiceError::internal("a stored model is not there"))?;
        self.fill(index, &model).await?;
        let record = self
            .catalog
            .change(Command::FinishTraining { name, id, generation })
            .await?;
        self.retire(&record).await?;
        Ok(record)
    }

    /// Gives every item a row in the new generation.
    async fn fill(&self, index: &OpenIndex, model: &Arc<LoadedModel>) -> Result<(), ServiceError> {
        let mut gathered = CodedRows::default();
        for partition in self.fanout.placement.partitions() {
            let mut after = None;
            loop {
                let fields = Fields {
                    vector: true,
                    meta: true,
                    contents: false,
                };
                let page = self.walk(index, partition, fields, after, FILL_PAGE).await?;
                after = page.next;
                self.trainer.filled(page.items.len());
                let model_here = model.clone();
                gathered = self
                    .training_cpu
                    .run(move || {
                        gathered.extend_items(&model_here, page.items, |_| true);
                        gathered
                    })
                    .await?;
                if gathered.code_bytes() >= FILL_CODE_BYTES {
                    self.append(index, model, std::mem::take(&mut gathered)).await?;
                }
                if after.is_none() {
                    break;
                }
            }
        }
        self.append(index, model, gathered).await
    }

    /// Writes encoded rows into their clusters.
    pub(super) async fn append(
        &self,
        index: &OpenIndex,
        model: &Arc<LoadedModel>,
        rows: CodedRows<'static>,
    ) -> Result<(), ServiceError> {
        let (session, placement, model) = (
            index.reader("train")?.clone(),
            self.fanout.placement.clone(),
            model.clone(),
        );
        let entries = self
            .training_cpu
            .run(move || rows.append_entries(&session, &placement, &model))
            .await?;
        let writer = index.writer("train")?;
        for (partition, entry) in entries {
            self.fanout.write(writer, partition, entry).await?;
        }
        Ok(())
    }

    async fn walk(
        &self,
        index: &OpenIndex,
        partition: PartitionId,
        fields: Fields,
        after: Option<ItemLabel>,
        limit: usize,
    ) -> Result<WalkReply, ServiceError> {
        let precision = index.record.precision;
        let walked = self
            .fanout
            .leased(index.reader("train")?, partition, |target| {
                self.fanout.shards.walk(WalkRequest {
                    target,
                    precision,
                    fields,
                    after,
                    limit,
                    bytes_max: limits::PAGE_BYTES_MAX,
                })
            })
            .await;
        Ok(walked?)
    }

    /// Seals a model and stores its pieces in the partitions; returns where it is.
    pub(crate) async fn store_model(
        &self,
        index: &OpenIndex,
        model: &Model,
        id: [u8; 16],
    ) -> Result<ModelRef, ServiceError> {
        let (session, writer) = (index.reader("store a model")?, index.writer("store a model")?);
        let generation = model.generation;
        let bytes = model.to_bytes();
        let mut by_partition: BTreeMap<PartitionId, Vec<Blob>> = BTreeMap::new();
        let mut pieces = 0;
        for piece in bytes.chunks(limits::BLOB_BYTES_MAX) {
            let label = session.labels.blob(generation, &id, pieces);
            let aad = Aad {
                kind: RecordKind::Model,
                part: 0,
                label: label.as_bytes(),
                generation,
                op: &id,
            };
            let sealed = session.model_keys.seal(&aad, piece).into();
            let blob = Blob {
                label: label.as_bytes().to_vec().into(),
                sealed,
            };
            by_partition
                .entry(self.fanout.placement.of_blob(&label))
                .or_default()
                .push(blob);
            pieces += 1;
        }
        let puts = by_partition.into_iter().map(|(partition, blobs)| {
            let command = entry::Command::PutBlobs(PutBlobs {
                generation: generation.0,
                blobs,
            });
            let entry = Entry {
                version: ENTRY_VERSION,
                index: index.record.id.0,
                command: Some(command),
            };
            self.fanout.write(writer, partition, entry)
        });
        try_join_all(puts).await?;
        Ok(ModelRef { id, pieces })
    }
}
