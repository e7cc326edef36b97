//! Promotion: gives rows to what waits in an index's inbox, on behalf of somebody who may read and write. One worker, a
//! bounded queue, small batches with pauses between. Whatever it does not come to waits on, and is found all the same.

use super::inbox::Waiting;
use super::write_plan::WritePlan;
use super::{OpenIndex, Service, ServiceError, Vectors};
use parking_lot::Mutex;
use sealdex_core::ErrorCode;
use sealdex_index::dataplane::Fetched;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Indexes that may wait for a promotion. When more do, they are noticed again when they are used again.
const QUEUE: usize = 1024;
/// How long an item waits at least: a query of less than that never has to start again because one came and went, and
/// what comes together is promoted together.
const PAUSE: Duration = Duration::from_millis(500);
/// Items promoted together.
const BATCH: usize = 512;

/// The background worker that promotes.
pub(crate) struct Promoter {
    queue: mpsc::Sender<OpenIndex>,
    noticed: Mutex<Option<mpsc::Receiver<OpenIndex>>>,
    stopping: CancellationToken,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Default for Promoter {
    fn default() -> Self {
        let (queue, noticed) = mpsc::channel(QUEUE);
        Self {
            queue,
            noticed: Mutex::new(Some(noticed)),
            stopping: CancellationToken::new(),
            worker: Mutex::default(),
        }
    }
}

impl Promoter {
    pub(super) fn start(&self, service: Weak<Service>) {
        if let Some(noticed) = self.noticed.lock().take() {
            let worker = tokio::spawn(work(service, noticed, self.stopping.clone()));
            *self.worker.lock() = Some(worker);
        }
    }

    /// Takes note that something waits in an index's inbox, if whoever found it may read and write. Never waits.
    pub(crate) fn notice(&self, index: &OpenIndex) {
        let (Some(session), Some(_)) = (&index.reader, &index.writer) else {
            return;
        };
        if session.inbox.noticed.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.queue.try_send(index.clone()).is_err() {
            session.inbox.noticed.store(false, Ordering::Release);
        }
    }

    /// Ends the worker after the batch it is at.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            let _ = worker.await;
        }
    }
}

async fn work(service: Weak<Service>, mut noticed: mpsc::Receiver<OpenIndex>, stopping: CancellationToken) {
    let mut indexes = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            received = noticed.recv_many(&mut indexes, QUEUE) => if received == 0 { return },
        }
        let Some(listing) = service.upgrade() else { return };
        let mut waiting = Vec::with_capacity(indexes.len());
        for index in indexes.drain(..) {
            match listing.waiting_items(&index).await {
                Ok(items) => waiting.push((index, items)),
                Err(error) => warn(&error),
            }
        }
        drop(listing);
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        let Some(service) = service.upgrade() else { return };
        for (index, items) in waiting {
            if items.is_empty() {
                continue;
            }
            let promoted = service.promote(&index, items).await;
            // As after every other upsert.
            let trained = match promoted {
                Ok(()) => service.train_if_due(&index).await.map(drop),
                failed => failed,
            };
            if let Err(error) = trained {
                warn(&error);
            }
        }
    }
}

fn warn(error: &ServiceError) {
    // A deleted index has nothing to promote.
    if error.code() == ErrorCode::NotFound {
        return;
    }
    tracing::warn!(code = ?error.code(), context = error.context(), "items wait on in an inbox");
}

impl Service {
    /// Promotes all that waits in an index's inbox now.
    pub(crate) async fn promote_all(&self, index: &OpenIndex) -> Result<(), ServiceError> {
        let items = self.waiting_items(index).await?;
        self.promote(index, items).await
    }

    async fn waiting_items(&self, index: &OpenIndex) -> Result<Vec<Arc<Waiting>>, ServiceError> {
        let session = index.reader("promote items")?;
        // What comes from here on is to be noticed again.
        session.inbox.noticed.store(false, Ordering::Release);
        let all = self.fanout.all_partitions();
        let look = self
            .look_into_inbox(session, index.record.precision, &all)
            .await?;
        Ok(look.items.into_values().collect())
    }

    /// Promotes these items, as far as they still wait.
    async fn promote(&self, index: &OpenIndex, items: Vec<Arc<Waiting>>) -> Result<(), ServiceError> {
        let session = index.reader("promote items")?;
        for batch in items.chunks(BATCH) {
            if self.promoter.stopping.is_cancelled() {
                return Ok(());
            }
            let alone = session.inbox.promoting.lock().await;
            let began = Instant::now();
            let labels: Vec<_> = batch.iter().map(|item| item.item().label).collect();
            let homes = self.fanout.homes_of(&labels);
            let now = self
                .look_into_inbox(session, index.record.precision, &homes)
                .await?
                .items;
            let waits = |item: &Fetched| now.get(&item.label).is_some_and(|now| now.item().op == item.op);
            let batch: Vec<_> = batch.iter().filter(|item| waits(item.item())).cloned().collect();
            if !batch.is_empty() {
                self.promote_batch(index, &batch).await?;
            }
            drop(alone);
            // At most half of the time, so that a full inbox is not felt.
            tokio::time::sleep(began.elapsed()).await;
        }
        Ok(())
    }

    async fn promote_batch(&self, index: &OpenIndex, batch: &[Arc<Waiting>]) -> Result<(), ServiceError> {
        let record = self.current_record(index)?;
        let dimension = record.dimension;
        let dimension = dimension.ok_or_else(|| ServiceError::internal("items wait without a dimension"))?;
        let values = batch
            .iter()
            .flat_map(|waiting| waiting.item().vector.iter().flatten())
            .copied()
            .collect();
        let vectors =
            Vectors::new(dimension, values).map_err(|error| ServiceError::internal(error.to_string()))?;
        let (precision, batch) = (record.precision, batch.to_vec());
        self.write_planned(index, &vectors, move |session, placement, models| {
            WritePlan::of_promotion(session, placement, precision, models, &batch)
        })
        .await
    }
}
