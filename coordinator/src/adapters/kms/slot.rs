//! One slot of the ring at work: chooses its provider, bounds its calls in number and time, and names it in every error.

use super::aws_access::{Aws, SlotClients, SlotOf, region_of_arn};
use super::aws_kms::AwsKms;
use super::local::KeyFile;
use super::secrets_manager::SecretsManager;
use super::{Refusal, UNREACHABLE};
use crate::adapters::registry::{Provider, SlotConfig};
use crate::ports::{KeyContext, KeyProvider, KmsError, KmsFault};
use async_trait::async_trait;
use sealdex_crypto::IndexKey;
use sealdex_telemetry::{KmsOperation, KmsOutcome, KmsProvider, metrics};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A slot as it is written, with what was made for it.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) config: SlotConfig,
    clients: SlotClients,
    calls: Semaphore,
}

impl Slot {
    pub(super) fn new(name: String, config: SlotConfig) -> Self {
        Self {
            name,
            config,
            clients: SlotClients::default(),
            calls: Semaphore::new(CALLS_MAX),
        }
    }

    /// The region that the slot's own text tells, if it does.
    pub(super) fn region(&self) -> Option<&str> {
        let of_arn = || self.config.key_id.as_deref().and_then(region_of_arn);
        self.config.region.as_deref().or_else(of_arn)
    }

    fn error(&self, refusal: Refusal) -> KmsError {
        let error = KmsError::new(&self.name, refusal.fault);
        match refusal.said {
            Some(said) => error.with_context(said),
            None => error,
        }
    }

    /// Waiting for others of the same slot counts; slots do not wait for each other.
    async fn in_time<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, KmsError> {
        let in_turn = async {
            let _permit = self.calls.acquire().await.map_err(|_| UNREACHABLE)?;
            call.await
        };
        let outcome = tokio::time::timeout(patience, in_turn).await;
        let late = |_| Refusal::from(UNREACHABLE).with_words(format!("no answer within {patience:?}"));
        outcome
            .map_err(late)
            .flatten()
            .map_err(|refusal| self.error(refusal))
    }
}

/// A slot with the key that is to be used: its present one, or the one of an envelope.
pub(super) struct SlotProvider<'a> {
    pub(super) aws: &'a Aws,
    pub(super) slot: &'a Slot,
    pub(super) kind: Provider,
    /// Empty for a key file.
    pub(super) key_id: &'a str,
    pub(super) region: Option<&'a str>,
}

#[async_trait]
impl KeyProvider for SlotProvider<'_> {
    async fn wrap(&self, key: &IndexKey, context: &KeyContext<'_>) -> Result<Vec<u8>, KmsError> {
        let context = &self.bound_to_slot(context);
        let call = async {
            if self.kind == Provider::Local {
                return self.file()?.wrap(key, context).await;
            }
            let key_id = self.key_id()?;
            let clients = self
                .slot
                .clients
                .of(self.aws, &self.slot_of(), self.region)
                .await?;
            match self.kind {
                Provider::AwsKms => AwsKms::new(&clients, key_id).wrap(key, context).await,
                _ => SecretsManager::new(&clients, key_id).wrap(key, context).await,
            }
        };
        self.observed(KmsOperation::Wrap, call).await
    }

    async fn unwrap(&self, wrapped: &[u8], context: &KeyContext<'_>) -> Result<IndexKey, KmsError> {
        let context = &self.bound_to_slot(context);
        let call = async {
            if self.kind == Provider::Local {
                return self.file()?.unwrap(wrapped, context).await;
            }
            let key_id = self.key_id()?;
            let clients = self
                .slot
                .clients
                .of(self.aws, &self.slot_of(), self.region)
                .await?;
            match self.kind {
                Provider::AwsKms => AwsKms::new(&clients, key_id).unwrap(wrapped, context).await,
                _ => {
                    SecretsManager::new(&clients, key_id)
                        .unwrap(wrapped, context)
                        .await
                }
            }
        };
        self.observed(KmsOperation::Unwrap, call).await
    }
}

impl<'a> SlotProvider<'a> {
    async fn observed<T>(
        &self,
        operation: KmsOperation,
        call: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, KmsError> {
        let begun = Instant::now();
        let outcome = self.slot.in_time(self.aws.patience().call, call).await;
        let provider = match self.kind {
            Provider::AwsKms => KmsProvider::AwsKms,
            Provider::AwsSecret => KmsProvider::AwsSecretsManager,
            Provider::Local => KmsProvider::Local,
        };
        let ended = match outcome.as_ref().map_err(KmsError::fault) {
            Ok(_) => KmsOutcome::Done,
            Err(KmsFault::Throttled { .. }) => KmsOutcome::Throttled,
            Err(KmsFault::Unreachable { .. }) => KmsOutcome::Unreachable,
            Err(_) => KmsOutcome::Refused,
        };
        metrics().kms.observe(provider, operation, ended, begun.elapsed());
        outcome
    }

    /// The region that calls go to; empty for a key file.
    pub(super) async fn resolved_region(&self) -> Result<String, KmsError> {
        if self.kind == Provider::Local {
            return Ok(String::new());
        }
        let slot_of = self.slot_of();
        let clients = self.slot.clients.of(self.aws, &slot_of, self.region);
        let region = async { Ok(clients.await?.region.clone()) };
        self.slot.in_time(self.aws.patience().call, region).await
    }

    fn bound_to_slot<'b>(&'b self, context: &KeyContext<'_>) -> KeyContext<'b> {
        KeyContext {
            deployment: context.deployment,
            index: context.index,
            slot: &self.slot.name,
        }
    }

    fn slot_of(&self) -> SlotOf<'_> {
        SlotOf {
            name: &self.slot.name,
            config: &self.slot.config,
        }
    }

    fn file(&self) -> Result<KeyFile, Refusal> {
        let path = self.slot.config.key_file.clone();
        let path = path.ok_or_else(|| Refusal::misconfigured("a local slot needs key_file; add it"))?;
        Ok(KeyFile { path })
    }

    fn key_id(&self) -> Result<&'a str, Refusal> {
        let written = Some(self.key_id).filter(|key_id| !key_id.is_empty());
        written.ok_or_else(|| Refusal::misconfigured("it names no key; add key_id"))
    }
}

/// Calls of one slot under way. A start with many indexes waits its turn; AWS's quotas are thousands per second.
const CALLS_MAX: usize = 16;
