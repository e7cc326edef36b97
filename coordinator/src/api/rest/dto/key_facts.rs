//! The reply that tells how an index's key is held.

use super::users::UserInfo;
use crate::service::{KeyFacts, SlotHeld};
use serde::Serialize;
use utoipa::ToSchema;

/// How the key of an index is held. Never holds the key, wrapped or not.
#[derive(Serialize, ToSchema)]
pub(crate) struct IndexKeyResponse {
    /// The index.
    index_name: String,
    /// When the index was made, in seconds since 1970.
    created_at: u64,
    /// The epoch of the index's keys; it begins at 1.
    epoch: u32,
    /// `none` if the owner sends the key with each request; else who wraps it: `aws-kms`, `aws` or `local`.
    provider: &'static str,
    /// What the key provider wrapped; null where there is none.
    wrapped: Option<WrappedKeyInfo>,
    /// Who may use the index with a key of their own.
    users: Vec<UserInfo>,
}

/// A wrapped key, as of the wrapping.
#[derive(Serialize, ToSchema)]
pub(crate) struct WrappedKeyInfo {
    /// The slot of the key registry.
    kms_name: String,
    /// The provider's key; empty for a provider that has but one.
    key_id: String,
    /// Where the provider keeps it; empty for a provider that knows no regions.
    region: String,
    /// Format of the wrapped key.
    version: u32,
    /// When it was wrapped, in seconds since 1970.
    wrapped_at: u64,
}

impl From<KeyFacts> for IndexKeyResponse {
    fn from(facts: KeyFacts) -> Self {
        Self {
            index_name: facts.index,
            created_at: facts.created_unix_seconds,
            epoch: facts.epoch.0,
            provider: facts.slot.as_ref().map_or("none", |slot| slot.provider.as_str()),
            wrapped: facts.slot.map(WrappedKeyInfo::from),
            users: facts.users.into_iter().map(UserInfo::from).collect(),
        }
    }
}

impl From<SlotHeld> for WrappedKeyInfo {
    fn from(slot: SlotHeld) -> Self {
        Self {
            kms_name: slot.name,
            key_id: slot.key_id,
            region: slot.region,
            version: slot.version,
            wrapped_at: slot.wrapped_unix_seconds,
        }
    }
}
