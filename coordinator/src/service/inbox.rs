//! The inbox of an index as its readers see it: opened here, kept with the session, and joined to what shards find.
//!
//! Items come and go while a request is under way, so a request looks twice: before it asks the shards, and after. What
//! waits at either time it knows; what came and left in between the numbers of the two looks tell of. Where nobody was ever
//! let in who may write and not read, nothing can wait, and only that is looked at.

use super::session::Session;
use super::{OpenIndex, Service, ServiceError};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use rayon::prelude::*;
use sealdex_core::{ErrorCode, IndexId, ItemLabel, KeyEpoch, Op, PartitionId, Precision};
use sealdex_crypto::{InboxContext, InboxOpener};
use sealdex_index::dataplane::{Fetched, InboxRequest, ShardError, WaitingItem};
use sealdex_index::{distance, record};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zeroize::{Zeroize, Zeroizing};

/// How often a look starts again because what was kept opened was given up under it.
const LOOKS_MAX: usize = 8;

/// How often a reader tries while items are promoted.
const RESTLESS_ATTEMPTS: usize = 2;

/// An opened item of the inbox, as a shard would answer it if it could open it. Id, vector and contents are overwritten
/// when it is dropped.
pub(crate) struct Waiting(Fetched);

impl Waiting {
    pub(crate) fn item(&self) -> &Fetched {
        &self.0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.id.zeroize();
        self.0.vector.zeroize();
        self.0.contents.zeroize();
    }
}

/// What a session keeps of its index's inbox: what opens it, and what was opened and still waits.
pub(crate) struct OpenedInbox {
    /// One for each key epoch that items may be of.
    openers: Vec<(KeyEpoch, InboxOpener)>,
    /// By partition number.
    partitions: Vec<Mutex<Kept>>,
    /// Whether the promoter has been told and has not looked yet.
    pub(super) noticed: AtomicBool,
    /// One batch of promotions at a time, and none while a reader holds it who had to start again too often.
    pub(super) promoting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    /// Of what waits, all with an arrival up to this one are in `items`.
    seen: u64,
    items: HashMap<Op, (u64, Arc<Waiting>)>,
}

