//! The stored form of key envelopes and users, in both directions.

use super::catalog_codec::{Unreadable, fixed};
use crate::domain::{KeyEnvelope, KeySource, PublicKeys, UserRecord, WrappedKey};
use sealdex_core::{KeyEpoch, UserId};
use sealdex_proto::catalog as wire;

pub(super) fn envelope_to_wire(key: &KeyEnvelope) -> wire::KeyEnvelope {
    wire::KeyEnvelope {
        epoch: key.epoch.0,
        commitment: key.commitment.to_vec().into(),
        bundle: key.bundle.clone().into(),
        public: Some(wire::PublicKeys {
            admin: key.public.admin.to_vec().into(),
            write: key.public.write.to_vec().into(),
            inbox: key.public.inbox.to_vec().into(),
        }),
        kms: match &key.source {
            KeySource::Client => None,
            KeySource::Kms(wrapped) => Some(wrapped_to_wire(wrapped)),
        },
    }
}

pub(super) fn envelope_from_wire(key: wire::KeyEnvelope) -> Result<KeyEnvelope, Unreadable> {
    let public = key.public.ok_or(Unreadable("public keys"))?;
    Ok(KeyEnvelope {
        epoch: KeyEpoch(key.epoch),
        commitment: fixed(&key.commitment, "commitment")?,
        bundle: key.bundle.to_vec(),
        public: PublicKeys {
            admin: fixed(&public.admin, "public key")?,
            write: fixed(&public.write, "public key")?,
            inbox: fixed(&public.inbox, "public key")?,
        },
        source: match key.kms {
            None => KeySource::Client,
            Some(wrapped) => KeySource::Kms(wrapped_from_wire(wrapped)?),
        },
    })
}

pub(super) fn user_to_wire(user: &UserRecord) -> wire::User {
    let bytes = |grant: &Option<Vec<u8>>| grant.clone().map(Into::into);
    wire::User {
        id: user.id.0.to_vec().into(),
        public_key: user.public_key.to_vec().into(),
        read_grant: bytes(&user.read_grant),
        write_grant: bytes(&user.write_grant),
        signature: user.signature.to_vec().into(),
    }
}

pub(super) fn user_from_wire(user: wire::User) -> Result<UserRecord, Unreadable> {
    Ok(UserRecord {
        id: UserId::from_slice(&user.id).ok_or(Unreadable("user id"))?,
        public_key: fixed(&user.public_key, "public key")?,
        read_grant: user.read_grant.map(|grant| grant.to_vec()),
        write_grant: user.write_grant.map(|grant| grant.to_vec()),
        signature: fixed(&user.signature, "signature")?,
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
