//! HMAC-SHA256 (RFC 2104): names, tags and digests that only the holder of a key can compute.

use crate::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// One key. Holds the keyed hash state, so that a short input costs two compressions.
pub(crate) struct Prf(Hmac<Sha256>);

impl Prf {
    pub(crate) fn new(key: &Secret) -> Self {
        Self(Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length"))
    }

    /// The first `N` bytes of the digest. Under one key, at most one of `parts` may vary in length, or their
    /// concatenation would be ambiguous.
    pub(crate) fn of<const N: usize>(&self, parts: &[&[u8]]) -> [u8; N] {
        const { assert!(N <= 32, "a digest of SHA-256 has 32 bytes") };
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        let full = mac.finalize().into_bytes();
        *full.first_chunk().expect("N is at most 32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use static_assertions::assert_not_impl_any;

    assert_not_impl_any!(
        Prf: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, std::ops::Deref, AsRef<[u8]>, serde::Serialize
    );

    #[test]
    fn shorter_digests_are_the_beginning_of_longer_ones() {
        let prf = Prf::new(&Secret::generate());
        let full: [u8; 32] = prf.of(&[b"one", b"two"]);
        assert_eq!(prf.of::<8>(&[b"onetwo"]), full[..8]);
        assert_ne!(prf.of::<32>(&[b"onetwO"]), full);
    }
}
