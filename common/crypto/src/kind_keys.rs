//! The keys of one kind of record: a new one for every 2^31 seals, drawn at random, so that no key is used too often
//! and no count has to survive a restart or a restored backup.

use crate::aead::AeadKey;
use crate::error::OpenError;
use crate::kdf::Kdf;
use crate::labels;
use crate::random;
use crate::secret::Secret;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of one key of a kind, in the clear in every record that is sealed under it.
pub(crate) type SubEpoch = [u8; 8];

/// Seals per key. Half of what NIST SP 800-38D, section 8.3, allows for random 96-bit nonces.
pub(crate) const SEALS_PER_SUB_EPOCH: u64 = 1 << 31;

pub(crate) struct KindKeys {
    kdf: Kdf,
    budget: u64,
    sealing: RwLock<Option<Sealing>>,
    opened: Opened,
}

/// A key and its sub-epoch.
pub(crate) struct SubEpochKey {
    pub(crate) sub_epoch: SubEpoch,
    pub(crate) key: AeadKey,
}

struct Sealing {
    key: Arc<SubEpochKey>,
    seals: AtomicU64,
}

impl KindKeys {
    pub(crate) fn new(kind_key: &Secret, budget: u64) -> Self {
        Self {
            kdf: Kdf::new(kind_key),
            budget,
            sealing: RwLock::new(None),
            opened: Opened::default(),
        }
    }

    /// The key for one seal, which counts against its budget.
    pub(crate) fn to_seal(&self) -> Arc<SubEpochKey> {
        loop {
            if let Some(key) = self
                .sealing
                .read()
                .as_ref()
                .and_then(|sealing| sealing.take(self.budget))
            {
                return key;
            }
            self.renew();
        }
    }

    /// Whether a record of `sub_epoch` was sealed or opened lately.
    pub(crate) fn knows(&self, sub_epoch: &SubEpoch) -> bool {
        self.opened.get(sub_epoch).is_some()
    }

    /// Runs `open` with the key of `sub_epoch`.
    pub(crate) fn open_with(
        &self,
        sub_epoch: &SubEpoch,
        open: impl FnOnce(&AeadKey) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        if let Some(known) = self.opened.get(sub_epoch) {
            return open(&known.key);
        }
        let derived = self.derive(*sub_epoch);
        open(&derived.key)?;
        // Kept only now that it has opened something: damaged records must not push out keys that are in use.
        self.opened.insert(Arc::new(derived));
        Ok(())
    }

    /// Draws the next key to seal with, unless another thread has done so meanwhile.
    fn renew(&self) {
        let mut sealing = self.sealing.write();
        if sealing
            .as_ref()
            .is_none_or(|sealing| sealing.is_spent(self.budget))
        {
            let key = Arc::new(self.derive(random::random()));
            self.opened.insert(Arc::clone(&key));
            *sealing = Some(Sealing {
                key,
                seals: AtomicU64::new(0),
            });
        }
    }

    fn derive(&self, sub_epoch: SubEpoch) -> SubEpochKey {
        let secret = self.kdf.derive(labels::SUB_EPOCH, &[&sub_epoch]);
        SubEpochKey {
            sub_epoch,
            key: AeadKey::for_records(&secret),
        }
    }
}

impl Sealing {
    fn take(&self, budget: u64) -> Option<Arc<SubEpochKey>> {
        // Relaxed: the count guards nothing but itself, and 2^64 is never reached.
        (self.seals.fetch_add(1, Ordering::Relaxed) < budget).then(|| Arc::clone(&self.key))
    }

    fn is_spent(&self, budget: u64) -> bool {
        self.seals.load(Ordering::Relaxed) >= budget
    }
}

/// Keys that have been derived before. Sub-epochs are random, so their bits choose a set evenly; a look-up takes the
/// read lock of one set and compares a few names.
struct Opened {
    sets: [RwLock<[Option<Arc<SubEpochKey>>; WAYS]>; SETS],
}

const SETS: usize = 32;
const WAYS: usize = 4;

impl Opened {
    fn get(&self, sub_epoch: &SubEpoch) -> Option<Arc<SubEpochKey>> {
        self.set(sub_epoch)
            .read()
            .iter()
            .flatten()
            .find(|known| known.sub_epoch == *sub_epoch)
            .cloned()
    }

    /// Puts `key` first in its set, where it is found first, and forgets the one that was put there longest ago.
    fn insert(&self, key: Arc<SubEpochKey>) {
        let mut set = self.set(&key.sub_epoch).write();
        if set.iter().flatten().all(|known| known.sub_epoch != key.sub_epoch) {
            set.rotate_right(1);
            set[0] = Some(key);
        }
    }

    fn set(&self, sub_epoch: &SubEpoch) -> &RwLock<[Option<Arc<SubEpochKey>>; WAYS]> {
        &self.sets[usize::from(sub_epoch[0]) % SETS]
    }
}

impl Default for Opened {
    fn default() -> Self {
        Self {
            sets: std::array::from_fn(|_| RwLock::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn keys(budget: u64) -> KindKeys {
        KindKeys::new(&Secret::generate(), budget)
    }

    fn kept(keys: &KindKeys) -> usize {
        keys.opened
            .sets
            .iter()
            .map(|set| set.read().iter().flatten().count())
            .sum()
    }

    /// Small budgets and many threads, so that threads often find the same budget spent at the same time.
    #[test]
    fn every_key_seals_as_often_as_its_budget_says() {
        const BUDGET: u64 = 2;
        const THREADS: u64 = 8;
        const SEALS: u64 = 5_000;
        let keys = keys(BUDGET);
        let seals_of_a_thread = || (0..SEALS).map(|_| keys.to_seal().sub_epoch).collect::<Vec<_>>();
        let seals: Vec<SubEpoch> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(seals_of_a_thread)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut seals_of = BTreeMap::new();
        for sub_epoch in seals {
            *seals_of.entry(sub_epoch).or_insert(0) += 1;
        }
        assert_eq!(seals_of.len() as u64, THREADS * SEALS / BUDGET);
        assert!(seals_of.values().all(|&seals| seals == BUDGET));
    }

    #[test]
    fn a_key_is_not_renewed_before_its_budget_is_spent() {
        let keys = keys(2);
        let first = keys.to_seal().sub_epoch;
        keys.renew();
        assert_eq!(keys.to_seal().sub_epoch, first);
        keys.renew();
        assert_ne!(keys.to_seal().sub_epoch, first);
    }

    #[test]
    fn keys_that_open_are_kept_within_bounds() {
        let keys = keys(1);
        for i in 0..10_000u64 {
            let sub_epoch = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes();
            keys.open_with(&sub_epoch, |_| Ok(())).unwrap();
            assert!(keys.opened.get(&sub_epoch).is_some());
        }
        assert_eq!(kept(&keys), SETS * WAYS);
    }

    #[test]
    fn keys_that_open_nothing_are_not_kept() {
        let keys = keys(1);
        keys.to_seal();
        for i in 0..1_000u64 {
            assert_eq!(
                keys.open_with(&i.to_be_bytes(), |_| Err(OpenError)),
                Err(OpenError)
            );
        }
        assert_eq!(kept(&keys), 1);
    }

    #[test]
    fn a_key_is_kept_once() {
        let keys = keys(1);
        for _ in 0..2 * WAYS {
            let derived = keys.derive([0; 8]);
            keys.opened.insert(Arc::new(derived));
        }
        assert_eq!(kept(&keys), 1);
    }
}
