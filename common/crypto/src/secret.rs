//! 32 secret bytes. Every key of this crate is held as one, or inside a library's key context.

use crate::random;
use zeroize::Zeroize;

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
