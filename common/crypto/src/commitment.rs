//! How an index recognises its key without holding it.

use crate::error::OpenError;
use crate::index_key::IndexKey;
use crate::labels;
use sealdex_core::IndexId;
use subtle::ConstantTimeEq;

/// A digest of an index key, bound to the index. Not secret: stored in the clear. There is no `PartialEq`, so that it
/// is compared by [`Commitment::verify`] alone.
#[derive(Clone, Debug)]
pub struct Commitment([u8; 32]);

impl IndexKey {
    /// What is stored of this key, if it is the key of `index`.
    pub fn commitment(&self, index: IndexId) -> Commitment {
        Commitment(*self.derive(labels::COMMITMENT, index).expose())
    }
}

impl Commitment {
    /// Whether `key` is the key of `index`, in a time that does not depend on how far off it is. Nothing is unwrapped.
    pub fn verify(&self, key: &IndexKey, index: IndexId) -> Result<(), OpenError> {
        let given = key.commitment(index);
        if bool::from(self.0.ct_eq(&given.0)) {
            Ok(())
        } else {
            Err(OpenError)
        }
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads stored bytes back; `None` if they are not 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: IndexId = IndexId(7);

    fn key(byte: u8) -> IndexKey {
        IndexKey::from_bytes([byte; 32])
    }

    #[test]
    fn only_the_key_of_the_index_is_accepted() {
        let stored = Commitment::from_slice(key(1).commitment(INDEX).as_bytes()).unwrap();
        assert_eq!(stored.verify(&key(1), INDEX), Ok(()));
        assert_eq!(stored.verify(&key(2), INDEX), Err(OpenError));
        assert_eq!(stored.verify(&key(1), IndexId(8)), Err(OpenError));
    }

    #[test]
    fn every_byte_counts() {
        for place in 0..32 {
            let mut bytes = *key(1).commitment(INDEX).as_bytes();
            bytes[place] ^= 1;
            assert_eq!(Commitment(bytes).verify(&key(1), INDEX), Err(OpenError));
        }
    }

    #[test]
    fn only_32_bytes_are_a_commitment() {
        assert!(Commitment::from_slice(&[0; 31]).is_none());
        assert!(Commitment::from_slice(&[0; 33]).is_none());
    }

    #[test]
    fn is_not_the_wrap_key() {
        assert_ne!(
            key(1).commitment(INDEX).as_bytes(),
            key(1).derive(labels::WRAP, INDEX).expose()
        );
    }
}
