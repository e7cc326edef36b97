//! An item's metadata: one JSON object, and its compact binary form.
//!
//! Knows nothing of items, blocks or filters. Metadata is plaintext: the type has no `Debug`, so that no log line can
//! hold it by accident.
//!
//! # Numbers
//!
//! Integers from -2^63 to 2^64 - 1 (so all of up to 19 digits, and those of 20 digits up to 18,446,744,073,709,551,615)
//! and all finite doubles come back exactly. An integer beyond that range is the nearest double already when the JSON
//! reader hands it over, and comes back as that double.

mod encoding;
mod number;

pub(crate) use encoding::{Elements, Fields, View, check, put_value};
pub(crate) use number::Number;

use crate::layout::{LayoutError, Reader};
use sealdex_core::{ErrorCode, limits};
use serde_json::{Map, Value};

const LAYOUT: &str = "metadata";
const VERSION: u8 = 1;

/// Levels that may be inside one value of the object.
pub(crate) const VALUE_DEPTH: usize = limits::NESTING_MAX - 1;

/// A JSON object within the limits: at most [`limits::NESTING_MAX`] levels, the object itself being the first, and at
/// most [`limits::METADATA_BYTES_MAX`] bytes as [`Metadata::encode`] writes it.
#[derive(Clone, Default, PartialEq)]
pub struct Metadata(Map<String, Value>);

/// Metadata that is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MetadataError {
    /// Nested beyond [`limits::NESTING_MAX`].
    #[error("metadata may be nested at most {max} levels deep; flatten it", max = limits::NESTING_MAX)]
    TooDeep,
    /// Larger than [`limits::METADATA_BYTES_MAX`].
    #[error("metadata may take at most {max} bytes per item; put large text into contents", max = limits::METADATA_BYTES_MAX)]
    TooLarge,
}

impl MetadataError {
    /// What it means to a caller.
    pub fn code(self) -> ErrorCode {
        match self {
            MetadataError::TooDeep => ErrorCode::Invalid,
            MetadataError::TooLarge => ErrorCode::TooLarge,
        }
    }
}

impl Metadata {
    /// Takes a JSON object as metadata if it is within the limits.
    pub fn new(object: Map<String, Value>) -> Result<Self, MetadataError> {
        let members = encoding::members_size(&object, VALUE_DEPTH).ok_or(MetadataError::TooDeep)?;
        if 1 + members > limits::METADATA_BYTES_MAX {
            Err(MetadataError::TooLarge)
        } else {
            Ok(Self(object))
        }
    }

    /// Metadata without a key.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The object, for whoever sends it on.
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// The binary form: a version byte, then key and value of each member, by ascending key.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        encoding::put_members(&mut out, &self.0);
        out
    }

    /// Reads the binary form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        reader.version(VERSION)?;
        let members = encoding::check_members(reader.rest(), limits::NESTING_MAX).ok_or(reader.damaged())?;
        Ok(Self(members.to_map()))
    }

    /// Wraps members that were within the limits when they were written.
    pub(crate) fn from_stored(object: Map<String, Value>) -> Self {
        Self(object)
    }
}
