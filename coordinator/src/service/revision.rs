//! Revising a trained generation while it is in use: clusters that no longer suit the index are replaced by others, step by
//! step, and all that does not lie in them stays where it is.
//!
//! A step is announced by a model under which queries look into old and new clusters, and writers put rows into new ones
//! alone. When all requests that began before have ended, rows are put into their new clusters; when all requests that
//! began before that have ended, they are taken out of the old ones; then a model without these is announced. Wherever
//! this stops, the index is whole, and the next revision goes on from there.

use super::coded_rows::{CodedRows, entry_of};
use super::open_items::Opening;
use super::session::LoadedModel;
use super::training_plan::TrainingPlan;
use super::{OpenIndex, Service, ServiceError};
use crate::domain::{Command, IndexRecord, ModelRef};
use sealdex_core::{BlockId, ClusterNo, IndexId, ItemLabel, Op};
use sealdex_crypto::random_16;
use sealdex_index::dataplane::{ClusterRows, Fetched, Fields, FoldRequest, ShardError};
use sealdex_index::model::Model;
use sealdex_proto::partition::{Blob, PutBlobs, entry};
use std::sync::Arc;

/// Clusters that rows are moved out of together, unless so many bytes of codes come together before.
const SOURCES_TOGETHER: usize = 64;
const CODE_BYTES_TOGETHER: usize = 32 << 20;
/// Rows whose vectors are opened at a time.
const ROWS_AT_ONCE: usize = 4_096;
/// Times that a cluster is read because its blocks were replaced meanwhile.
const READINGS_MAX: usize = 8;

/// What became of a revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Revised {
    /// The generation suits the index.
    Done,
    /// Its codes do not: no clusters would reach the recall that is wanted.
    Unserved,
}

/// A generation that is being revised, as it is announced.
struct Announced {
    record: Arc<IndexRecord>,
    model: Arc<LoadedModel>,
}

/// A cluster that rows were moved out of.
struct Source {
    cluster: ClusterNo,
    blocks: Vec<BlockId>,
    /// The rows that are elsewhere now, or not current.
    leave: Vec<(ItemLabel, Op)>,
}

impl Service {
    /// Has the active generation go along with what has become of the index since it was learned.
    pub(super) async fn revise(
        &self,
        index: &OpenIndex,
        record: &Arc<IndexRecord>,
        plan: TrainingPlan,
    ) -> Result<Revised, ServiceError> {
        tracing::info!(
            clusters = record.active.clusters,
            items = plan.items,
            "revising a generation"
        );
        // Who cannot be waited for now, cannot later either: better before anything is announced.
        self.all_settled(index).await?;
        let mut stage = Announced {
            record: record.clone(),
            model: self.active_model(index, record).await?,
        };
        if stage.model.model.is_moving() {
            stage = self.move_rows(index, stage).await?;
        }
        let sample = self.sample(index, &stage.record, &plan).await?;
        let model = stage.model.clone();
        let revision = self
            .training_cpu
            .run(move || plan.revise(&model.model, &sample))
            .await?;
        let Some(revision) = revision else {
            return Ok(Revised::Unserved);
        };
        let (clusters, steps) = (stage.model.model.clusters(), revision.steps.len());
        for step in &revision.steps {
            let moving = stage.model.model.begin(step);
            stage = self.announce(index, &stage, moving).await?;
            stage = self.move_rows(index, stage).await?;
        }
        let recall = revision.learned.recall;
        let last = stage.model.model.looking(revision.learned);
        stage = self.announce(index, &stage, last).await?;
        tracing::info!(
            steps,
            clusters_before = clusters,
            clusters = stage.model.model.clusters(),
            recall_at_10 = recall[0],
            recall_at_100 = recall[1],
            "revised a generation"
        );
        Ok(Revised::Done)
    }

