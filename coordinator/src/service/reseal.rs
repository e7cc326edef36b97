//! What a rotation does with an index's records: pins and drops write keys, and has every record that is of the old key
//! epoch sealed again under the new one, at a measured pace.

use super::rotation::Progress;
use super::session::{Session, Writer};
use super::{OpenIndex, Service, ServiceError};
use crate::domain::{EpochKeys, GenerationRecord, ModelRef};
use sealdex_core::{ErrorCode, PartitionId};
use sealdex_crypto::{Aad, RecordKind};
use sealdex_index::dataplane::{ResealPlace, ResealRequest, Resealed, ShardError};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{Blob, DropWriteKeys, Entry, PinWriteKey, PutBlobs, entry};
use std::time::{Duration, Instant};

/// How long a shard that has too much to do is left alone.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

impl Service {
    /// Has every partition take batches that are signed under the next epoch's key too. Signed under the present one: who
    /// can only edit metadata cannot bring in a key of their own.
    pub(super) async fn pin_write_key(
        &self,
        index: &OpenIndex,
        next: &EpochKeys,
    ) -> Result<(), ServiceError> {
        let pin = PinWriteKey {
            epoch: next.epoch.0,
            write_key: next.public.write.to_vec().into(),
        };
        self.signed_everywhere(index, entry::Command::PinWriteKey(pin))
            .await
    }

    /// Has every partition refuse batches that are signed under keys of earlier epochs.
    pub(super) async fn drop_write_keys(&self, index: &OpenIndex) -> Result<(), ServiceError> {
        let drop = DropWriteKeys {
            epoch: index.record.key.epoch.0,
        };
        self.signed_everywhere(index, entry::Command::DropWriteKeys(drop))
            .await
    }

    async fn signed_everywhere(
        &self,
        index: &OpenIndex,
        command: entry::Command,
    ) -> Result<(), ServiceError> {
        let writer = index.writer("rotate")?;
        for partition in self.fanout.placement.partitions() {
            let entry = entry_of(writer, command.clone());
            self.fanout.write(writer, partition, entry).await?;
        }
        Ok(())
    }

    /// Goes through every record of the index. What is of the present epoch already, because it was written since or sealed
    /// before a crash, is only looked at.
    pub(super) async fn reseal_all(
        &self,
        index: &OpenIndex,
        progress: &Progress,
    ) -> Result<(), ServiceError> {
        let session = index.reader("rotate")?;
        let record = self.current_record(index)?;
        progress.begin_resealing(self.count(index).await?);
        let generations: Vec<&GenerationRecord> =
            std::iter::once(&record.active).chain(&record.building).collect();
        for generation in &generations {
            if let Some(model) = generation.model {
                self.reseal_model(session, index.writer("rotate")?, generation, model)
                    .await?;
            }
        }
        for partition in self.fanout.placement.partitions() {
            let blocks = generations
                .iter()
                .map(|generation| ResealPlace::Blocks(generation.generation, None));
            for place in std::iter::once(ResealPlace::Items(None)).chain(blocks) {
                self.reseal_from(index, session, partition, place, progress)
                    .await?;
            }
        }
        // Nobody seals those again.
        self.drop_former_models(index, self.current_record(index)?)
            .await?;
        Ok(())
    }

    async fn reseal_from(
        &self,
        index: &OpenIndex,
        session: &Session,
        partition: PartitionId,
        place: ResealPlace,
        progress: &Progress,
    ) -> Result<(), ServiceError> {
        let mut next = Some(place);
        while let Some(from) = next {
            let began = Instant::now();
            let call = |target| self.fanout.shards.reseal(ResealRequest { target, from });
            let done = match self.fanout.leased(session, partition, call).await {
                Err(ShardError::Busy) => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                // A training has put another generation in its place.
                Err(ShardError::StaleGeneration) => return Ok(()),
                done => done?,
            };
            match from {
                ResealPlace::Items(_) => progress.went_through(done.looked_at, 0),
                ResealPlace::Blocks(..) => progress.went_through(0, done.looked_at),
            }
            next = done.next;
            self.keep_pace(&done, began.elapsed()).await;
            self.check_key_is_live(&*self.current_record(index)?).await?;
        }
        Ok(())
    }

    /// Waits until as much time has passed as the bytes may take.
    async fn keep_pace(&self, done: &Resealed, took: Duration) {
        let rate = self.settings.reseal_bytes_per_second;
        if rate > 0 {
            let due = Duration::from_secs_f64(done.bytes as f64 / rate as f64);
            tokio::time::sleep(due.saturating_sub(took)).await;
        }
    }

    async fn reseal_model(
        &self,
        session: &Session,
        writer: &Writer,
        generation: &GenerationRecord,
        model: ModelRef,
    ) -> Result<(), ServiceError> {
        let generation = generation.generation;
        for number in 0..model.pieces {
            let label = session.labels.blob(generation, &model.id, number);
            let partition = self.fanout.placement.of_blob(&label);
            let read = |target| self.fanout.shards.blob(target, generation, label);
            // Gone with its generation.
            let Some(sealed) = self.fanout.leased(session, partition, read).await? else {
                continue;
            };
            let aad = Aad {
                kind: RecordKind::Model,
                part: 0,
                label: label.as_bytes(),
                generation,
                op: &model.id,
            };
            let resealed = session.model_keys.reseal(&aad, &sealed);
            let Some(sealed) = resealed.map_err(|_| damaged())? else {
                continue;
            };
            let blob = Blob {
                label: label.as_bytes().to_vec().into(),
                sealed: sealed.into(),
            };
            let put = PutBlobs {
                generation: generation.0,
                blobs: vec![blob],
            };
            let entry = entry_of(writer, entry::Command::PutBlobs(put));
            match self.fanout.write(writer, partition, entry).await {
                Ok(_) | Err(ShardError::StaleGeneration) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn entry_of(writer: &Writer, command: entry::Command) -> Entry {
    Entry {
        version: ENTRY_VERSION,
        index: writer.index.0,
        command: Some(command),
    }
}

fn damaged() -> ServiceError {
    ServiceError::new(
        ErrorCode::Corrupt,
        "The index's stored model is damaged and cannot be sealed again; train the index.",
    )
}
