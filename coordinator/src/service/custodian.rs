//! The key custodian (zone K): turns a request's index key into a [`Session`], and forgets sessions that nobody uses.

use super::ServiceError;
use super::session::{Session, Upkeep};
use crate::domain::{IndexRecord, KeyEnvelope};
use parking_lot::{Mutex, RwLock};
use sealdex_core::{ErrorCode, IndexId, KeyEpoch, Placement};
use sealdex_crypto::{Bundle, Commitment, IndexKey};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sessions by index, each kept for a bounded time after its last use.
pub(crate) struct Custodian {
    sessions: RwLock<HashMap<IndexId, Arc<Session>>>,
    partitions: u16,
    idle: Duration,
}

impl Custodian {
    pub(crate) fn new(placement: &Placement, idle: Duration) -> Self {
        let partitions = placement.partitions().count() as u16;
        Self {
            sessions: RwLock::default(),
            partitions,
            idle,
        }
    }

    /// Makes the keys of a new index, and what is stored of them.
    pub(crate) fn envelope(&self, key: &IndexKey, index: IndexId) -> KeyEnvelope {
        let epoch = KeyEpoch(1);
        KeyEnvelope {
            epoch,
            commitment: *key.commitment(index).as_bytes(),
            bundle: Bundle::generate().seal(key, index, epoch),
        }
    }

    /// The session of an index, if `key` is its key. A wrong key is told by the commitment, before anything is opened
    /// and without touching what others use.
    pub(crate) fn open(&self, record: &IndexRecord, key: &IndexKey) -> Result<Arc<Session>, ServiceError> {
        let commitment = Commitment::from_slice(&record.key.commitment)
            .ok_or_else(|| ServiceError::internal("a stored commitment has the wrong length"))?;
        commitment
            .verify(key, record.id)
            .map_err(|_| wrong_key(&record.name))?;
        if let Some(session) = self.sessions.read().get(&record.id) {
            *session.last_used.lock() = Instant::now();
            return Ok(session.clone());
        }
        let bundle = Bundle::open(&record.key.bundle, key, record.id, record.key.epoch).map_err(|_| {
            ServiceError::new(
                ErrorCode::Corrupt,
                "The index's stored key bundle is damaged; restore it from a backup.",
            )
        })?;
        let session = Arc::new(self.session(record, &bundle));
        Ok(self.sessions.write().entry(record.id).or_insert(session).clone())
    }

    /// Drops the session of a deleted index. Requests that hold it finish against shards that refuse them.
    pub(crate) fn forget(&self, index: IndexId) {
        self.sessions.write().remove(&index);
    }

    /// Drops sessions that were not used for a while and that nobody holds; their keys are zeroised.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.sessions.write().retain(|_, session| {
            Arc::strong_count(session) > 1 || now.duration_since(*session.last_used.lock()) < self.idle
        });
    }

    fn session(&self, record: &IndexRecord, bundle: &Bundle) -> Session {
        let (id, epoch) = (record.id, record.key.epoch);
        Session {
            id,
            epoch,
            labels: bundle.labels(),
            model_keys: bundle.model_keys(id, epoch),
            data_keys: (0..self.partitions)
                .map(|p| Arc::new(bundle.partition_keys(id, epoch, sealdex_core::PartitionId(p))))
                .collect(),
            models: Mutex::default(),
            writes: Default::default(),
            first_upsert: Default::default(),
            upkeep: Mutex::new(Upkeep::default()),
            last_used: Mutex::new(Instant::now()),
        }
    }
}

fn wrong_key(name: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::Unauthenticated,
        format!(
            "Invalid encryption key for index '{name}': send the 64 hexadecimal digits it was created with."
        ),
    )
}
