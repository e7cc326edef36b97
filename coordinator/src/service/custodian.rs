//! The key custodian (zone K): turns an index key, or a user's grants, into what reading and writing take, and forgets
//! both when nobody uses them.

use super::ServiceError;
use super::fitness::Fitness;
use super::inbox::OpenedInbox;
use super::session::{Session, Upkeep, Writer};
use crate::domain::{IndexRecord, KeyEnvelope, KeySource, PublicKeys, UserRecord};
use parking_lot::{Mutex, RwLock};
use sealdex_core::{ErrorCode, IndexId, KeyEpoch, PartitionId, Placement, UserId};
use sealdex_crypto::{
    AdminPublicKey, Bundle, Commitment, GrantSignature, IndexKey, IndexPublicKeys, ReadCap, ReadGrant,
    TokenFingerprint, UserGrants, UserPublicKey, UserToken, WriteCap, WriteGrant,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What opening an index gave: each half is there only if the caller has the right to it.
pub(crate) type Opened = (Option<Arc<Session>>, Option<Arc<Writer>>);

/// Users' opened grants kept at most; beyond that all are opened anew.
const USERS_MAX: usize = 4096;

/// Sessions by index, each kept for a bounded time after its last use.
pub(crate) struct Custodian {
    sessions: RwLock<HashMap<IndexId, Kept>>,
    users: RwLock<HashMap<(IndexId, UserId), KeptUser>>,
    partitions: u16,
    idle: Duration,
}

/// The keys of one bundle, and whose they are.
#[derive(Clone)]
struct Kept {
    epoch: KeyEpoch,
    session: Arc<Session>,
    writer: Option<Arc<Writer>>,
}

/// What a user's grants opened to. Good for exactly this token and these grants.
struct KeptUser {
    token: TokenFingerprint,
    record: UserRecord,
    reads: bool,
    writer: Option<Arc<Writer>>,
    since: Instant,
}

impl Custodian {
    pub(crate) fn new(placement: &Placement, idle: Duration) -> Self {
        let partitions = placement.partitions().count() as u16;
        Self {
            sessions: RwLock::default(),
            users: RwLock::default(),
            partitions,
            idle,
        }
    }

    /// Makes the keys of a new index, and what is stored of them.
    pub(crate) fn envelope(&self, key: &IndexKey, index: IndexId, source: KeySource) -> KeyEnvelope {
        sealed_envelope(&Bundle::generate(), key, index, KeyEpoch(1), source)
    }

    /// The same bundle under another index key.
    pub(crate) fn rewrapped(
        &self,
        record: &IndexRecord,
        key: &IndexKey,
        new_key: &IndexKey,
        source: KeySource,
    ) -> Result<KeyEnvelope, ServiceError> {
        let bundle = open_bundle(record, key)?;
        Ok(sealed_envelope(
            &bundle,
            new_key,
            record.id,
            record.key.epoch,
            source,
        ))
    }

    /// Hands rights to a new user, whose token's public half is `to`.
    pub(crate) fn grants(
        &self,
        record: &IndexRecord,
        key: &IndexKey,
        user: UserId,
        to: &UserPublicKey,
        rights: Rights,
    ) -> Result<UserRecord, ServiceError> {
        let bundle = open_bundle(record, key)?;
        let (index, epoch) = (record.id, record.key.epoch);
        let read = rights.read.then(|| bundle.grant_read(index, epoch, user, to));
        let write = rights.write.then(|| bundle.grant_write(index, epoch, user, to));
        let signature = bundle.sign_user(&UserGrants {
            index,
            epoch,
            user,
            public_key: to,
            read: read.as_ref(),
            write: write.as_ref(),
        });
        Ok(UserRecord {
            id: user,
            public_key: *to.as_bytes(),
            read_grant: read.map(|grant| grant.as_bytes().to_vec()),
            write_grant: write.map(|grant| grant.as_bytes().to_vec()),
            signature: *signature.as_bytes(),
        })
    }

    /// Whether `key` is the index's key.
    pub(crate) fn verify(&self, record: &IndexRecord, key: &IndexKey) -> Result<(), ServiceError> {
        verify_key(record, key)
    }

    /// Opens an index, if `key` is its key. A wrong key is told by the commitment, before anything is opened and
    /// without touching what others use.
    pub(crate) fn open(&self, record: &IndexRecord, key: &IndexKey) -> Result<Opened, ServiceError> {
        verify_key(record, key)?;
        if let Some(kept) = self.kept(record).filter(|kept| kept.writer.is_some()) {
            return Ok((Some(kept.session), kept.writer));
        }
        let bundle = open_bundle(record, key)?;
        let writer = Arc::new(writer(record, &bundle.write_cap()));
        let session = self.keep(record, &bundle.read_cap(), Some(writer.clone()));
        Ok((Some(session), Some(writer)))
    }

    /// Opens what an index's record grants to the user of a token. Looks at the record each time, so that who was
    /// revoked is out at once.
    pub(crate) fn open_as_user(
        &self,
        record: &IndexRecord,
        token: &UserToken,
    ) -> Result<Opened, ServiceError> {
        let id = token.user_id();
        let user = record.users.iter().find(|user| user.id == id);
        let user = user.ok_or_else(not_a_user)?;
        match self.opened_before(record, user, token) {
            Some(opened) => Ok(opened),
            None => self.open_grants(record, user, token),
        }
    }

    /// From memory, if this very token opened these very grants a short while ago.
    fn opened_before(&self, record: &IndexRecord, user: &UserRecord, token: &UserToken) -> Option<Opened> {
        let users = self.users.read();
        let kept = users.get(&(record.id, user.id))?;
        let same = kept.token == token.fingerprint() && kept.record == *user;
        if !same || kept.since.elapsed() >= self.idle {
            return None;
        }
        let session = match kept.reads {
            true => Some(self.kept(record)?.session),
            false => None,
        };
        Some((session, kept.writer.clone()))
    }

    /// What is kept of the keys of the index's present epoch.
    fn kept(&self, record: &IndexRecord) -> Option<Kept> {
        let kept = self.sessions.read().get(&record.id).cloned();
        let kept = kept.filter(|kept| kept.epoch == record.key.epoch)?;
        *kept.session.last_used.lock() = Instant::now();
        Some(kept)
    }

    fn open_grants(
        &self,
        record: &IndexRecord,
        user: &UserRecord,
        token: &UserToken,
    ) -> Result<Opened, ServiceError> {
        verify_grants(record, user)?;
        let (index, epoch) = (record.id, record.key.epoch);
        let read = user.read_grant.as_deref().map(ReadGrant::from_bytes);
        let read = read
            .map(|grant| token.open_read(&grant, index, epoch))
            .transpose();
        let write = user.write_grant.as_deref().map(WriteGrant::from_bytes);
        let write = write
            .map(|grant| token.open_write(&grant, index, epoch))
            .transpose();
        let (read, write) = (read.map_err(|_| not_a_user())?, write.map_err(|_| not_a_user())?);
        let writer = write.map(|cap| Arc::new(writer(record, &cap)));
        let session = read.map(|cap| self.keep(record, &cap, None));
        let kept = KeptUser {
            token: token.fingerprint(),
            record: user.clone(),
            reads: session.is_some(),
            writer: writer.clone(),
            since: Instant::now(),
        };
        let mut users = self.users.write();
        if users.len() >= USERS_MAX {
            users.clear();
        }
        users.insert((index, user.id), kept);
        Ok((session, writer))
    }

    /// Drops what is kept of a deleted index. Requests that hold it finish against shards that refuse them.
    pub(crate) fn forget(&self, index: IndexId) {
        self.sessions.write().remove(&index);
        self.users.write().retain(|(of, _), _| *of != index);
    }

    /// Drops sessions that were not used for a while and that nobody holds; their keys are zeroised.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.sessions.write().retain(|_, kept| {
            Arc::strong_count(&kept.session) > 1
                || now.duration_since(*kept.session.last_used.lock()) < self.idle
        });
        self.users
            .write()
            .retain(|_, user| now.duration_since(user.since) < self.idle);
    }

    /// The session of an index: the one that is there, or a new one from these keys. A bundle's keys are the same
    /// whichever way they were opened.
    fn keep(&self, record: &IndexRecord, cap: &ReadCap, writer: Option<Arc<Writer>>) -> Arc<Session> {
        let mut sessions = self.sessions.write();
        let kept = sessions
            .get(&record.id)
            .filter(|kept| kept.epoch == record.key.epoch);
        let session = kept.map_or_else(
            || Arc::new(self.session(record, cap)),
            |kept| kept.session.clone(),
        );
        let writer = writer.or_else(|| kept.and_then(|kept| kept.writer.clone()));
        *session.last_used.lock() = Instant::now();
        sessions.insert(
            record.id,
            Kept {
                epoch: record.key.epoch,
                session: session.clone(),
                writer,
            },
        );
        session
    }

    fn session(&self, record: &IndexRecord, cap: &ReadCap) -> Session {
        let (id, epoch) = (record.id, record.key.epoch);
        Session {
            id,
            epoch,
            labels: cap.labels(),
            model_keys: cap.model_keys(id, epoch),
            data_keys: (0..self.partitions)
                .map(|p| Arc::new(cap.partition_keys(id, epoch, PartitionId(p))))
                .collect(),
            models: Mutex::default(),
            writes: Default::default(),
            first_upsert: Default::default(),
            upkeep: Mutex::new(Upkeep::default()),
            fitness: Mutex::new(Fitness::default()),
            inbox: OpenedInbox::new(vec![(epoch, cap.inbox_opener())], self.partitions),
            last_used: Mutex::new(Instant::now()),
        }
    }
}

