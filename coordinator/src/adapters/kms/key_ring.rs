//! The live registry: wraps and unwraps index keys through the provider of the slot that is asked for. Holds clients, no key.

use super::aws_access::{Aws, AwsOptions};
use super::slot::{Slot, SlotProvider};
use crate::adapters::registry::Registry;
use crate::domain::{Provider, WrappedKey};
use crate::ports::{KeyContext, KeyProvider, KmsError, KmsFault};
use parking_lot::RwLock;
use sealdex_crypto::IndexKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// One provider per slot. Replaced as a whole when the registry changes; calls under way end as they began.
pub struct KeyRing {
    aws: Aws,
    slots: RwLock<HashMap<String, Arc<Slot>>>,
}

/// What may be told of a slot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotFacts {
    /// Who wraps.
    pub provider: Provider,
    /// Under which key; empty if the slot names none.
    pub key_id: String,
    /// Where; empty if the slot says nothing.
    pub region: String,
}

impl KeyRing {
    /// A ring on AWS as the environment describes it. Calls nobody.
    pub fn new(registry: Registry) -> Self {
        Self::with_options(registry, AwsOptions::default())
    }

    /// A ring on another AWS than the environment's.
    pub fn with_options(registry: Registry, options: AwsOptions) -> Self {
        let ring = Self {
            aws: Aws::new(options),
            slots: RwLock::default(),
        };
        ring.replace(registry);
        ring
    }

    /// Puts another registry in force. Slots that did not change keep their clients.
    pub fn replace(&self, registry: Registry) {
        let mut slots = self.slots.write();
        *slots = registry
            .slots
            .into_iter()
            .map(|(name, config)| {
                let kept = slots.get(&name).filter(|slot| slot.config == config).cloned();
                let slot = kept.unwrap_or_else(|| Arc::new(Slot::new(name.clone(), config)));
                (name, slot)
            })
            .collect();
    }

    /// A slot as it is now, if it is in the registry.
    pub fn slot(&self, name: &str) -> Option<SlotFacts> {
        let slot = self.find(name).ok()?;
        Some(SlotFacts {
            provider: slot.config.provider,
            key_id: slot.config.key_id.clone().unwrap_or_default(),
            region: slot.region().unwrap_or_default().to_owned(),
        })
    }

    /// Wraps `key` under the slot's key as it is now. Whatever slot `context` names, it is bound to `slot`.
    pub async fn wrap(
        &self,
        slot: &str,
        context: &KeyContext<'_>,
        key: &IndexKey,
    ) -> Result<WrappedKey, KmsError> {
        let slot = self.find(slot)?;
        let provider = SlotProvider {
            aws: &self.aws,
            slot: &slot,
            kind: slot.config.provider,
            key_id: slot.config.key_id.as_deref().unwrap_or_default(),
            region: slot.region(),
        };
        let wrapped = provider.wrap(key, context).await?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(WrappedKey {
            slot: slot.name.clone(),
            provider: provider.kind,
            key_id: provider.key_id.to_owned(),
            region: provider.resolved_region().await?,
            wrapped,
            version: WRAPPED_KEY_VERSION,
            created_unix_seconds: since_1970.unwrap_or_default().as_secs(),
        })
    }

    /// Unwraps with the key and region of `wrapped`, and with the role and credentials that its slot has now.
    pub async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext<'_>) -> Result<IndexKey, KmsError> {
        let slot = self.find(&wrapped.slot)?;
        if wrapped.version != WRAPPED_KEY_VERSION {
            let cure =
                "an index key was wrapped by a later version of Sealdex; start that version or a newer one";
            return Err(KmsError::new(&slot.name, KmsFault::Misconfigured(cure.into())));
        }
        let provider = SlotProvider {
            aws: &self.aws,
            slot: &slot,
            kind: wrapped.provider,
            key_id: &wrapped.key_id,
            region: Some(wrapped.region.as_str()).filter(|region| !region.is_empty()),
        };
        provider.unwrap(&wrapped.wrapped, context).await
    }

    fn find(&self, name: &str) -> Result<Arc<Slot>, KmsError> {
        let slot = self.slots.read().get(name).cloned();
        slot.ok_or_else(|| KmsError::new(name, KmsFault::NoSuchSlot))
    }
}

/// What [`WrappedKey::version`] is at present.
const WRAPPED_KEY_VERSION: u32 = 1;

#[cfg(test)]
mod tests;
