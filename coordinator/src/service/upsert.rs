//! Upserts: seal, append the code rows, then commit the items.

use super::session::{LoadedModel, Session, Writer};
use super::write_plan::WritePlan;
use super::{OpenIndex, Service, ServiceError, Upsert, Upserted, Vectors};
use crate::domain::{Command, IndexRecord, ModelRef};
use futures_util::future::try_join_all;
use sealdex_core::{ErrorCode, Placement, Precision, limits};
use sealdex_crypto::random_16;
use sealdex_index::dataplane::ShardError;
use sealdex_index::distance;
use sealdex_index::model::Model;
use sealdex_telemetry::{Stage, stage};
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument;

/// How often a write starts again because the set of generations changed under it, and the pause before each.
const GENERATION_CHANGES_MAX: u32 = 100;
const GENERATION_CHANGE_PAUSE: Duration = Duration::from_millis(10);

/// How long what a node was asked to propose may take to its log, after who asked has given up.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(5);

/// Rows of the first upsert that the untrained model is made from.
const UNTRAINED_SAMPLE_ROWS: usize = 1024;

impl Service {
    /// Writes items; returns when every one of them is durable and found by every query from then on. Nothing is
    /// written unless the whole request is valid.
    ///
    /// Runs to its end even if the caller goes away: a write that stopped between its two halves could otherwise be
    /// mistaken for a dead one.
    pub async fn upsert(
        self: &Arc<Self>,
        index: &OpenIndex,
        request: Upsert,
    ) -> Result<Upserted, ServiceError> {
        index.writer("upsert vectors")?;
        check(index, &request)?;
        let (service, index) = (self.clone(), index.clone());
        let to_its_end = async move {
            let items = request.ids.len();
            if index.reader.is_none() {
                // What the number of items would tell is not for who may not read.
                service.write_to_inbox(&index, request).await?;
                let training_triggered = None;
                return Ok(Upserted {
                    items,
                    training_triggered,
                });
            }
            service.write(&index, Arc::new(request)).await?;
            service.notice_inbox(&index).await;
            // The items are written, whatever becomes of this.
            let training_triggered = service.train_if_due_quietly(&index).await;
            Ok(Upserted {
                items,
                training_triggered,
            })
        };
        tokio::spawn(to_its_end.in_current_span())
            .await
            .map_err(|e| ServiceError::internal(e.to_string()))?
    }

    async fn write(&self, index: &OpenIndex, request: Arc<Upsert>) -> Result<(), ServiceError> {
        let precision = index.record.precision;
        let planned = request.clone();
        self.write_planned(index, &request.vectors, move |session, placement, models| {
            WritePlan::of_upsert(session, placement, precision, models, &planned)
        })
        .await
    }

    /// Writes what `plan` makes of `vectors` for the generations that must have it, and again if those change meanwhile.
    pub(super) async fn write_planned(
        &self,
        index: &OpenIndex,
        vectors: &Vectors,
        plan: impl Fn(&Session, &Placement, &[Arc<LoadedModel>]) -> WritePlan + Clone + Send + 'static,
    ) -> Result<(), ServiceError> {
        let (session, writer) = (index.reader("upsert vectors")?, index.writer("upsert vectors")?);
        let writing = session.writes.begin();
        let written = self
            .write_while_begun(index, vectors, plan, (session, writer))
            .await;
        if written.is_err() {
            // Some of it may still be on its way to a log, and be committed.
            tokio::spawn(async move {
                tokio::time::sleep(ON_ITS_WAY_MAX).await;
                drop(writing);
            });
        }
        written
    }

    async fn write_while_begun(
        &self,
        index: &OpenIndex,
        vectors: &Vectors,
        plan: impl Fn(&Session, &Placement, &[Arc<LoadedModel>]) -> WritePlan + Clone + Send + 'static,
        (session, writer): (&Arc<Session>, &Arc<Writer>),
    ) -> Result<(), ServiceError> {
        for _ in 0..GENERATION_CHANGES_MAX {
            let models = self.models_to_write(index, vectors).await?;
            let plan = {
                let (session, placement) = (session.clone(), self.fanout.placement.clone());
                let plan = plan.clone();
                let seal = self.cpu.run(move || plan(&session, &placement, &models));
                stage(Stage::Seal, seal).await?
            };
            // All of it, so that what is appended first is not in vain.
            self.fanout.shards.check_room(plan.bytes()).await?;
            match self.propose_all(session, writer, plan).await {
                Err(ShardError::StaleGeneration) => tokio::time::sleep(GENERATION_CHANGE_PAUSE).await,
                outcome => return Ok(outcome?),
            }
        }
        Err(ShardError::Busy.into())
    }