impl OpenedInbox {
    pub(crate) fn new(openers: Vec<(KeyEpoch, InboxOpener)>, partitions: u16) -> Self {
        Self {
            openers,
            partitions: (0..partitions).map(|_| Mutex::default()).collect(),
            noticed: AtomicBool::new(false),
            promoting: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps items from being promoted while a reader, who has started again as often already, looks once more: else a
    /// slow one might never see an inbox that stays as it is.
    pub(super) async fn quiet(&self, attempt: usize) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match attempt > RESTLESS_ATTEMPTS {
            true => Some(self.promoting.lock().await),
            false => None,
        }
    }

    fn kept(&self, partition: PartitionId) -> &Mutex<Kept> {
        &self.partitions[usize::from(partition.0)]
    }

    fn open(
        &self,
        index: IndexId,
        partition: PartitionId,
        precision: Precision,
        waiting: &WaitingItem,
    ) -> Option<(Op, (u64, Arc<Waiting>))> {
        let sealed = waiting.sealed.as_ref()?;
        let context = InboxContext {
            index,
            epoch: sealed.epoch,
            partition,
            label: waiting.label,
            op: waiting.op,
            part: 0,
        };
        let (_, opener) = self.openers.iter().find(|(epoch, _)| *epoch == sealed.epoch)?;
        let plaintext = Zeroizing::new(opener.open(&context, &sealed.sealed).ok()?);
        let whole = record::decode_whole(&plaintext).ok()?;
        let item = Waiting(Fetched {
            label: waiting.label,
            op: waiting.op,
            id: whole.id,
            metadata: whole.metadata,
            vector: Some(vector(precision, whole.vector)?),
            contents: whole.contents.map(<[u8]>::to_vec),
            bytes: plaintext.len(),
        });
        Some((waiting.op, (waiting.arrival, Arc::new(item))))
    }
}

impl Kept {
    /// Takes over what was opened, gives up what no longer waits, and picks out what does; `None` if some of that was
    /// given up meanwhile by another look.
    fn update(
        &mut self,
        waiting: &[WaitingItem],
        arrivals: u64,
        opened: Vec<(Op, (u64, Arc<Waiting>))>,
    ) -> Option<Vec<Arc<Waiting>>> {
        self.items.extend(opened);
        let still: HashSet<Op> = waiting.iter().map(|item| item.op).collect();
        self.items
            .retain(|op, (arrival, _)| *arrival > arrivals || still.contains(op));
        self.seen = self.seen.max(arrivals);
        let item = |waiting: &WaitingItem| Some(self.items.get(&waiting.op)?.1.clone());
        waiting.iter().map(item).collect()
    }
}

fn vector(precision: Precision, stored: &[u8]) -> Option<Vec<f32>> {
    match precision {
        Precision::Float32 => {
            let (values, rest) = stored.as_chunks();
            let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
            rest.is_empty().then_some(values)
        }
        Precision::Float16 => {
            let mut values = Vec::new();
            distance::decode_f16(stored, &mut values);
            stored.len().is_multiple_of(2).then_some(values)
        }
    }
}

/// What waits, as of one look.
#[derive(Default)]
pub(crate) struct Look {
    /// Whether nothing could wait, so that nobody looked.
    is_needless: bool,
    pub(crate) items: HashMap<ItemLabel, Arc<Waiting>>,
    /// By partition, in the order in which they were looked into, as in [`sealdex_index::dataplane::InboxReply`].
    arrivals: Vec<u64>,
    departed: Vec<u64>,
}

/// What waited when a request began and when it had its answer from the shards.
#[derive(Default)]
pub(crate) struct Waited {
    pub(crate) before: Look,
    pub(crate) after: Look,
}

impl Waited {
    /// Whether an item may have come after the first look and gone before the second: neither saw it, and the shards
    /// may have been asked for it while it was there.
    pub(crate) fn may_have_missed(&self) -> bool {
        if self.before.is_needless {
            return !self.after.is_needless;
        }
        let missed = |(departed, arrivals): (&u64, &u64)| departed > arrivals;
        self.after.departed.iter().zip(&self.before.arrivals).any(missed)
    }

    /// The latest version of an item of which the shards found `found`.
    pub(crate) fn latest<'a>(&'a self, label: &ItemLabel, found: Option<&'a Fetched>) -> Option<&'a Fetched> {
        let of = |look: &'a Look| look.items.get(label).map(|waiting| waiting.item());
        of(&self.after).or(found).or_else(|| of(&self.before))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.before.items.is_empty() && self.after.items.is_empty()
    }

    /// This very version of an item, if it waited.
    pub(crate) fn version(&self, label: &ItemLabel, op: &Op) -> Option<&Fetched> {
        let looks = [&self.after, &self.before].into_iter();
        let versions = looks.filter_map(|look| look.items.get(label).map(|waiting| waiting.item()));
        versions.into_iter().find(|item| item.op == *op)
    }

    /// Every item, in its later version.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Fetched> {
        let early = self.before.items.iter();
        let early = early.filter(|(label, _)| !self.after.items.contains_key(*label));
        let all = self.after.items.iter().chain(early);
        all.map(|(_, waiting)| waiting.item())
    }
}

impl Service {
    /// What waits in an index's inbox when a request begins, at these partitions. Who may read and write and finds something has it
    /// promoted.
    pub(crate) async fn inbox_before(
        &self,
        index: &OpenIndex,
        session: &Arc<Session>,
        partitions: &[PartitionId],
    ) -> Result<Look, ServiceError> {
        // The index was opened after the request arrived, so somebody who was let in before is known.
        if self.current_record(index)?.without_inbox {
            return Ok(Look {
                is_needless: true,
                ..Look::default()
            });
        }
        self.inbox(index, session, partitions).await
    }

