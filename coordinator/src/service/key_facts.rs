//! What may be told of how an index's key is held, to whoever administers the server: everything but the key.

use super::users::listed;
use super::{Service, ServiceError, UserListed};
use crate::auth::Caller;
use crate::domain::{IndexRecord, KeySource, Provider};
use sealdex_core::KeyEpoch;

/// How an index's key is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFacts {
    /// The index.
    pub index: String,
    /// When the index was made.
    pub created_unix_seconds: u64,
    /// Epoch of its key bundle.
    pub epoch: KeyEpoch,
    /// The slot that wraps its key; none if its owner sends it with each request.
    pub slot: Option<SlotHeld>,
    /// Who may use it besides those who have its key.
    pub users: Vec<UserListed>,
}

/// A key that a slot of the registry wraps, as of the wrapping.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotHeld {
    /// The slot.
    pub name: String,
    /// Who wrapped the key.
    pub provider: Provider,
    /// Under which key; empty for a provider that has but one.
    pub key_id: String,
    /// Where; empty for a provider that knows no regions.
    pub region: String,
    /// Format of the wrapped key.
    pub version: u32,
    /// When it was wrapped.
    pub wrapped_unix_seconds: u64,
}

impl Service {
    /// How the key of an index is held. Needs no key, and asks no key provider.
    pub async fn key_facts(&self, caller: &Caller, name: &str) -> Result<KeyFacts, ServiceError> {
        caller.require_admin()?;
        Ok(facts(&*self.named(name).await?))
    }
}

fn facts(record: &IndexRecord) -> KeyFacts {
    let slot = match &record.key.source {
        KeySource::Client => None,
        KeySource::Kms(wrapped) => Some(SlotHeld {
            name: wrapped.slot.clone(),
            provider: wrapped.provider,
            key_id: wrapped.key_id.clone(),
            region: wrapped.region.clone(),
            version: wrapped.version,
            wrapped_unix_seconds: wrapped.created_unix_seconds,
        }),
    };
    KeyFacts {
        index: record.name.clone(),
        created_unix_seconds: record.created_unix_seconds,
        epoch: record.key.epoch,
        slot,
        users: listed(record),
    }
}