    async fn propose_all(
        &self,
        session: &Arc<Session>,
        writer: &Writer,
        plan: WritePlan,
    ) -> Result<(), ShardError> {
        for (step, entries) in [(Stage::Append, plan.appends), (Stage::Commit, plan.commits)] {
            let proposals = entries
                .into_iter()
                .map(|(partition, entry)| self.fanout.write(writer, partition, entry));
            for applied in stage(step, try_join_all(proposals)).await? {
                self.maintenance.note(session, &applied);
            }
        }
        session.fitness.lock().note_written(plan.rows, plan.strays);
        Ok(())
    }

    /// The models of all generations that a write must go to, as the catalogue says now.
    async fn models_to_write(
        &self,
        index: &OpenIndex,
        vectors: &Vectors,
    ) -> Result<Vec<Arc<LoadedModel>>, ServiceError> {
        let session = index.reader("upsert vectors")?;
        let mut record = self.current_record(index)?;
        if record.active.model.is_none() {
            record = self.fix_dimension(index, vectors).await?;
        }
        check_dimension(&record, vectors)?;
        let mut models = Vec::with_capacity(2);
        for generation in std::iter::once(&record.active).chain(&record.building) {
            let model = self.fanout.model(session, generation).await?;
            models.push(model.ok_or_else(|| ServiceError::internal("a generation without a model"))?);
        }
        Ok(models)
    }

    /// Makes the untrained model from the first vectors, stores it, and announces it with the dimension.
    async fn fix_dimension(
        &self,
        index: &OpenIndex,
        vectors: &Vectors,
    ) -> Result<Arc<IndexRecord>, ServiceError> {
        let session = index.reader("upsert vectors")?;
        let _first = session.first_upsert.lock().await;
        let record = self.current_record(index)?;
        if record.active.model.is_some() {
            return Ok(record);
        }
        check_dimension(&record, vectors)?;
        let dimension = vectors.dimension();
        let sample = &vectors.values()[..vectors.len().min(UNTRAINED_SAMPLE_ROWS) * dimension.get()];
        let active = &record.active;
        let model = Model::untrained(
            active.generation,
            record.metric,
            dimension,
            sample,
            active.clusters,
        );
        let model: ModelRef = self.store_model(index, &model, random_16()).await?;
        let (name, id) = (record.name.clone(), record.id);
        Ok(self
            .catalog
            .change(Command::SetUntrainedModel {
                name,
                id,
                dimension,
                model,
            })
            .await?)
    }
}

pub(super) fn check_dimension(record: &IndexRecord, vectors: &Vectors) -> Result<(), ServiceError> {
    match record.dimension {
        Some(dimension) if dimension != vectors.dimension() => Err(ServiceError::invalid(format!(
            "The dimension of the vectors provided ({}) doesn't match the index's ({dimension}).",
            vectors.dimension()
        ))),
        _ => Ok(()),
    }
}

fn check(index: &OpenIndex, request: &Upsert) -> Result<(), ServiceError> {
    let rows = request.vectors.len();
    if rows == 0 {
        return Err(ServiceError::invalid("Send at least one item."));
    }
    if [request.ids.len(), request.metadata.len(), request.contents.len()]
        .iter()
        .any(|n| *n != rows)
    {
        return Err(ServiceError::invalid(
            "ids, vectors, metadata and contents must be equally many; leave metadata and contents out or fill up with null.",
        ));
    }
    let too_large = |what: String| Err(ServiceError::new(ErrorCode::TooLarge, what));
    if rows > limits::ITEMS_PER_REQUEST_MAX {
        return too_large(format!(
            "A request may hold at most {} items; send several requests.",
            limits::ITEMS_PER_REQUEST_MAX
        ));
    }
    if let Some(at) = request.ids.iter().position(|id| id.len() > limits::ID_BYTES_MAX) {
        return too_large(format!(
            "The id of the item at index {at} is longer than {} bytes.",
            limits::ID_BYTES_MAX
        ));
    }
    let contents = |text: &Option<String>| {
        text.as_ref()
            .is_some_and(|t| t.len() > limits::CONTENTS_BYTES_MAX)
    };
    if let Some(at) = request.contents.iter().position(contents) {
        return too_large(format!(
            "The contents of the item at index {at} are longer than {} bytes.",
            limits::CONTENTS_BYTES_MAX
        ));
    }
    check_precision(index, request)
}

/// Half precision ends at 65,504: what does not fit is refused rather than stored as infinity.
fn check_precision(index: &OpenIndex, request: &Upsert) -> Result<(), ServiceError> {
    let mut halves = Vec::new();
    let mut fits = |row: &[f32]| {
        halves.clear();
        distance::encode_f16(row, &mut halves)
    };
    match index.record.precision {
        Precision::Float32 => Ok(()),
        Precision::Float16 => match request.vectors.rows().position(|row| !fits(row)) {
            None => Ok(()),
            Some(at) => Err(ServiceError::invalid(format!(
                "The vector of the item at index {at} holds a value that float16 cannot represent; scale it or create the index with float32."
            ))),
        },
    }
}
