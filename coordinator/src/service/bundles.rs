//! An index's opened key bundles (zone K): of one key epoch, or of two while the index goes from one to the next. What is
//! stored of keys and users is made here and nowhere else.

use super::ServiceError;
use super::custodian::not_a_user;
use crate::domain::{EpochKeys, Epochs, Grants, IndexRecord, KeyEnvelope, KeySource, PublicKeys, UserRecord};
use sealdex_core::{ErrorCode, IndexId, KeyEpoch, UserId};
use sealdex_crypto::{
    AdminPublicKey, Bundle, Commitment, GrantSignature, IndexKey, IndexPublicKeys, ReadCap, ReadGrant,
    UserGrants, UserPublicKey, UserToken, WriteCap, WriteGrant,
};

/// Opened bundles of one index.
pub(crate) struct Bundles {
    index: IndexId,
    sealing: OfEpoch,
    other: Option<OfEpoch>,
}

struct OfEpoch {
    epoch: KeyEpoch,
    bundle: Bundle,
}

/// What a user may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rights {
    /// See items.
    pub read: bool,
    /// Change items.
    pub write: bool,
}

/// What reading takes: the right to the epoch that is sealed under, and to the other one while there is one.
pub(crate) struct ReadCaps {
    pub(crate) sealing: ReadCap,
    pub(crate) other: Option<ReadCap>,
}

impl Bundles {
    /// Those of a new index.
    pub(crate) fn generate(index: IndexId) -> Self {
        let (epoch, bundle) = (KeyEpoch(1), Bundle::generate());
        Self {
            index,
            sealing: OfEpoch { epoch, bundle },
            other: None,
        }
    }

    /// Opens what is stored, and refuses it if the public keys beside it were exchanged.
    pub(crate) fn open(record: &IndexRecord, key: &IndexKey) -> Result<Self, ServiceError> {
        verify_key(record, key)?;
        let open = |epoch, bundle: &[u8], public: &PublicKeys| -> Result<OfEpoch, ServiceError> {
            let bundle = Bundle::open(bundle, key, record.id, epoch).ok();
            let bundle = bundle.filter(|bundle| stored(bundle.public_keys()) == *public);
            Ok(OfEpoch {
                epoch,
                bundle: bundle.ok_or_else(damaged)?,
            })
        };
        let stored = &record.key;
        let other = stored.other.as_ref();
        Ok(Self {
            index: record.id,
            sealing: open(stored.epoch, &stored.bundle, &stored.public)?,
            other: other
                .map(|other| open(other.epoch, &other.bundle, &other.public))
                .transpose()?,
        })
    }

    /// The same, with those of the next epoch beside them.
    pub(crate) fn with_next(self) -> Self {
        let next = OfEpoch {
            epoch: KeyEpoch(self.sealing.epoch.0 + 1),
            bundle: self.sealing.bundle.next(),
        };
        Self {
            other: Some(next),
            ..self
        }
    }

    /// What is stored of them under an index key.
    pub(crate) fn envelope(&self, key: &IndexKey, source: KeySource) -> KeyEnvelope {
        let sealed = |of: &OfEpoch| EpochKeys {
            epoch: of.epoch,
            bundle: of.bundle.seal(key, self.index, of.epoch),
            public: stored(of.bundle.public_keys()),
        };
        let sealing = sealed(&self.sealing);
        KeyEnvelope {
            epoch: sealing.epoch,
            commitment: *key.commitment(self.index).as_bytes(),
            bundle: sealing.bundle,
            public: sealing.public,
            source,
            other: self.other.as_ref().map(sealed),
        }
    }

    /// What reading takes in these epochs, which are among those of the bundles.
    pub(crate) fn read_caps(&self, epochs: Epochs) -> Option<ReadCaps> {
        let cap = |epoch| Some(self.of(epoch)?.read_cap());
        Some(ReadCaps {
            sealing: cap(epochs.sealing)?,
            other: match epochs.other {
                None => None,
                Some(epoch) => Some(cap(epoch)?),
            },
        })
    }

    /// What writing takes in these epochs.
    pub(crate) fn write_cap(&self, epochs: Epochs) -> Option<WriteCap> {
        Some(self.of(epochs.sealing)?.write_cap())
    }

    fn of(&self, epoch: KeyEpoch) -> Option<&Bundle> {
        let all = [Some(&self.sealing), self.other.as_ref()];
        let found = all.into_iter().flatten().find(|of| of.epoch == epoch);
        found.map(|of| &of.bundle)
    }

    /// Hands rights to a new user, whose token's public half is `to`.
    pub(crate) fn user(&self, id: UserId, to: &UserPublicKey, rights: Rights) -> UserRecord {
        UserRecord {
            id,
            public_key: *to.as_bytes(),
            grants: self.sealing.grants(self.index, id, to, rights),
            other: self
                .other
                .as_ref()
                .map(|other| other.grants(self.index, id, to, rights)),
        }
    }

