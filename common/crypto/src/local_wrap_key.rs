//! Wrapping of index keys under a secret of the deployment: a key file, or a secret that a secrets manager holds.
//!
//! ```text
//! [format][nonce 12][ciphertext 32][tag 16]
//! ```

use crate::aad::FORMAT;
use crate::aead::{AeadKey, NONCE_BYTES, TAG_BYTES};
use crate::encoding::encode;
use crate::error::{KeyError, OpenError};
use crate::index_key::IndexKey;
use crate::kdf::Kdf;
use crate::labels;
use crate::random;
use crate::secret::Secret;
use zeroize::Zeroizing;

/// What index keys are wrapped under where no KMS does it. One wraps an index key when an index is made and at each
/// rewrap, so that random nonces never come near their limit.
pub struct LocalWrapKey(AeadKey);

impl LocalWrapKey {
    /// Of a secret of exactly 32 bytes. Whoever read it from its file zeroises it.
    pub fn from_bytes(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() != Secret::BYTES {
            return Err(KeyError::WrapLength { bytes: secret.len() });
        }
        let key = Kdf::of_text(secret).derive(labels::LOCAL_WRAP_KEY, &[]);
        Ok(Self(AeadKey::for_envelopes(&key)))
    }

    /// Wraps an index key for storage. It unwraps with the same context only: whatever says where the key belongs.
    pub fn wrap(&self, key: &IndexKey, context: &[u8]) -> Vec<u8> {
        let nonce = random::random();
        let mut buffer = Zeroizing::new(*key.expose_for_wrapping());
        // Sealed in place: from here on it is ciphertext.
        let tag = self.0.seal(&nonce, &binding(context), buffer.as_mut_slice());
        [&[FORMAT], nonce.as_slice(), buffer.as_slice(), tag.as_slice()].concat()
    }

    /// Unwraps a stored index key.
    pub fn unwrap(&self, wrapped: &[u8], context: &[u8]) -> Result<IndexKey, OpenError> {
        let rest = wrapped.strip_prefix(&[FORMAT]).ok_or(OpenError)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(OpenError)?;
        let mut plaintext = Zeroizing::new([0; Secret::BYTES]);
        if ciphertext.len() != plaintext.len() {
            return Err(OpenError);
        }
        self.0.open(
            nonce,
            &binding(context),
            ciphertext,
            tag,
            plaintext.as_mut_slice(),
        )?;
        IndexKey::from_slice(plaintext.as_slice()).map_err(|_| OpenError)
    }
}

fn binding(context: &[u8]) -> Vec<u8> {
    encode(labels::LOCAL_WRAP, &[&[FORMAT], context])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wrap_key(byte: u8) -> LocalWrapKey {
        LocalWrapKey::from_bytes(&[byte; 32]).unwrap()
    }

    proptest! {
        #[test]
        fn unwraps_as_it_was_wrapped_and_not_when_changed(
            bytes: [u8; 32],
            context in prop::collection::vec(any::<u8>(), 0..40),
            at in 0usize..61,
            bit in 0u8..8,
        ) {
            let wrapped = wrap_key(1).wrap(&IndexKey::from_bytes(bytes), &context);
            prop_assert_eq!(wrapped.len(), 61);
            let unwrapped = wrap_key(1).unwrap(&wrapped, &context).unwrap();
            prop_assert_eq!(unwrapped.expose_for_wrapping(), &bytes);
            let mut changed = wrapped.clone();
            changed[at] ^= 1 << bit;
            prop_assert!(wrap_key(1).unwrap(&changed, &context).is_err());
            prop_assert!(wrap_key(1).unwrap(&wrapped[..at], &context).is_err());
        }
    }

    #[test]
    fn unwraps_with_its_key_and_context_only() {
        let wrapped = wrap_key(1).wrap(&IndexKey::generate(), b"context");
        assert!(wrap_key(2).unwrap(&wrapped, b"context").is_err());
        assert!(wrap_key(1).unwrap(&wrapped, b"contex").is_err());
        assert!(wrap_key(1).unwrap(&wrapped, b"").is_err());
        let longer = [wrapped.as_slice(), &[0]].concat();
        assert!(wrap_key(1).unwrap(&longer, b"context").is_err());
    }

    #[test]
    fn the_same_is_never_wrapped_alike() {
        let key = IndexKey::generate();
        assert_ne!(wrap_key(1).wrap(&key, b""), wrap_key(1).wrap(&key, b""));
    }

    #[test]
    fn only_32_bytes_are_a_secret() {
        for bytes in [0, 16, 31, 33, 64] {
            let error = LocalWrapKey::from_bytes(&vec![1; bytes]).err();
            assert_eq!(error, Some(KeyError::WrapLength { bytes }));
        }
    }
}
