//! 32 secret bytes. Every key of this crate is held as one, or inside a library's key context.

use crate::random;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 bytes that stay at one place in memory, however often their owner moves, and are zeroised there.
pub(crate) struct Secret(Box<[u8; Secret::BYTES]>);

impl Secret {
    pub(crate) const BYTES: usize = 32;

    /// Fresh random bytes.
    pub(crate) fn generate() -> Self {
        Self::fill_with(random::fill)
    }

    /// Lets `fill` write the bytes where they will stay.
    pub(crate) fn fill_with(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self(Box::new([0; Self::BYTES]));
        fill(secret.0.as_mut_slice());
        secret
    }

    /// The bytes, for a KDF, a cipher or a sealed envelope and nobody else.
    pub(crate) fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

#[cfg(test)]
mod tests {
    use super::*;
    use static_assertions::{assert_impl_all, assert_not_impl_any};

    assert_not_impl_any!(
        Secret: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, std::ops::Deref, AsRef<[u8]>, serde::Serialize
    );
    // What is expanded from a secret and held elsewhere. `Hkdf` and `Hmac` say nothing themselves, but hold nothing
    // but states of this hash.
    assert_impl_all!(aes_gcm::Aes256Gcm: ZeroizeOnDrop);
    assert_impl_all!(sha2::Sha256: ZeroizeOnDrop);

    #[test]
    fn bytes_stay_where_they_were_written() {
        let secret = Secret::generate();
        let at = secret.expose().as_ptr();
        let moved = Box::new((secret,));
        assert_eq!(moved.0.expose().as_ptr(), at);
    }

    #[test]
    fn generated_bytes_are_random() {
        assert_ne!(Secret::generate().expose(), Secret::generate().expose());
    }
}