    /// Hands a user's rights over in the next epoch too. Rights that the admin root of the present one did not sign are
    /// nobody's: signing them anew would make a forgery good.
    pub(crate) fn extended(
        &self,
        record: &IndexRecord,
        user: &UserRecord,
    ) -> Result<UserRecord, ServiceError> {
        let forged = || {
            ServiceError::new(
                ErrorCode::Conflict,
                format!(
                    "The stored grants of user {} are not signed by the index's admin key, so they cannot be carried over; delete the user and rotate again.",
                    user.id
                ),
            )
        };
        verify_grants(record, user).map_err(|_| forged())?;
        let to = UserPublicKey::from_slice(&user.public_key).ok_or_else(forged)?;
        let rights = Rights {
            read: user.grants.read.is_some(),
            write: user.grants.write.is_some(),
        };
        let next = self.other.as_ref();
        Ok(UserRecord {
            other: next.map(|next| next.grants(self.index, user.id, &to, rights)),
            ..user.clone()
        })
    }
}

impl OfEpoch {
    fn grants(&self, index: IndexId, user: UserId, to: &UserPublicKey, rights: Rights) -> Grants {
        let (epoch, bundle) = (self.epoch, &self.bundle);
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
        Grants {
            read: read.map(|grant| grant.as_bytes().to_vec()),
            write: write.map(|grant| grant.as_bytes().to_vec()),
            signature: *signature.as_bytes(),
        }
    }
}

/// Opens what an index grants to the user of a token.
pub(crate) fn open_grants(
    record: &IndexRecord,
    user: &UserRecord,
    token: &UserToken,
) -> Result<(Option<ReadCaps>, Option<WriteCap>), ServiceError> {
    verify_grants(record, user)?;
    let (index, key) = (record.id, &record.key);
    let read = |grants: &Grants, epoch| {
        let grant = grants.read.as_deref().map(ReadGrant::from_bytes);
        let cap = grant.map(|grant| token.open_read(&grant, index, epoch));
        cap.transpose().map_err(|_| not_a_user())
    };
    let write = user.grants.write.as_deref().map(WriteGrant::from_bytes);
    let write = write.map(|grant| token.open_write(&grant, index, key.epoch));
    let other = match (&user.other, &key.other) {
        (Some(grants), Some(keys)) => read(grants, keys.epoch)?,
        _ => None,
    };
    let read = read(&user.grants, key.epoch)?.map(|sealing| ReadCaps { sealing, other });
    Ok((read, write.transpose().map_err(|_| not_a_user())?))
}

/// Whether `key` is the index's key.
pub(crate) fn verify_key(record: &IndexRecord, key: &IndexKey) -> Result<(), ServiceError> {
    Commitment::from_slice(&record.key.commitment)
        .ok_or_else(|| ServiceError::internal("a stored commitment has the wrong length"))?
        .verify(key, record.id)
        .map_err(|_| wrong_key(&record.name))
}

/// A user whom the admin root did not sign is none. Of two epochs both admin roots have to have signed, and the user has to
/// have the same rights in both.
fn verify_grants(record: &IndexRecord, user: &UserRecord) -> Result<(), ServiceError> {
    let key = &record.key;
    let sealing = is_signed(record, user, &user.grants, key.epoch, &key.public.admin);
    let other = match (&user.other, &key.other) {
        (None, None) => Some(()),
        (Some(grants), Some(keys)) => {
            let rights = |grants: &Grants| (grants.read.is_some(), grants.write.is_some());
            let same = (rights(grants) == rights(&user.grants)).then_some(());
            same.and(is_signed(record, user, grants, keys.epoch, &keys.public.admin))
        }
        _ => None,
    };
    sealing.and(other).ok_or_else(|| {
        tracing::error!(index = %record.id, "a user's stored grants are not signed by the index's admin key");
        not_a_user()
    })
}

fn is_signed(
    record: &IndexRecord,
    user: &UserRecord,
    grants: &Grants,
    epoch: KeyEpoch,
    admin: &[u8; 32],
) -> Option<()> {
    let admin = AdminPublicKey::from_slice(admin)?;
    let public_key = UserPublicKey::from_slice(&user.public_key)?;
    let signature = GrantSignature::from_slice(&grants.signature)?;
    let read = grants.read.as_deref().map(ReadGrant::from_bytes);
    let write = grants.write.as_deref().map(WriteGrant::from_bytes);
    let grants = UserGrants {
        index: record.id,
        epoch,
        user: user.id,
        public_key: &public_key,
        read: read.as_ref(),
        write: write.as_ref(),
    };
    admin.verify(&grants, &signature).ok()
}

fn stored(keys: IndexPublicKeys) -> PublicKeys {
    PublicKeys {
        admin: *keys.admin.as_bytes(),
        write: *keys.write.as_bytes(),
        inbox: *keys.inbox.as_bytes(),
    }
}

fn damaged() -> ServiceError {
    ServiceError::new(
        ErrorCode::Corrupt,
        "The index's stored key bundle is damaged; restore it from a backup.",
    )
}

fn wrong_key(name: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::Unauthenticated,
        format!(
            "Invalid encryption key for index '{name}': send the 64 hexadecimal digits it was created or last rotated with."
        ),
    )
}