    /// The same when the shards have answered. Somebody may have been let in since the first look.
    pub(crate) async fn inbox_after(
        &self,
        index: &OpenIndex,
        session: &Arc<Session>,
        partitions: &[PartitionId],
    ) -> Result<Look, ServiceError> {
        self.catalog.catch_up().await?;
        self.inbox_before(index, session, partitions).await
    }

    async fn inbox(
        &self,
        index: &OpenIndex,
        session: &Arc<Session>,
        partitions: &[PartitionId],
    ) -> Result<Look, ServiceError> {
        let look = self
            .look_into_inbox(session, index.record.precision, partitions)
            .await?;
        if !look.items.is_empty() {
            self.promoter.notice(index);
        }
        Ok(look)
    }

    /// Asks the shards, and looks into the inbox before and after, at the partitions that may be of concern; and again if that may have
    /// missed an item.
    pub(crate) async fn beside_inbox<T, F>(
        &self,
        index: &OpenIndex,
        session: &Arc<Session>,
        partitions: &[PartitionId],
        ask: impl Fn() -> F,
    ) -> Result<(T, Waited), ServiceError>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        for attempt in 1..=LOOKS_MAX {
            let _quiet = session.inbox.quiet(attempt).await;
            if let Some(found) = self.beside_inbox_once(index, session, partitions, &ask).await? {
                return Ok(found);
            }
        }
        Err(ShardError::Busy.into())
    }

    /// Asks the shards, and looks into the inbox before and after; `None` if that may have missed an item.
    pub(crate) async fn beside_inbox_once<T, F>(
        &self,
        index: &OpenIndex,
        session: &Arc<Session>,
        partitions: &[PartitionId],
        ask: impl Fn() -> F,
    ) -> Result<Option<(T, Waited)>, ServiceError>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        let before = self.inbox_before(index, session, partitions).await?;
        let found = ask().await?;
        let after = self.inbox_after(index, session, partitions).await?;
        let waited = Waited { before, after };
        Ok((!waited.may_have_missed()).then_some((found, waited)))
    }

    pub(super) async fn look_into_inbox(
        &self,
        session: &Arc<Session>,
        precision: Precision,
        partitions: &[PartitionId],
    ) -> Result<Look, ServiceError> {
        let looks = partitions
            .iter()
            .map(|partition| self.look_into_partition(session, precision, *partition));
        let mut look = Look::default();
        for (items, arrivals, departed) in try_join_all(looks).await? {
            look.items
                .extend(items.into_iter().map(|item| (item.item().label, item)));
            look.arrivals.push(arrivals);
            look.departed.push(departed);
        }
        Ok(look)
    }

    async fn look_into_partition(
        &self,
        session: &Arc<Session>,
        precision: Precision,
        partition: PartitionId,
    ) -> Result<(Vec<Arc<Waiting>>, u64, u64), ServiceError> {
        let index = session.id;
        for _ in 0..LOOKS_MAX {
            let seen = session.inbox.kept(partition).lock().seen;
            let request = InboxRequest {
                partition,
                index,
                seen,
            };
            let mut reply = self.fanout.shards.inbox(request).await?;
            let opened = if reply.waiting.iter().any(|item| item.sealed.is_some()) {
                let (session, waiting) = (session.clone(), std::mem::take(&mut reply.waiting));
                let open = move || {
                    let sealed = waiting.par_iter().filter(|item| item.sealed.is_some());
                    let opened = sealed.map(|item| session.inbox.open(index, partition, precision, item));
                    let opened: Option<Vec<_>> = opened.collect();
                    (waiting, opened)
                };
                let (waiting, opened) = self.cpu.run(open).await?;
                reply.waiting = waiting;
                opened.ok_or_else(damaged)?
            } else {
                Vec::new()
            };
            let mut kept = session.inbox.kept(partition).lock();
            if let Some(items) = kept.update(&reply.waiting, reply.arrivals, opened) {
                return Ok((items, reply.arrivals, reply.departed));
            }
        }
        Err(ShardError::Busy.into())
    }
}

fn damaged() -> ServiceError {
    ServiceError::new(
        ErrorCode::Corrupt,
        "A stored record is damaged, so the request was refused rather than answered wrongly.",
    )
}
