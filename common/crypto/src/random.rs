//! Random bytes from the operating system, the only source there is.

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
