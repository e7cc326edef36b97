//! Upserts by users who may write and not read. They cannot tell which clusters rows belong to, so each item is sealed
//! whole to the index's public key and put into the inbox of its home, where it replaces its older version at once.

use super::session::Writer;
use super::upsert::check_dimension;
use super::write_plan::{entries_by_home, last_of_each_id, stored_bytes};
use super::{OpenIndex, Service, ServiceError, Upsert};
use crate::domain::{Command, IndexRecord, KeySource};
use futures_util::future::try_join_all;
use rayon::prelude::*;
use sealdex_core::{ErrorCode, Op, PartitionId, Placement, Precision, limits};
use sealdex_crypto::{InboxContext, InboxPublicKey, random_16};
use sealdex_index::dataplane::InboxRequest;
use sealdex_index::record;
use sealdex_proto::partition::{Entry, InboxItem, PutInbox, entry};
use std::sync::Arc;
use zeroize::Zeroizing;

impl Service {
    /// Seals an upsert and puts it into the inbox; returns when it is durable.
    pub(super) async fn write_to_inbox(
        self: &Arc<Self>,
        index: &OpenIndex,
        request: Upsert,
    ) -> Result<(), ServiceError> {
        let writer = index.writer("upsert vectors")?;
        let inbox = writer.inbox.ok_or_else(too_old)?;
        if index.record.without_inbox {
            // Readers would not look for it.
            return Err(ServiceError::internal(
                "an inbox that nobody was let into is written to",
            ));
        }
        if request.ids.len() > limits::INBOX_ITEMS_MAX {
            return Err(too_large());
        }
        let record = self.with_dimension(index, &request).await?;
        let sealing = {
            let (writer, placement) = (writer.clone(), self.fanout.placement.clone());
            let precision = record.precision;
            move || Sealing::new(&writer, &inbox, &placement, precision, &request)
        };
        let sealing = self.cpu.run(sealing).await?;
        self.check_room(&record, &sealing).await?;
        let puts = sealing.entries.into_iter();
        let puts = puts.map(|(partition, entry)| self.fanout.write(writer, partition, entry));
        try_join_all(puts).await?;
        self.promote_if_kept_by_kms(record);
        Ok(())
    }

    /// The index's record, its dimension fixed by these vectors if it was not known.
    async fn with_dimension(
        &self,
        index: &OpenIndex,
        request: &Upsert,
    ) -> Result<Arc<IndexRecord>, ServiceError> {
        let record = self.current_record(index)?;
        check_dimension(&record, &request.vectors)?;
        if record.dimension.is_some() {
            return Ok(record);
        }
        let fix = Command::FixDimension {
            name: record.name.clone(),
            id: record.id,
            dimension: request.vectors.dimension(),
        };
        Ok(self.catalog.change(fix).await?)
    }

    /// What several requests bring at the same moment may exceed the limits together, none by itself.
    async fn check_room(&self, record: &IndexRecord, sealing: &Sealing) -> Result<(), ServiceError> {
        if sealing.bytes > limits::INBOX_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let (items, bytes) = self.waiting(record).await?;
        let full = items + sealing.items > limits::INBOX_ITEMS_MAX
            || bytes + sealing.bytes > limits::INBOX_BYTES_MAX as u64;
        if full {
            return Err(ServiceError::new(
                ErrorCode::Busy,
                format!(
                    "As many items as may ({} or {} MiB) wait to be taken into the index; let somebody who may read and write use it, then send the request again.",
                    limits::INBOX_ITEMS_MAX,
                    limits::INBOX_BYTES_MAX >> 20
                ),
            ));
        }
        Ok(())
    }

