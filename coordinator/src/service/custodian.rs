//! The key custodian (zone K): turns an index key, or a user's grants, into what reading and writing take, and forgets
//! both when nobody uses them. Knows which key epochs an index has reached, and who still uses earlier ones.

use super::ServiceError;
use super::bundles::{Bundles, ReadCaps, open_grants, verify_key};
use super::inbox::OpenedInbox;
use super::session::{Session, Shared, Writer};
use crate::domain::{Epochs, IndexRecord, UserRecord};
use parking_lot::{Mutex, RwLock};
use sealdex_core::{ErrorCode, IndexId, PartitionId, Placement, UserId};
use sealdex_crypto::{DataKeys, IndexKey, TokenFingerprint, UserToken, WriteCap};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What opening an index gave: each half is there only if the caller has the right to it.
pub(crate) type Opened = (Option<Arc<Session>>, Option<Arc<Writer>>);

/// Users' opened grants kept at most; beyond that all are opened anew.
const USERS_MAX: usize = 4096;

/// What is open, by index, each kept for a bounded time after its last use.
pub(crate) struct Custodian {
    indexes: RwLock<HashMap<IndexId, Kept>>,
    users: RwLock<HashMap<(IndexId, UserId), KeptUser>>,
    partitions: u16,
    idle: Duration,
}

/// What is open of one index.
struct Kept {
    /// The latest epochs that anybody has opened it in. Every session and writer holds the ones it is of.
    epochs: Arc<Epochs>,
    /// The earlier ones that requests under way are of.
    earlier: Vec<Weak<Epochs>>,
    session: Option<Arc<Session>>,
    writer: Option<Arc<Writer>>,
    shared: Shared,
    last_used: Mutex<Instant>,
}

/// What a user's grants opened to. Good for exactly this token and these grants.
struct KeptUser {
    token: TokenFingerprint,
    record: UserRecord,
    epochs: Arc<Epochs>,
    reads: bool,
    writer: Option<Arc<Writer>>,
    since: Instant,
}

/// The record is one of before: the index has gone on between its key epochs. Read it again.
#[derive(Debug)]
pub(crate) struct Outdated;

impl Custodian {
    pub(crate) fn new(placement: &Placement, idle: Duration) -> Self {
        let partitions = placement.partitions().count() as u16;
        Self {
            indexes: RwLock::default(),
            users: RwLock::default(),
            partitions,
            idle,
        }
    }

    /// Whether `key` is the index's key.
    pub(crate) fn verify(&self, record: &IndexRecord, key: &IndexKey) -> Result<(), ServiceError> {
        verify_key(record, key)
    }

    /// Opens an index, if `key` is its key. A wrong key is told by the commitment, before anything is opened and
    /// without touching what others use.
    pub(crate) fn open(
        &self,
        record: &IndexRecord,
        key: &IndexKey,
    ) -> Result<Result<Opened, Outdated>, ServiceError> {
        verify_key(record, key)?;
        match self.kept(record) {
            Some((Some(session), Some(writer))) => Ok(Ok((Some(session), Some(writer)))),
            _ => self.open_with(record, &Bundles::open(record, key)?),
        }
    }

    /// Opens an index with its bundles, which must be those of its epochs.
    pub(crate) fn open_with(
        &self,
        record: &IndexRecord,
        bundles: &Bundles,
    ) -> Result<Result<Opened, Outdated>, ServiceError> {
        let epochs = record.key.epochs();
        let missing = || ServiceError::internal("bundles of other epochs than the index's");
        let read = bundles.read_caps(epochs).ok_or_else(missing)?;
        let write = bundles.write_cap(epochs).ok_or_else(missing)?;
        Ok(self.reached(record).map(|epochs| {
            let writer = Arc::new(writer(record, epochs.clone(), &write));
            let session = self.keep(record, epochs, &read, Some(writer.clone()));
            (Some(session), Some(writer))
        }))
    }

