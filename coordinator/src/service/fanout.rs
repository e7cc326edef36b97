//! Calls to shards on behalf of an index: grants the key lease that a shard asks for, and loads models.

use super::ServiceError;
use super::session::{LoadedModel, Session, Writer};
use crate::domain::GenerationRecord;
use crate::ports::{Fellows, ShardClient};
use sealdex_core::{ErrorCode, ItemLabel, PartitionId, Placement};
use sealdex_crypto::Aad;
use sealdex_crypto::RecordKind;
use sealdex_index::dataplane::{Applied, ShardError, Target};
use sealdex_index::model::Model;
use sealdex_proto::partition::Entry;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Leases granted for one call.
const GRANTS_MAX: usize = 3;

/// The shards as the use cases see them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fanout {
    pub(crate) shards: Arc<dyn ShardClient>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) fellows: Arc<dyn Fellows>,
}

impl Fanout {
    pub(crate) fn all_partitions(&self) -> Vec<PartitionId> {
        self.placement.partitions().collect()
    }

    /// The home partitions of these items, each once.
    pub(crate) fn homes_of(&self, labels: &[ItemLabel]) -> Vec<PartitionId> {
        let homes: BTreeSet<PartitionId> = labels.iter().map(|label| self.placement.of_item(label)).collect();
        homes.into_iter().collect()
    }

    /// Proposes what a caller writes.
    pub(crate) async fn write(
        &self,
        writer: &Writer,
        partition: PartitionId,
        entry: Entry,
    ) -> Result<Applied, ShardError> {
        let signature = writer.sign(partition, &entry);
        self.shards.propose(partition, entry, Some(signature)).await
    }

    /// Calls a shard; if it has no live lease for the target, grants one and calls again. A lease that was just granted may
    /// end at once, when the index goes on between its key epochs.
    pub(crate) async fn leased<T, F>(
        &self,
        session: &Session,
        partition: PartitionId,
        call: impl Fn(Target) -> F,
    ) -> Result<T, ShardError>
    where
        F: Future<Output = Result<T, ShardError>>,
    {
        let target = session.target(partition);
        for _ in 0..GRANTS_MAX {
            match call(target).await {
                Err(ShardError::LeaseRequired) => {
                    self.shards.grant(target, session.keys(partition).clone()).await?;
                }
                outcome => return outcome,
            }
        }
        call(target).await
    }

    /// A generation's model, from memory or from the partitions that keep its pieces.
    pub(crate) async fn model(
        &self,
        session: &Session,
        record: &GenerationRecord,
    ) -> Result<Option<Arc<LoadedModel>>, ServiceError> {
        let Some(reference) = record.model else {
            return Ok(None);
        };
        let loaded = session.models.lock().get(&record.generation).cloned();
        if let Some(loaded) = loaded.filter(|loaded| loaded.reference == reference) {
            return Ok(Some(loaded));
        }
        let mut bytes = Vec::new();
        let mut piece = Vec::new();
        for number in 0..reference.pieces {
            let label = session.labels.blob(record.generation, &reference.id, number);
            let partition = self.placement.of_blob(&label);
            let sealed = self
                .leased(session, partition, |target| {
                    self.shards.blob(target, record.generation, label)
                })
                .await?
                .ok_or_else(|| damaged_model("a piece is missing"))?;
            let aad = Aad {
                kind: RecordKind::Model,
                part: 0,
                label: label.as_bytes(),
                generation: record.generation,
                op: &reference.id,
            };
            session
                .model_keys
                .open_into(&aad, &sealed, &mut piece)
                .map_err(|_| damaged_model("a piece does not open"))?;
            bytes.extend_from_slice(&piece);
        }
        let model = Model::from_bytes(&bytes).map_err(|_| damaged_model("it does not parse"))?;
        let loaded = Arc::new(LoadedModel::new(model, reference, &session.labels));
        session.models.lock().insert(record.generation, loaded.clone());
        Ok(Some(loaded))
    }
}

fn damaged_model(what: &str) -> ServiceError {
    tracing::error!(what, "a generation's model is damaged");
    ServiceError::new(
        ErrorCode::Corrupt,
        "The index's stored model is damaged, so the request was refused; its items are intact: train it again.",
    )
}