/// What a user may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rights {
    /// See items.
    pub read: bool,
    /// Change items.
    pub write: bool,
}

fn writer(record: &IndexRecord, cap: &WriteCap) -> Writer {
    Writer {
        index: record.id,
        epoch: record.key.epoch,
        labels: cap.labels(),
        signer: cap.signer(),
        inbox: cap.inbox(),
    }
}

fn sealed_envelope(
    bundle: &Bundle,
    key: &IndexKey,
    index: IndexId,
    epoch: KeyEpoch,
    source: KeySource,
) -> KeyEnvelope {
    KeyEnvelope {
        epoch,
        commitment: *key.commitment(index).as_bytes(),
        bundle: bundle.seal(key, index, epoch),
        public: stored(bundle.public_keys()),
        source,
    }
}

fn stored(keys: IndexPublicKeys) -> PublicKeys {
    PublicKeys {
        admin: *keys.admin.as_bytes(),
        write: *keys.write.as_bytes(),
        inbox: *keys.inbox.as_bytes(),
    }
}

fn verify_key(record: &IndexRecord, key: &IndexKey) -> Result<(), ServiceError> {
    Commitment::from_slice(&record.key.commitment)
        .ok_or_else(|| ServiceError::internal("a stored commitment has the wrong length"))?
        .verify(key, record.id)
        .map_err(|_| wrong_key(&record.name))
}

