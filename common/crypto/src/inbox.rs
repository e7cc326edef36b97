//! Records of users who may write and not read: sealed to the index's public key, opened by whoever holds the read
//! root and by nobody else, their writer included.

use crate::aad::FORMAT;
use crate::encoding::encode;
use crate::error::OpenError;
use crate::hybrid::{self, OVERHEAD, PrivateKey};
use crate::labels;
use crate::public_keys::InboxPublicKey;
use sealdex_core::{IndexId, ItemLabel, KeyEpoch, Op, PartitionId};

/// How much longer an inbox record is than its plaintext. It reads `[format][enc 32][ciphertext][tag 16]`.
pub const INBOX_OVERHEAD: usize = OVERHEAD;

/// Where an inbox record belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct InboxContext {
    /// The index written to.
    pub index: IndexId,
    /// The epoch of the bundle whose public key it is sealed to.
    pub epoch: KeyEpoch,
    /// The item's home partition.
    pub partition: PartitionId,
    /// The item.
    pub label: ItemLabel,
    /// The write.
    pub op: Op,
    /// Which piece of a write that is sealed in several; 0 where there is one.
    pub part: u8,
}

impl InboxContext {
    /// RFC 9180, section 8.1: what a single shot is bound to enters by `info`.
    fn info(&self) -> Vec<u8> {
        encode(
            labels::INBOX_RECORD,
            &[
                &[FORMAT],
                &self.index.0.to_be_bytes(),
                &self.epoch.0.to_be_bytes(),
                &self.partition.0.to_be_bytes(),
                self.label.as_bytes(),
                self.op.as_bytes(),
                &[self.part],
            ],
        )
    }
}

impl InboxPublicKey {
    /// Seals `plaintext` as the record that `context` describes.
    pub fn seal(&self, context: &InboxContext, plaintext: &[u8]) -> Vec<u8> {
        hybrid::seal(self.as_bytes(), &context.info(), &[], plaintext)
    }
}

/// Opens the records of write-only users. Had from a [`ReadCap`](crate::ReadCap).
pub struct InboxOpener(PrivateKey);

impl InboxOpener {
    pub(crate) fn new(key: PrivateKey) -> Self {
        Self(key)
    }

    /// Opens a record that was sealed as what `context` describes.
    pub fn open(&self, context: &InboxContext, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let length = sealed.len().checked_sub(INBOX_OVERHEAD).ok_or(OpenError)?;
        let mut plaintext = vec![0; length];
        self.0.open(&context.info(), &[], sealed, &mut plaintext)?;
        Ok(plaintext)
    }

    /// What these records are sealed to.
    pub fn public_key(&self) -> InboxPublicKey {
        InboxPublicKey::of_private(self.0.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use proptest::prelude::*;

    const CONTEXT: InboxContext = InboxContext {
        index: IndexId(7),
        epoch: KeyEpoch(3),
        partition: PartitionId(5),
        label: ItemLabel([1; 16]),
        op: Op([2; 16]),
        part: 0,
    };

    proptest! {
        #[test]
        fn opens_as_it_was_sealed_and_not_when_changed(
            plaintext in prop::collection::vec(any::<u8>(), 0..200),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let opener = Bundle::generate().read_cap().inbox_opener();
            let sealed = opener.public_key().seal(&CONTEXT, &plaintext);
            prop_assert_eq!(sealed.len(), plaintext.len() + INBOX_OVERHEAD);
            prop_assert_eq!(opener.open(&CONTEXT, &sealed), Ok(plaintext));

            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1 << bit;
            prop_assert_eq!(opener.open(&CONTEXT, &changed), Err(OpenError));
            prop_assert_eq!(opener.open(&CONTEXT, &sealed[..at.index(sealed.len())]), Err(OpenError));
            let longer = [sealed.as_slice(), &[0]].concat();
            prop_assert_eq!(opener.open(&CONTEXT, &longer), Err(OpenError));
        }
    }

    #[test]
    fn opens_at_its_place_and_with_its_key_only() {
        let bundle = Bundle::generate();
        let opener = bundle.read_cap().inbox_opener();
        let sealed = bundle.public_keys().inbox.seal(&CONTEXT, b"plaintext");
        assert_eq!(opener.open(&CONTEXT, &sealed).unwrap(), b"plaintext");
        for elsewhere in [
            InboxContext {
                index: IndexId(8),
                ..CONTEXT
            },
            InboxContext {
                epoch: KeyEpoch(4),
                ..CONTEXT
            },
            InboxContext {
                partition: PartitionId(6),
                ..CONTEXT
            },
            InboxContext {
                label: ItemLabel([2; 16]),
                ..CONTEXT
            },
            InboxContext {
                op: Op([1; 16]),
                ..CONTEXT
            },
            InboxContext { part: 1, ..CONTEXT },
        ] {
            assert_eq!(opener.open(&elsewhere, &sealed), Err(OpenError), "{elsewhere:?}");
        }
        let other = Bundle::generate().read_cap().inbox_opener();
        assert_eq!(other.open(&CONTEXT, &sealed), Err(OpenError));
    }
}