    /// Opens what an index's record grants to the user of a token. Looks at the record each time, so that who was
    /// revoked is out at once.
    pub(crate) fn open_as_user(
        &self,
        record: &IndexRecord,
        token: &UserToken,
    ) -> Result<Result<Opened, Outdated>, ServiceError> {
        let id = token.user_id();
        let user = record.users.iter().find(|user| user.id == id);
        let user = user.ok_or_else(not_a_user)?;
        match self.opened_before(record, user, token) {
            Some(opened) => Ok(Ok(opened)),
            None => self.open_anew(record, user, token),
        }
    }

    /// From memory, if this very token opened these very grants a short while ago.
    fn opened_before(&self, record: &IndexRecord, user: &UserRecord, token: &UserToken) -> Option<Opened> {
        let users = self.users.read();
        let kept = users.get(&(record.id, user.id))?;
        let same = kept.token == token.fingerprint() && kept.record == *user;
        if !same || *kept.epochs != record.key.epochs() || kept.since.elapsed() >= self.idle {
            return None;
        }
        let session = match kept.reads {
            true => Some(self.kept(record)?.0?),
            false => None,
        };
        Some((session, kept.writer.clone()))
    }

    fn open_anew(
        &self,
        record: &IndexRecord,
        user: &UserRecord,
        token: &UserToken,
    ) -> Result<Result<Opened, Outdated>, ServiceError> {
        let (read, write) = open_grants(record, user, token)?;
        let Ok(epochs) = self.reached(record) else {
            return Ok(Err(Outdated));
        };
        let writer = write.map(|cap| Arc::new(writer(record, epochs.clone(), &cap)));
        let session = read.map(|caps| self.keep(record, epochs.clone(), &caps, None));
        let kept = KeptUser {
            token: token.fingerprint(),
            record: user.clone(),
            epochs,
            reads: session.is_some(),
            writer: writer.clone(),
            since: Instant::now(),
        };
        let mut users = self.users.write();
        if users.len() >= USERS_MAX {
            users.clear();
        }
        users.insert((record.id, user.id), kept);
        Ok(Ok((session, writer)))
    }

    /// What is kept of the index's present epochs.
    fn kept(&self, record: &IndexRecord) -> Option<Opened> {
        let indexes = self.indexes.read();
        let kept = indexes.get(&record.id)?;
        if *kept.epochs != record.key.epochs() {
            return None;
        }
        *kept.last_used.lock() = Instant::now();
        Some((kept.session.clone(), kept.writer.clone()))
    }

    /// Takes note of the epochs that an index has reached. From here on nothing is opened in earlier ones.
    pub(crate) fn reached(&self, record: &IndexRecord) -> Result<Arc<Epochs>, Outdated> {
        let epochs = record.key.epochs();
        let mut indexes = self.indexes.write();
        let kept = indexes.entry(record.id).or_insert_with(|| Kept::new(epochs));
        if epochs.precedes(*kept.epochs) {
            return Err(Outdated);
        }
        if *kept.epochs != epochs {
            kept.earlier.push(Arc::downgrade(&kept.epochs));
            kept.epochs = Arc::new(epochs);
            (kept.session, kept.writer) = (None, None);
        }
        Ok(kept.epochs.clone())
    }

    /// Whether no request is under way any more that opened the index in earlier epochs than it has reached.
    pub(crate) fn is_drained(&self, index: IndexId) -> bool {
        let Some(reached) = self.indexes.read().get(&index).map(|kept| kept.epochs.clone()) else {
            return true;
        };
        self.users
            .write()
            .retain(|(of, _), user| *of != index || *user.epochs == *reached);
        let mut indexes = self.indexes.write();
        indexes.get_mut(&index).is_none_or(|kept| {
            kept.earlier.retain(|epochs| epochs.strong_count() > 0);
            kept.earlier.is_empty()
        })
    }

    /// What all sessions of an index share, if anything of it is kept.
    pub(crate) fn under_way(&self, index: IndexId) -> Option<Shared> {
        Some(self.indexes.read().get(&index)?.shared.clone())
    }

    /// Drops what is kept of a deleted index. Requests that hold it finish against shards that refuse them.
    pub(crate) fn forget(&self, index: IndexId) {
        self.indexes.write().remove(&index);
        self.users.write().retain(|(of, _), _| *of != index);
    }

