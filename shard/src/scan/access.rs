//! What a request may read: the records of one index in one partition, with the keys to open them.

use crate::partition::Directory;
use crate::storage::{Database, Keys};
use sealdex_core::{ItemLabel, Op};
use sealdex_crypto::{Aad, DataKeys, RecordKind};
use sealdex_index::dataplane::{ShardError, Target};
use std::sync::Arc;

/// One index in one partition, under a lease.
pub(crate) struct Access {
    pub(crate) database: Arc<Database>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) target: Target,
    pub(crate) keys: Arc<DataKeys>,
}

impl Access {
    /// The index's keys in storage.
    pub(crate) fn records(&self) -> Keys {
        Keys::new(self.target.partition, self.target.index)
    }

    pub(crate) fn check_known(&self) -> Result<(), ShardError> {
        self.directory
            .state(self.target.index)
            .map(|_| ())
            .ok_or(ShardError::UnknownIndex)
    }

    /// Replaces what `out` holds by the plaintext of an item's record.
    pub(crate) fn open_item(
        &self,
        kind: ItemRecord,
        label: &ItemLabel,
        op: &Op,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ShardError> {
        let aad = kind.aad(label, op);
        self.keys.open_into(&aad, sealed, out).map_err(|_| kind.damaged())
    }

    /// An item's record under the key epoch that is sealed under; `None` if it is there already.
    pub(crate) fn reseal_item(
        &self,
        kind: ItemRecord,
        label: &ItemLabel,
        op: &Op,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, ShardError> {
        let resealed = self.keys.reseal(&kind.aad(label, op), sealed);
        resealed.map_err(|_| kind.damaged())
    }
}

/// An item's records belong to all generations.
pub(crate) const NO_GENERATION: sealdex_core::Generation = sealdex_core::Generation(0);

/// One of an item's three sealed records.
#[derive(Clone, Copy)]
pub(crate) enum ItemRecord {
    Vector,
    Meta,
    Contents,
}

impl ItemRecord {
    /// What to answer if the record does not open or parse.
    pub(crate) fn damaged(self) -> ShardError {
        ShardError::Corrupt(match self {
            ItemRecord::Vector => "vector",
            ItemRecord::Meta => "meta",
            ItemRecord::Contents => "contents",
        })
    }

    /// Splits a stored record into the write it belongs to and what is sealed.
    pub(crate) fn split(self, stored: &[u8]) -> Result<(Op, &[u8]), ShardError> {
        let (op, sealed) = stored.split_first_chunk().ok_or(self.damaged())?;
        Ok((Op(*op), sealed))
    }

    fn aad<'a>(self, label: &'a ItemLabel, op: &'a Op) -> Aad<'a> {
        Aad {
            kind: self.sealed_as(),
            part: 0,
            label: &label.0,
            generation: NO_GENERATION,
            op: &op.0,
        }
    }

    fn sealed_as(self) -> RecordKind {
        match self {
            ItemRecord::Vector => RecordKind::Vector,
            ItemRecord::Meta => RecordKind::Meta,
            ItemRecord::Contents => RecordKind::Contents,
        }
    }
}
