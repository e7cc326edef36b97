//! Index keys that a provider unwrapped, kept for a short time: what a KMS that is down for a moment does not interrupt, and what
//! a withdrawn key is still good for. Knows no provider; whoever asks brings the way to load.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use sealdex_core::IndexId;
use sealdex_crypto::IndexKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Opened keys by index. `E` is why a key could not be loaded; all who waited for it are told.
///
/// A load goes on while somebody waits for it, and its outcome counts only if the index was not forgotten in between. A key that
/// leaves is zeroised when the last request that holds it ends.
pub struct KeyCache<E> {
    entries: Arc<Mutex<Entries<E>>>,
    clock: Clock,
    lifetime: Duration,
    failure_lasts: fn(&E) -> Duration,
}

type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;
type Outcome<E> = Result<Arc<IndexKey>, E>;
type Load<E> = BoxFuture<'static, Outcome<E>>;

struct Entries<E> {
    by_index: HashMap<IndexId, Entry<E>>,
    loads_begun: u64,
}

enum Entry<E> {
    Loading { load: u64, shared: WeakShared<Load<E>> },
    Open { key: Arc<IndexKey>, until: Instant },
    Failed { error: E, until: Instant },
}

impl<E: Clone + Send + Sync + 'static> KeyCache<E> {
    /// A cache that keeps a key for `lifetime` after its load began, and a failure for as long as it lasts, but no longer. With no
    /// lifetime, it only lets those who ask at the same time share one load.
    pub fn new(lifetime: Duration, failure_lasts: fn(&E) -> Duration) -> Self {
        Self::with_clock(lifetime, failure_lasts, Arc::new(Instant::now))
    }

    fn with_clock(lifetime: Duration, failure_lasts: fn(&E) -> Duration, clock: Clock) -> Self {
        let entries = Entries {
            by_index: HashMap::new(),
            loads_begun: 0,
        };
        Self {
            entries: Arc::new(Mutex::new(entries)),
            clock,
            lifetime,
            failure_lasts,
        }
    }

    /// The key of `index`: as kept, or from the load under way, or from `load`, which runs if there is neither. An error is told
    /// to those who wait, and to those who come while it lasts: a provider that fails is not asked once for each request.
    pub async fn get_or_load<F>(&self, index: IndexId, load: impl FnOnce() -> F) -> Outcome<E>
    where
        F: Future<Output = Outcome<E>> + Send + 'static,
    {
        let now = (self.clock)();
        let shared = {
            let mut entries = self.entries.lock();
            match entries.by_index.get(&index) {
                Some(Entry::Open { key, until }) if now < *until => return Ok(key.clone()),
                Some(Entry::Failed { error, until }) if now < *until => return Err(error.clone()),
                Some(Entry::Loading { shared, .. }) => shared.upgrade(),
                _ => None,
            }
            .unwrap_or_else(|| self.begin(&mut entries, index, now, load().boxed()))
        };
        shared.await
    }

    /// Drops the key of `index`. A load under way still answers those who wait for it, and leaves nothing behind.
    pub fn forget(&self, index: IndexId) {
        self.entries.lock().by_index.remove(&index);
    }

    /// Drops keys whose time is up, for a caller who comes by regularly; without it they stay until the next load.
    pub fn sweep(&self) {
        self.entries.lock().drop_old((self.clock)());
    }

    fn begin(
        &self,
        entries: &mut Entries<E>,
        index: IndexId,
        now: Instant,
        loading: Load<E>,
    ) -> Shared<Load<E>> {
        entries.drop_old(now);
        entries.loads_begun += 1;
        let load = entries.loads_begun;
        let (all, clock) = (self.entries.clone(), self.clock.clone());
        let (lifetime, failure_lasts) = (self.lifetime, self.failure_lasts);
        let settled = async move {
            let outcome = loading.await;
            let ended = clock();
            let until = match &outcome {
                Ok(_) => now + lifetime,
                Err(error) => ended + failure_lasts(error).min(lifetime),
            };
            all.lock().settle(index, load, &outcome, until, ended);
            outcome
        };
        let shared = settled.boxed().shared();
        // There is nothing to downgrade only once it has ended, and it has not begun.
        if let Some(shared) = shared.downgrade() {
            entries.by_index.insert(index, Entry::Loading { load, shared });
        }
        shared
    }
}

impl<E: Clone> Entries<E> {
    /// Keeps what a load brought, if the entry is still that load's.
    fn settle(&mut self, index: IndexId, of: u64, outcome: &Outcome<E>, until: Instant, now: Instant) {
        if !matches!(self.by_index.get(&index), Some(Entry::Loading { load, .. }) if *load == of) {
            return;
        }
        self.by_index.remove(&index);
        if now >= until {
            return;
        }
        self.make_room(now);
        let entry = match outcome.clone() {
            Ok(key) => Entry::Open { key, until },
            Err(error) => Entry::Failed { error, until },
        };
        self.by_index.insert(index, entry);
    }

    fn drop_old(&mut self, now: Instant) {
        self.by_index.retain(|_, entry| match entry {
            Entry::Loading { shared, .. } => shared.upgrade().is_some(),
            Entry::Open { until, .. } | Entry::Failed { until, .. } => now < *until,
        });
    }

    /// Drops what has the least time left.
    fn make_room(&mut self, now: Instant) {
        self.drop_old(now);
        let open = |(index, entry): (&IndexId, &Entry<E>)| match entry {
            Entry::Open { until, .. } | Entry::Failed { until, .. } => Some((*until, *index)),
            Entry::Loading { .. } => None,
        };
        let mut all: Vec<_> = self.by_index.iter().filter_map(open).collect();
        if all.len() < KEYS_MAX {
            return;
        }
        all.sort_unstable();
        for (_, index) in &all[..=all.len() - KEYS_MAX] {
            self.by_index.remove(index);
        }
    }
}

/// Keys and failures kept at a time.
const KEYS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