    /// Drops what was not used for a while and nobody holds; its keys are zeroised.
    pub(crate) fn sweep(&self) {
        self.users
            .write()
            .retain(|_, user| user.since.elapsed() < self.idle);
        self.indexes
            .write()
            .retain(|_, kept| kept.is_held() || kept.last_used.lock().elapsed() < self.idle);
    }

    /// The session of an index: the one that is there, or a new one from these keys. A bundle's keys are the same
    /// whichever way they were opened. `epochs` are those of the record.
    fn keep(
        &self,
        record: &IndexRecord,
        epochs: Arc<Epochs>,
        caps: &ReadCaps,
        writer: Option<Arc<Writer>>,
    ) -> Arc<Session> {
        let mut indexes = self.indexes.write();
        let kept = indexes.entry(record.id).or_insert_with(|| Kept::new(*epochs));
        let shared = kept.shared.clone();
        if *kept.epochs != *epochs {
            // Somebody was quicker with later ones: this session lives for one request.
            return Arc::new(self.session(record, epochs, caps, shared));
        }
        *kept.last_used.lock() = Instant::now();
        kept.writer = writer.or(kept.writer.take());
        let make = || Arc::new(self.session(record, kept.epochs.clone(), caps, shared));
        kept.session.get_or_insert_with(make).clone()
    }

    fn session(&self, record: &IndexRecord, epochs: Arc<Epochs>, caps: &ReadCaps, shared: Shared) -> Session {
        let (id, envelope) = (record.id, &record.key);
        let both = |keys: DataKeys, other: Option<DataKeys>| match other {
            Some(other) => keys.opening_also(other),
            None => keys,
        };
        let other = caps.other.as_ref().zip(envelope.other.as_ref());
        let partition_keys = |partition| {
            let keys = caps.sealing.partition_keys(id, envelope.epoch, partition);
            let other = other.map(|(cap, keys)| cap.partition_keys(id, keys.epoch, partition));
            Arc::new(both(keys, other))
        };
        let model_keys = caps.sealing.model_keys(id, envelope.epoch);
        let other_model_keys = other.map(|(cap, keys)| cap.model_keys(id, keys.epoch));
        let inbox = std::iter::once((envelope.epoch, caps.sealing.inbox_opener()))
            .chain(other.map(|(cap, keys)| (keys.epoch, cap.inbox_opener())));
        Session {
            id,
            epochs,
            labels: caps.sealing.labels(),
            model_keys: both(model_keys, other_model_keys),
            data_keys: (0..self.partitions)
                .map(PartitionId)
                .map(partition_keys)
                .collect(),
            models: shared.models,
            writes: shared.writes,
            reads: shared.reads,
            first_upsert: shared.first_upsert,
            upkeep: shared.upkeep,
            fitness: shared.fitness,
            inbox: OpenedInbox::new(inbox.collect(), self.partitions),
        }
    }
}

impl Kept {
    fn new(epochs: Epochs) -> Self {
        Self {
            epochs: Arc::new(epochs),
            earlier: Vec::new(),
            session: None,
            writer: None,
            shared: Shared::default(),
            last_used: Mutex::new(Instant::now()),
        }
    }

    /// Whether anybody else holds something of it. Then it has to stay, for the sake of what sessions share.
    fn is_held(&self) -> bool {
        let own = 1 + usize::from(self.session.is_some()) + usize::from(self.writer.is_some());
        let session = self.session.as_ref().is_some_and(|s| Arc::strong_count(s) > 1);
        let writer = self.writer.as_ref().is_some_and(|w| Arc::strong_count(w) > 1);
        let earlier = self.earlier.iter().any(|epochs| epochs.strong_count() > 0);
        session || writer || earlier || Arc::strong_count(&self.epochs) > own
    }
}

fn writer(record: &IndexRecord, epochs: Arc<Epochs>, cap: &WriteCap) -> Writer {
    Writer {
        index: record.id,
        epochs,
        labels: cap.labels(),
        signer: cap.signer(),
        inbox: cap.inbox(),
    }
}

/// One answer for a foreign, a revoked and a forged user: permission denied.
pub(crate) fn not_a_user() -> ServiceError {
    ServiceError::new(
        ErrorCode::Forbidden,
        "Failed to load index: permission denied. The token gives no right to this index.",
    )
}

#[cfg(test)]
mod tests;
