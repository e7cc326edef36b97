//! The stored form of key envelopes and users, in both directions.

use super::catalog_codec::{Unreadable, fixed};
use crate::domain::{EpochKeys, Grants, KeyEnvelope, KeySource, PublicKeys, UserRecord, WrappedKey};
use sealdex_core::{KeyEpoch, UserId};
use sealdex_proto::catalog as wire;

pub(super) fn envelope_to_wire(key: &KeyEnvelope) -> wire::KeyEnvelope {
    wire::KeyEnvelope {
        epoch: key.epoch.0,
        commitment: key.commitment.to_vec().into(),
        bundle: key.bundle.clone().into(),
        public: Some(public_to_wire(&key.public)),
        kms: match &key.source {
            KeySource::Client => None,
            KeySource::Kms(wrapped) => Some(wrapped_to_wire(wrapped)),
        },
        other: key.other.as_ref().map(|other| wire::EpochKeys {
            epoch: other.epoch.0,
            bundle: other.bundle.clone().into(),
            public: Some(public_to_wire(&other.public)),
        }),
    }
}

pub(super) fn envelope_from_wire(key: wire::KeyEnvelope) -> Result<KeyEnvelope, Unreadable> {
    Ok(KeyEnvelope {
        epoch: KeyEpoch(key.epoch),
        commitment: fixed(&key.commitment, "commitment")?,
        bundle: key.bundle.to_vec(),
        public: public_from_wire(key.public)?,
        source: match key.kms {
            None => KeySource::Client,
            Some(wrapped) => KeySource::Kms(wrapped_from_wire(wrapped)?),
        },
        other: key.other.map(epoch_from_wire).transpose()?,
    })
}

fn epoch_from_wire(keys: wire::EpochKeys) -> Result<EpochKeys, Unreadable> {
    Ok(EpochKeys {
        epoch: KeyEpoch(keys.epoch),
        bundle: keys.bundle.to_vec(),
        public: public_from_wire(keys.public)?,
    })
}

fn public_to_wire(public: &PublicKeys) -> wire::PublicKeys {
    wire::PublicKeys {
        admin: public.admin.to_vec().into(),
        write: public.write.to_vec().into(),
        inbox: public.inbox.to_vec().into(),
    }
}

fn public_from_wire(public: Option<wire::PublicKeys>) -> Result<PublicKeys, Unreadable> {
    let public = public.ok_or(Unreadable("public keys"))?;
    Ok(PublicKeys {
        admin: fixed(&public.admin, "public key")?,
        write: fixed(&public.write, "public key")?,
        inbox: fixed(&public.inbox, "public key")?,
    })
}

pub(super) fn user_to_wire(user: &UserRecord) -> wire::User {
    let bytes = |grant: &Option<Vec<u8>>| grant.clone().map(Into::into);
    wire::User {
        id: user.id.0.to_vec().into(),
        public_key: user.public_key.to_vec().into(),
        read_grant: bytes(&user.grants.read),
        write_grant: bytes(&user.grants.write),
        signature: user.grants.signature.to_vec().into(),
        other: user.other.as_ref().map(|other| wire::Grants {
            read_grant: bytes(&other.read),
            write_grant: bytes(&other.write),
            signature: other.signature.to_vec().into(),
        }),
    }
}

pub(super) fn user_from_wire(user: wire::User) -> Result<UserRecord, Unreadable> {
    Ok(UserRecord {
        id: UserId::from_slice(&user.id).ok_or(Unreadable("user id"))?,
        public_key: fixed(&user.public_key, "public key")?,
        grants: Grants {
            read: user.read_grant.map(|grant| grant.to_vec()),
            write: user.write_grant.map(|grant| grant.to_vec()),
            signature: fixed(&user.signature, "signature")?,
        },
        other: user.other.map(grants_from_wire).transpose()?,
    })
}

fn grants_from_wire(grants: wire::Grants) -> Result<Grants, Unreadable> {
    Ok(Grants {
        read: grants.read_grant.map(|grant| grant.to_vec()),
        write: grants.write_grant.map(|grant| grant.to_vec()),
        signature: fixed(&grants.signature, "signature")?,
    })
}

fn wrapped_to_wire(key: &WrappedKey) -> wire::WrappedKey {
    wire::WrappedKey {
        slot: key.slot.clone(),
        provider: key.provider.to_string(),
        key_id: key.key_id.clone(),
        region: key.region.clone(),
        wrapped: key.wrapped.clone().into(),
        version: key.version,
        created_unix_seconds: key.created_unix_seconds,
    }
}

fn wrapped_from_wire(key: wire::WrappedKey) -> Result<WrappedKey, Unreadable> {
    Ok(WrappedKey {
        slot: key.slot,
        provider: key.provider.parse().map_err(|_| Unreadable("key provider"))?,
        key_id: key.key_id,
        region: key.region,
        wrapped: key.wrapped.to_vec(),
        version: key.version,
        created_unix_seconds: key.created_unix_seconds,
    })
}