    /// How many items wait in an index's inbox, and their sealed bytes.
    async fn waiting(&self, record: &IndexRecord) -> Result<(usize, u64), ServiceError> {
        let replies = self.fanout.placement.partitions().map(|partition| {
            self.fanout.shards.inbox(InboxRequest {
                partition,
                index: record.id,
                seen: u64::MAX,
            })
        });
        let replies = try_join_all(replies).await?;
        let items = replies.iter().map(|reply| reply.waiting.len()).sum();
        Ok((items, replies.iter().map(|reply| reply.bytes).sum()))
    }

    /// Has the inbox promoted if the caller may read and write, and something is there.
    pub(super) async fn notice_inbox(&self, index: &OpenIndex) {
        if index.reader.is_none() || index.writer.is_none() || index.record.without_inbox {
            return;
        }
        if let Ok((1.., _)) = self.waiting(&index.record).await {
            self.promoter.notice(index);
        }
    }

    /// Where a KMS keeps the index's key, the service may open the index by itself, as long as the KMS says so too.
    fn promote_if_kept_by_kms(self: &Arc<Self>, record: Arc<IndexRecord>) {
        if let KeySource::Client = record.key.source {
            return;
        }
        let service = self.clone();
        tokio::spawn(async move {
            match service.open_with_kms(record).await {
                Ok(index) => service.promoter.notice(&index),
                // It waits for somebody who may read and write.
                Err(error) => {
                    tracing::warn!(code = ?error.code(), context = error.context(), "cannot open an index to promote its inbox")
                }
            }
        });
    }
}

fn too_large() -> ServiceError {
    ServiceError::new(
        ErrorCode::TooLarge,
        format!(
            "A user who may not read may upsert at most {} items and {} MiB at once; send several requests.",
            limits::INBOX_ITEMS_MAX,
            limits::INBOX_BYTES_MAX >> 20
        ),
    )
}

fn too_old() -> ServiceError {
    ServiceError::new(
        ErrorCode::Forbidden,
        "Failed to upsert vectors: permission denied. The token was made by an earlier release, when upserting took the permission 'read'; let the index's owner make another.",
    )
}

/// Sealed items, as entries for their homes.
struct Sealing {
    entries: Vec<(PartitionId, Entry)>,
    items: usize,
    bytes: u64,
}

impl Sealing {
    fn new(
        writer: &Writer,
        inbox: &InboxPublicKey,
        placement: &Placement,
        precision: Precision,
        upsert: &Upsert,
    ) -> Self {
        let sealed: Vec<(PartitionId, InboxItem)> = last_of_each_id(&upsert.ids)
            .into_par_iter()
            .map(|at| sealed_item(writer, inbox, placement, precision, upsert, at))
            .collect();
        Self {
            items: sealed.len(),
            bytes: sealed.iter().map(|(_, item)| item.sealed.len() as u64).sum(),
            entries: entries_by_home(writer.index, sealed, |items| {
                entry::Command::PutInbox(PutInbox { items })
            }),
        }
    }
}

fn sealed_item(
    writer: &Writer,
    inbox: &InboxPublicKey,
    placement: &Placement,
    precision: Precision,
    upsert: &Upsert,
    at: usize,
) -> (PartitionId, InboxItem) {
    let label = writer.labels.item(&upsert.ids[at]);
    let context = InboxContext {
        index: writer.index,
        epoch: writer.epochs.sealing,
        partition: placement.of_item(&label),
        label,
        op: Op(random_16()),
        part: 0,
    };
    let dimension = upsert.vectors.dimension().get();
    let vector = &upsert.vectors.values()[at * dimension..][..dimension];
    let plaintext = Zeroizing::new(record::encode_whole(
        &upsert.ids[at],
        &upsert.metadata[at],
        upsert.contents[at].as_deref().map(str::as_bytes),
        &stored_bytes(precision, vector),
    ));
    let item = InboxItem {
        label: label.as_bytes().to_vec().into(),
        op: context.op.as_bytes().to_vec().into(),
        epoch: writer.epochs.sealing.0,
        sealed: inbox.seal(&context, &plaintext).into(),
    };
    (context.partition, item)
}
