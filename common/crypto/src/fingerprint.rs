//! Credentials and index keys that were seen before, recognised without being held.

use crate::index_key::IndexKey;
use crate::prf::Prf;
use crate::secret::Secret;
use std::hash::{Hash, Hasher};
use subtle::ConstantTimeEq;

/// Takes fingerprints under a key of its own, drawn when it is made and gone with it: what it took tells nothing to whoever
/// lacks that key, and two of these take unlike ones.
pub struct Fingerprints(Prf);

impl Fingerprints {
    /// Takes fingerprints that no other takes.
    pub fn generate() -> Self {
        Self(Prf::new(&Secret::generate()))
    }

    /// Of a credential.
    pub fn of_text(&self, text: &str) -> Fingerprint {
        self.of(TEXT, text.as_bytes())
    }

    /// Of an index key.
    pub fn of_key(&self, key: &IndexKey) -> Fingerprint {
        self.of(KEY, key.secret().expose())
    }

    fn of(&self, kind: &[u8], secret: &[u8]) -> Fingerprint {
        Fingerprint(self.0.of(&[kind, secret]))
    }
}

const TEXT: &[u8] = b"t";
const KEY: &[u8] = b"k";

/// A keyed digest of a secret: tells one secret from another and nothing more. Compared in constant time.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 16]);

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_and_keys_are_told_apart(text in ".{0,80}", other in ".{0,80}", a: [u8; 32], b: [u8; 32]) {
            let fingerprints = Fingerprints::generate();
            let (of_text, of_other) = (fingerprints.of_text(&text), fingerprints.of_text(&other));
            prop_assert_eq!(of_text == of_other, text == other);
            let of = |bytes| fingerprints.of_key(&IndexKey::from_bytes(bytes));
            prop_assert_eq!(of(a) == of(b), a == b);
        }
    }

    #[test]
    fn a_text_is_no_key_of_the_same_bytes() {
        let fingerprints = Fingerprints::generate();
        let key = IndexKey::from_bytes([b'a'; 32]);
        assert!(fingerprints.of_key(&key) != fingerprints.of_text(&"a".repeat(32)));
    }

    #[test]
    fn two_of_these_take_unlike_ones() {
        let (one, other) = (Fingerprints::generate(), Fingerprints::generate());
        assert!(one.of_text("text") != other.of_text("text"));
    }
}
