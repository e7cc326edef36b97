//! Where an index's key comes from, and how it is exchanged for another: sent with each request, or wrapped by a slot of
//! the key registry.

use super::bundles::Bundles;
use super::requests::KeyInput;
use super::{IndexRef, Service, ServiceError};
use crate::adapters::CatalogError;
use crate::auth::Caller;
use crate::domain::{Command, IndexRecord, KeyEnvelope, KeySource, Rejection};
use crate::ports::KeyContext;
use sealdex_core::{ErrorCode, IndexId};
use sealdex_crypto::IndexKey;
use std::net::IpAddr;
use std::sync::Arc;

/// What an index is to be opened with from now on.
pub enum NewKey {
    /// A key of its owner's.
    Owned(KeyInput),
    /// A new key that a slot of the registry wraps.
    Slot(String),
}

impl Service {
    /// The key of an index: the one that was sent, or the one that its key provider unwraps. A key that is sent where
    /// none is welcome is refused before anything else happens.
    pub(crate) async fn index_key(
        &self,
        record: &IndexRecord,
        sent: KeyInput,
    ) -> Result<Arc<IndexKey>, ServiceError> {
        match (&record.key.source, sent) {
            (KeySource::Client, KeyInput::Given(key)) => Ok(Arc::new(key)),
            (KeySource::Client, KeyInput::WrongLength(bytes)) => Err(wrong_length("index_key", bytes)),
            (KeySource::Client, KeyInput::Absent) => Err(missing(&record.name)),
            (KeySource::Kms(_), KeyInput::Given(_) | KeyInput::WrongLength(_)) => {
                Err(unwelcome(&record.name))
            }
            (KeySource::Kms(_), KeyInput::Absent) => self.unwrapped(record).await,
        }
    }

    /// The same for a caller, who is told of a wrong key at once. Wrong ones are counted for each index and address; with a
    /// right one a rotation that waits for it goes on.
    pub(crate) async fn callers_key(
        self: &Arc<Self>,
        caller: &Caller,
        record: &IndexRecord,
        sent: KeyInput,
    ) -> Result<Arc<IndexKey>, ServiceError> {
        let key = self.index_key(record, sent).await?;
        if record.key.source == KeySource::Client {
            self.key_attempts
                .judge(
                    source_of(caller, record.id),
                    |fingerprints| fingerprints.of_key(&key),
                    || self.custodian.verify(record, &key),
                )
                .map_err(|retry_after_seconds| too_many_wrong(&record.name, retry_after_seconds))??;
        }
        self.resume_with(record, &key)?;
        Ok(key)
    }

    /// Whoever takes something away from an index shows the key that its owner holds. A KMS is not asked, for its key may be gone: there
    /// the right to administer is enough.
    pub(crate) async fn check_owner(
        self: &Arc<Self>,
        caller: &Caller,
        record: &IndexRecord,
        sent: KeyInput,
    ) -> Result<(), ServiceError> {
        match (&record.key.source, sent) {
            (KeySource::Kms(_), KeyInput::Absent) => Ok(()),
            (_, sent) => {
                let key = self.callers_key(caller, record, sent).await?;
                self.custodian.verify(record, &key)
            }
        }
    }

    /// Takes note that a caller has given an index the key that opens it from now on: they are no guesser when they send it.
    pub(crate) fn set_by(&self, caller: &Caller, index: IndexId, key: &IndexKey) {
        let source = source_of(caller, index);
        self.key_attempts
            .remember(source, |fingerprints| fingerprints.of_key(key));
    }

    /// Whoever pulls the key of a KMS-backed index keeps its users out too, although their grants would still open.
    pub(crate) async fn check_key_is_live(&self, record: &IndexRecord) -> Result<(), ServiceError> {
        match &record.key.source {
            KeySource::Client => Ok(()),
            KeySource::Kms(_) => self.unwrapped(record).await.map(drop),
        }
    }

    /// The envelope of a new index, under the key its owner sent or one that `slot` wraps.
    pub(crate) async fn key_of_new_index(
        &self,
        index: IndexId,
        owned: Option<&IndexKey>,
        slot: Option<&str>,
    ) -> Result<KeyEnvelope, ServiceError> {
        match (owned, slot) {
            (Some(key), _) => Ok(Bundles::generate(index).envelope(key, KeySource::Client)),
            (None, slot) => {
                let (key, source) = self.wrapped_by(slot.unwrap_or_default(), index).await?;
                Ok(Bundles::generate(index).envelope(&key, source))
            }
        }
    }

