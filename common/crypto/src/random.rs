//! Random bytes from the operating system, the only source there is.

use hpke::rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;

/// 16 random bytes, as for an `Op` or a `BlockId`.
pub fn random_16() -> [u8; 16] {
    random()
}

/// A random number, as for an `IndexId`.
pub fn random_u64() -> u64 {
    u64::from_be_bytes(random())
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Fills `out`. A system that has no randomness to give can seal nothing, so there is no error to return.
pub(crate) fn fill(out: &mut [u8]) {
    getrandom::fill(out).expect("the operating system provides randomness");
}

/// The same source, for libraries that draw themselves.
pub(crate) struct System;

impl TryRng for System {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes(random()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes(random()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        fill(out);
        Ok(())
    }
}

impl TryCryptoRng for System {}