    /// Moves the rows of a step to where the model puts them, and announces the model that has nothing to move any more.
    async fn move_rows(&self, index: &OpenIndex, stage: Announced) -> Result<Announced, ServiceError> {
        let mut left: Vec<Source> = Vec::new();
        let mut gathered = CodedRows::default();
        for cluster in stage.model.model.sources() {
            let (rows, source) = self.rows_to_move(index, &stage.model, cluster, gathered).await?;
            gathered = rows;
            left.extend(source);
            if left.len() >= SOURCES_TOGETHER || gathered.code_bytes() >= CODE_BYTES_TOGETHER {
                self.resettle(index, &stage.model, std::mem::take(&mut gathered), &mut left)
                    .await?;
            }
        }
        self.resettle(index, &stage.model, gathered, &mut left).await?;
        self.announce(index, &stage, stage.model.model.arrived()).await
    }

    /// Puts rows into their new clusters, and takes them out of those they lay in when nobody looks for them there alone.
    async fn resettle(
        &self,
        index: &OpenIndex,
        model: &Arc<LoadedModel>,
        rows: CodedRows<'static>,
        left: &mut Vec<Source>,
    ) -> Result<(), ServiceError> {
        self.append(index, model, rows).await?;
        self.all_settled(index).await?;
        for source in left.drain(..) {
            self.take_out(index, model, source).await?;
        }
        Ok(())
    }

    /// Adds to `gathered` the rows of a cluster that belong elsewhere, and tells which of its rows may then leave it.
    async fn rows_to_move(
        &self,
        index: &OpenIndex,
        model: &Arc<LoadedModel>,
        cluster: ClusterNo,
        mut gathered: CodedRows<'static>,
    ) -> Result<(CodedRows<'static>, Option<Source>), ServiceError> {
        let ClusterRows { blocks, rows } = self.rows_of(index, model, cluster).await?;
        if blocks.is_empty() {
            return Ok((gathered, None));
        }
        let mut leave = Vec::new();
        for some in rows.chunks(ROWS_AT_ONCE) {
            let mut items = Vec::with_capacity(some.len());
            let opening = Opening {
                session: index.reader("train")?,
                precision: index.record.precision,
                fields: Fields {
                    vector: true,
                    meta: true,
                    contents: false,
                },
                items: some.iter().map(|(label, op)| (*label, Some(*op))).collect(),
                since: None,
            };
            let keep = |item: Fetched| {
                items.push(item);
                Ok(())
            };
            self.fanout.open_items(opening, keep).await?;
            let here = model.clone();
            let moved;
            (gathered, moved) = self
                .training_cpu
                .run(move || {
                    let moved = gathered.extend_items(&here, items, |to| here.model.moves(cluster, to));
                    (gathered, moved)
                })
                .await?;
            self.trainer.filled(moved.len());
            leave.extend(moved);
        }
        if model.model.takes_no_rows(cluster) {
            // Nobody writes to it any more, so what is not current there never will be.
            leave = rows;
        }
        let source = Source {
            cluster,
            blocks,
            leave,
        };
        Ok((gathered, (!source.leave.is_empty()).then_some(source)))
    }

    /// Takes rows out of a cluster. Where a fold has been quicker, they are in other blocks.
    async fn take_out(
        &self,
        index: &OpenIndex,
        model: &LoadedModel,
        mut source: Source,
    ) -> Result<(), ServiceError> {
        let session = index.reader("train")?;
        let label = model.label(source.cluster);
        let partition = self.fanout.placement.of_cluster(&label);
        for _ in 0..READINGS_MAX {
            let folded = self
                .fanout
                .leased(session, partition, |target| {
                    self.fanout.shards.fold(FoldRequest {
                        target,
                        generation: model.model.generation,
                        cluster: label,
                        blocks: source.blocks.clone(),
                        dead: source.leave.clone(),
                        codec: model.model.quantiser.codec(),
                        dimension: model.model.dimension,
                    })
                })
                .await;
            match folded {
                Err(ShardError::BlocksGone) => {
                    source.blocks = self.rows_of(index, model, source.cluster).await?.blocks;
                }
                folded => return Ok(folded.map(drop)?),
            }
        }
        Err(ShardError::Busy.into())
    }

