//! The `index_key` of a request. It becomes a key while it is read: no text of it is kept here.

use crate::service::{KeyInput, ServiceError};
use sealdex_crypto::KeyError;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// A key as it was sent, which may not even be hexadecimal.
pub(crate) struct SentKey(Result<KeyInput, KeyError>);

impl SentKey {
    /// The key, unless it is not hexadecimal.
    pub(crate) fn into_input(self) -> Result<KeyInput, ServiceError> {
        self.into_input_of("index_key")
    }

    /// The same of a key that was sent as `field`.
    pub(crate) fn into_input_of(self, field: &str) -> Result<KeyInput, ServiceError> {
        self.0
            .map_err(|error| ServiceError::new(error.code(), format!("{field}: {error}.")))
    }
}

impl Default for SentKey {
    fn default() -> Self {
        Self(Ok(KeyInput::Absent))
    }
}

impl<'de> Deserialize<'de> for SentKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(SentKeyVisitor)
    }
}

struct SentKeyVisitor;

impl<'de> Visitor<'de> for SentKeyVisitor {
    type Value = SentKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E: Error>(self) -> Result<SentKey, E> {
        Ok(SentKey::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<SentKey, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SentKey, E> {
        Ok(SentKey(KeyInput::parse(Some(text))))
    }
}