/// Opens the bundle, and refuses it if the public keys beside it were exchanged.
fn open_bundle(record: &IndexRecord, key: &IndexKey) -> Result<Bundle, ServiceError> {
    verify_key(record, key)?;
    Bundle::open(&record.key.bundle, key, record.id, record.key.epoch)
        .ok()
        .filter(|bundle| stored(bundle.public_keys()) == record.key.public)
        .ok_or_else(|| {
            ServiceError::new(
                ErrorCode::Corrupt,
                "The index's stored key bundle is damaged; restore it from a backup.",
            )
        })
}

/// A user whom the admin root did not sign is none.
fn verify_grants(record: &IndexRecord, user: &UserRecord) -> Result<(), ServiceError> {
    let forged = || {
        tracing::error!(index = %record.id, "a user's stored grants are not signed by the index's admin key");
        not_a_user()
    };
    let admin = AdminPublicKey::from_slice(&record.key.public.admin).ok_or_else(forged)?;
    let public_key = UserPublicKey::from_slice(&user.public_key).ok_or_else(forged)?;
    let signature = GrantSignature::from_slice(&user.signature).ok_or_else(forged)?;
    let read = user.read_grant.as_deref().map(ReadGrant::from_bytes);
    let write = user.write_grant.as_deref().map(WriteGrant::from_bytes);
    let grants = UserGrants {
        index: record.id,
        epoch: record.key.epoch,
        user: user.id,
        public_key: &public_key,
        read: read.as_ref(),
        write: write.as_ref(),
    };
    admin.verify(&grants, &signature).map_err(|_| forged())
}

/// One answer for a foreign, a revoked and a forged user: permission denied.
pub(crate) fn not_a_user() -> ServiceError {
    ServiceError::new(
        ErrorCode::Forbidden,
        "Failed to load index: permission denied. The token gives no right to this index.",
    )
}

fn wrong_key(name: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::Unauthenticated,
        format!(
            "Invalid encryption key for index '{name}': send the 64 hexadecimal digits it was created with."
        ),
    )
}