    async fn rows_of(
        &self,
        index: &OpenIndex,
        model: &LoadedModel,
        cluster: ClusterNo,
    ) -> Result<ClusterRows, ServiceError> {
        let label = model.label(cluster);
        let partition = self.fanout.placement.of_cluster(&label);
        let rows = |target| {
            self.fanout
                .shards
                .cluster_rows(target, model.model.generation, label)
        };
        Ok(self
            .fanout
            .leased(index.reader("train")?, partition, rows)
            .await?)
    }

    /// Puts a model into the place of the active generation's, and returns when no request uses the one before.
    async fn announce(
        &self,
        index: &OpenIndex,
        stage: &Announced,
        model: Model,
    ) -> Result<Announced, ServiceError> {
        let active = &stage.record.active;
        let change = Command::ReviseModel {
            name: stage.record.name.clone(),
            id: stage.record.id,
            generation: active.generation,
            replaces: active.model.ok_or_else(without_model)?,
            model: self.store_model(index, &model, random_16()).await?,
            clusters: model.clusters(),
        };
        let record = self.catalog.change(change).await?;
        let record = self.drop_former_models(index, record).await?;
        let model = self.active_model(index, &record).await?;
        Ok(Announced { record, model })
    }

    /// Waits until all requests of the index have ended, on whichever coordinator, that began with metadata before these.
    async fn all_settled(&self, index: &OpenIndex) -> Result<(), ServiceError> {
        let session = index.reader("train")?;
        session.writes.settled().await;
        session.reads.settled().await;
        let settled = self.fanout.fellows.settle_requests(session.id).await;
        Ok(settled.map_err(|_| ShardError::Busy)?)
    }

    /// On behalf of another coordinator: waits until no request of an index is under way here that began with metadata before
    /// these.
    pub(crate) async fn settle_requests(&self, index: IndexId) -> Result<(), ServiceError> {
        self.catalog.catch_up().await?;
        if let Some(under_way) = self.custodian.under_way(index) {
            under_way.writes.settled().await;
            under_way.reads.settled().await;
        }
        Ok(())
    }

    async fn active_model(
        &self,
        index: &OpenIndex,
        record: &IndexRecord,
    ) -> Result<Arc<LoadedModel>, ServiceError> {
        let model = self.fanout.model(index.reader("train")?, &record.active).await?;
        model.ok_or_else(without_model)
    }

    /// Removes models of the active generation that others took the place of, when no request uses them any more.
    pub(super) async fn drop_former_models(
        &self,
        index: &OpenIndex,
        mut record: Arc<IndexRecord>,
    ) -> Result<Arc<IndexRecord>, ServiceError> {
        if record.active.former.is_empty() {
            return Ok(record);
        }
        self.all_settled(index).await?;
        let generation = record.active.generation;
        for model in record.active.former.clone() {
            self.remove_pieces(index, &record, model).await?;
            let forget = Command::ForgetModel {
                name: record.name.clone(),
                id: record.id,
                generation,
                model,
            };
            record = self.catalog.change(forget).await?;
        }
        Ok(record)
    }

    async fn remove_pieces(
        &self,
        index: &OpenIndex,
        record: &IndexRecord,
        model: ModelRef,
    ) -> Result<(), ServiceError> {
        let (session, writer) = (index.reader("train")?, index.writer("train")?);
        let generation = record.active.generation;
        for number in 0..model.pieces {
            let label = session.labels.blob(generation, &model.id, number);
            let nothing = PutBlobs {
                generation: generation.0,
                blobs: vec![Blob {
                    label: label.as_bytes().to_vec().into(),
                    sealed: Vec::new().into(),
                }],
            };
            let entry = entry_of(record.id, entry::Command::PutBlobs(nothing));
            self.fanout
                .write(writer, self.fanout.placement.of_blob(&label), entry)
                .await?;
        }
        Ok(())
    }
}

fn without_model() -> ServiceError {
    ServiceError::internal("a generation without a model")
}
