//! Signatures of batches of writes: a shard takes no write that a holder of the write root has not signed, and needs
//! no secret to tell.

use crate::aad::FORMAT;
use crate::ed25519::{self, SIGNATURE_BYTES, SigningKey};
use crate::encoding::encode;
use crate::error::BadSignature;
use crate::labels;
use crate::public_keys::WritePublicKey;
use sealdex_core::{IndexId, KeyEpoch, PartitionId};
use sha2::{Digest, Sha256};

/// Where a batch is written. Its signature is good nowhere else.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BatchContext {
    /// The index written to.
    pub index: IndexId,
    /// The epoch of the bundle whose write root signs.
    pub epoch: KeyEpoch,
    /// The partition written to.
    pub partition: PartitionId,
}

impl BatchContext {
    /// What is signed. The payload enters by its SHA-256, so that it is gone through once and never copied.
    fn message(&self, payload: &[u8]) -> Vec<u8> {
        encode(
            labels::BATCH_SIGNATURE,
            &[
                &[FORMAT],
                &self.index.0.to_be_bytes(),
                &self.epoch.0.to_be_bytes(),
                &self.partition.0.to_be_bytes(),
                &Sha256::digest(payload),
            ],
        )
    }
}

/// Signs batches of writes. Had from a [`WriteCap`](crate::WriteCap).
pub struct BatchSigner(SigningKey);

impl BatchSigner {
    pub(crate) fn new(key: SigningKey) -> Self {
        Self(key)
    }

    /// Signs `payload` as a batch for `context`.
    pub fn sign(&self, context: &BatchContext, payload: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(&context.message(payload))
    }

    /// What verifies these signatures.
    pub fn public_key(&self) -> WritePublicKey {
        WritePublicKey::of_private(self.0.public())
    }
}

impl WritePublicKey {
    /// Whether `signature` was made for `payload` as a batch for `context`.
    pub fn verify(
        &self,
        context: &BatchContext,
        payload: &[u8],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> Result<(), BadSignature> {
        ed25519::verify(self.as_bytes(), &context.message(payload), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use proptest::prelude::*;

    const CONTEXT: BatchContext = BatchContext {
        index: IndexId(7),
        epoch: KeyEpoch(3),
        partition: PartitionId(0x0102),
    };

    #[test]
    fn the_signed_message_has_this_layout() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = format!(
            "0000000f{}{}{}{}{}{}",
            "6261746368207369676e6174757265", // "batch signature"
            "0000000101",
            "000000080000000000000007",
            "0000000400000003",
            "000000020102",
            format_args!("00000020{abc}"),
        );
        let message: String = CONTEXT
            .message(b"abc")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(message, expected);
    }

    proptest! {
        #[test]
        fn any_other_payload_or_signature_is_refused(
            payload in prop::collection::vec(any::<u8>(), 1..200),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let signer = Bundle::generate().write_cap().signer();
            let public = signer.public_key();
            let signature = signer.sign(&CONTEXT, &payload);
            prop_assert_eq!(public.verify(&CONTEXT, &payload, &signature), Ok(()));

            let mut changed = payload.clone();
            changed[at.index(payload.len())] ^= 1 << bit;
            prop_assert_eq!(public.verify(&CONTEXT, &changed, &signature), Err(BadSignature));
            let shorter = &payload[..at.index(payload.len())];
            prop_assert_eq!(public.verify(&CONTEXT, shorter, &signature), Err(BadSignature));
            let mut changed = signature;
            changed[at.index(64)] ^= 1 << bit;
            prop_assert_eq!(public.verify(&CONTEXT, &payload, &changed), Err(BadSignature));
        }
    }

    #[test]
    fn is_good_in_its_context_and_under_its_key_only() {
        let bundle = Bundle::generate();
        let signer = bundle.write_cap().signer();
        let signature = signer.sign(&CONTEXT, b"payload");
        bundle
            .public_keys()
            .write
            .verify(&CONTEXT, b"payload", &signature)
            .unwrap();
        for elsewhere in [
            BatchContext {
                index: IndexId(8),
                ..CONTEXT
            },
            BatchContext {
                epoch: KeyEpoch(4),
                ..CONTEXT
            },
            BatchContext {
                partition: PartitionId(0),
                ..CONTEXT
            },
        ] {
            let verified = signer.public_key().verify(&elsewhere, b"payload", &signature);
            assert_eq!(verified, Err(BadSignature), "{elsewhere:?}");
        }
        let other = Bundle::generate().public_keys().write;
        assert_eq!(other.verify(&CONTEXT, b"payload", &signature), Err(BadSignature));
        // The same bytes under another key of the same bundle.
        let admin = WritePublicKey::from_slice(bundle.public_keys().admin.as_bytes()).unwrap();
        assert_eq!(admin.verify(&CONTEXT, b"payload", &signature), Err(BadSignature));
    }
}