    /// Exchanges the key of an index for another in one commit: no row is touched, no request fails. The old key opens
    /// nothing from then on.
    pub async fn rewrap(
        self: &Arc<Self>,
        caller: &Caller,
        index: IndexRef,
        new: NewKey,
    ) -> Result<(), ServiceError> {
        caller.require_admin()?;
        let mut record = self.named(&index.name).await?;
        let old = self.callers_key(caller, &record, index.key).await?;
        self.custodian.verify(&record, &old)?;
        let (new, source) = self.new_key(&record, new).await?;
        loop {
            let bundles = Bundles::open(&record, &old)?;
            let rewrap = Command::Rewrap {
                name: record.name.clone(),
                id: record.id,
                replaces: record.key.commitment,
                key: Box::new(bundles.envelope(&new, source.clone())),
            };
            match self.catalog.change(rewrap).await {
                Ok(_) => break,
                Err(CatalogError::Rejected(Rejection::OutOfTurn)) => {
                    record = self.changed_meanwhile(&record).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if source == KeySource::Client {
            self.set_by(caller, record.id, &new);
        }
        self.opened_keys.forget(record.id);
        Ok(())
    }

    /// The record as it is now, if the index has the key that it had in `before`: users or key epochs changed meanwhile, and
    /// the same can be tried once more.
    pub(crate) async fn changed_meanwhile(
        &self,
        before: &IndexRecord,
    ) -> Result<Arc<IndexRecord>, ServiceError> {
        let now = self.named(&before.name).await?;
        if now.key.commitment == before.key.commitment {
            return Ok(now);
        }
        Err(ServiceError::new(
            ErrorCode::Conflict,
            format!(
                "Index '{}' was given another key by somebody else meanwhile; send the request again with that key.",
                before.name
            ),
        ))
    }

    /// The key that an index is to be opened with from now on, which must be another than it has.
    pub(crate) async fn new_key(
        &self,
        record: &IndexRecord,
        new: NewKey,
    ) -> Result<(IndexKey, KeySource), ServiceError> {
        match new {
            NewKey::Owned(KeyInput::Given(key)) if self.custodian.verify(record, &key).is_ok() => {
                Err(ServiceError::invalid(
                    "new_index_key is the key that the index has already; send another one, or only epoch to exchange the keys below it.",
                ))
            }
            NewKey::Owned(KeyInput::Given(key)) => Ok((key, KeySource::Client)),
            NewKey::Owned(KeyInput::WrongLength(bytes)) => Err(wrong_length("new_index_key", bytes)),
            NewKey::Owned(KeyInput::Absent) => Err(ServiceError::invalid(
                "Say what to exchange: send new_index_key, new_kms_name, or epoch as true.",
            )),
            NewKey::Slot(slot) => self.wrapped_by(&slot, record.id).await,
        }
    }

    /// A new key, wrapped by a slot of the registry.
    async fn wrapped_by(&self, slot: &str, index: IndexId) -> Result<(IndexKey, KeySource), ServiceError> {
        if self.key_ring.slot(slot).is_none() {
            return Err(ServiceError::invalid(format!(
                "Unknown KMS registry entry: '{slot}'. Add it to kms.registry in the configuration file and reload, or name another."
            )));
        }
        let key = IndexKey::generate();
        let wrapped = self.key_ring.wrap(slot, &self.context(index, slot), &key).await?;
        Ok((key, KeySource::Kms(wrapped)))
    }

    /// The key of a KMS-backed index, from memory or from its provider. One call at a time for each index.
    pub(crate) async fn unwrapped(&self, record: &IndexRecord) -> Result<Arc<IndexKey>, ServiceError> {
        let KeySource::Kms(wrapped) = &record.key.source else {
            return Err(missing(&record.name));
        };
        let load = || {
            let (ring, wrapped) = (self.key_ring.clone(), wrapped.clone());
            let (deployment, index) = (self.settings.deployment, record.id);
            async move {
                let context = KeyContext {
                    deployment,
                    index,
                    slot: &wrapped.slot,
                };
                ring.unwrap(&wrapped, &context).await.map(Arc::new)
            }
        };
        let key = self.opened_keys.get_or_load(record.id, load).await?;
        if self.custodian.verify(record, &key).is_ok() {
            return Ok(key);
        }
        // The index was given another key a moment ago, and this is the one of before.
        self.opened_keys.forget(record.id);
        Ok(self.opened_keys.get_or_load(record.id, load).await?)
    }

    fn context<'a>(&self, index: IndexId, slot: &'a str) -> KeyContext<'a> {
        KeyContext {
            deployment: self.settings.deployment,
            index,
            slot,
        }
    }
}

/// Wrong keys are counted for each index and address.
fn source_of(caller: &Caller, index: IndexId) -> Option<(IndexId, IpAddr)> {
    caller.address().map(|address| (index, address))
}

fn unwelcome(name: &str) -> ServiceError {
    ServiceError::invalid(format!(
        "Index '{name}' is KMS-backed; do not supply index_key: the service gets the key from the KMS. Send the request again without it."
    ))
}

fn missing(name: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::Unauthenticated,
        format!("Index '{name}' is opened by a key that only its owner holds; send it as index_key."),
    )
}

fn too_many_wrong(name: &str, retry_after_seconds: u32) -> ServiceError {
    ServiceError::new(
        ErrorCode::TooOften { retry_after_seconds },
        format!(
            "Too many wrong keys for index '{name}' came from this address; send the key it was created or last rotated with, in {retry_after_seconds} seconds."
        ),
    )
}

pub(crate) fn wrong_length(field: &str, bytes: usize) -> ServiceError {
    ServiceError::invalid(format!(
        "{field} must be 32 bytes as 64 hexadecimal digits; got {bytes} bytes."
    ))
}
