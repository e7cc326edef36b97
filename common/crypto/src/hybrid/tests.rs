//! Against the vectors of RFC 9180, and against whoever changes a byte.

use super::*;
use ::hpke::rand_core::{TryCryptoRng, TryRng};
use proptest::prelude::*;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use std::convert::Infallible;

assert_not_impl_any!(
    PrivateKey: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, std::ops::Deref, AsRef<[u8]>, serde::Serialize
);
assert_impl_all!(PrivateKey: Send, Sync);
// The library says nothing of zeroising, but 32 bytes that did not would need no drop.
const _: () = assert!(std::mem::needs_drop::<<X25519HkdfSha256 as Kem>::PrivateKey>());

/// Says 32 given bytes once.
struct Once(Option<[u8; 32]>);

impl TryRng for Once {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("keys are drawn by their bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("keys are drawn by their bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.take().unwrap());
        Ok(())
    }
}

impl TryCryptoRng for Once {}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

fn key(byte: u8) -> PrivateKey {
    PrivateKey::derive(&Secret::fill_with(|out| out.fill(byte)))
}

fn opened(key: &PrivateKey, info: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0xaa; sealed.len().saturating_sub(OVERHEAD)];
    let opened = key.open(info, aad, sealed, &mut out);
    if opened.is_err() {
        assert!(out.iter().all(|&byte| byte == 0), "plaintext after an error");
    }
    opened.ok().map(|()| out)
}

/// mode 0, kem 0x0020, kdf 1, aead 2, the first encryption: the list of vectors that RFC 9180, appendix A, refers to.
#[test]
fn vector_of_the_standard() {
    let info = unhex("4f6465206f6e2061204772656369616e2055726e");
    let ikm_r = unhex("dac33b0e9db1b59dbbea58d59a14e7b5896e9bdf98fad6891e99d1686492b9ee");
    let ikm_e = unhex("2cd7c601cefb3d42a62b04b7a9041494c06c7843818e0ce28a8f704ae7ab20f9");
    let public = unhex("430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c");
    let enc = "6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256";
    let ct = "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a";
    let plaintext = unhex("4265617574792069732074727574682c20747275746820626561757479");
    let aad = unhex("436f756e742d30");

    let key = PrivateKey::derive(&Secret::fill_with(|out| out.copy_from_slice(&ikm_r)));
    assert_eq!(key.public().as_slice(), public);
    let mut random = Once(Some(ikm_e.try_into().unwrap()));
    let sealed = seal_with(&mut random, &key.public(), &info, &aad, &plaintext);
    assert_eq!(sealed, unhex(&format!("01{enc}{ct}")));
    assert_eq!(opened(&key, &info, &aad, &sealed), Some(plaintext));
}

proptest! {
    #[test]
    fn any_change_is_noticed_and_leaves_no_plaintext(
        plaintext in prop::collection::vec(1u8.., 1..80),
        at: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let key = key(1);
        let sealed = seal(&key.public(), b"info", b"aad", &plaintext);
        prop_assert_eq!(opened(&key, b"info", b"aad", &sealed), Some(plaintext));
        let mut changed = sealed.clone();
        changed[at.index(sealed.len())] ^= 1 << bit;
        prop_assert_eq!(opened(&key, b"info", b"aad", &changed), None);
        prop_assert_eq!(opened(&key, b"info", b"aad", &sealed[..at.index(sealed.len())]), None);
    }
}

#[test]
fn opens_with_its_key_and_context_only() {
    let sealed = seal(&key(1).public(), b"info", b"aad", b"plaintext");
    assert_eq!(opened(&key(2), b"info", b"aad", &sealed), None);
    assert_eq!(opened(&key(1), b"inf", b"oaad", &sealed), None);
    assert_eq!(opened(&key(1), b"info", b"aa", &sealed), None);
    let mut wrong_length = [0xaa; 8];
    assert!(key(1).open(b"info", b"aad", &sealed, &mut wrong_length).is_err());
    assert_eq!(wrong_length, [0; 8]);
}

#[test]
fn the_same_is_never_sealed_alike() {
    let public = key(1).public();
    assert_ne!(seal(&public, b"", b"", b"same"), seal(&public, b"", b"", b"same"));
}

/// The list is right if the library refuses all that is on it, and nothing near.
#[test]
fn points_of_small_order_are_no_public_keys() {
    type Setup = Result<(), ::hpke::HpkeError>;
    let library = |bytes: &[u8; 32]| -> Setup {
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(bytes)?;
        let buffer: &mut [u8] = &mut [];
        single_shot_seal_inout_detached_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            b"",
            buffer.into(),
            b"",
            &mut System,
        )
        .map(|_| ())
    };
    for point in SMALL_ORDER {
        for high_bit in [0, 0x80] {
            for byte in 0..32 {
                for change in [0, 1, 2, 4] {
                    let mut near = point;
                    near[31] |= high_bit;
                    near[byte] ^= change;
                    assert_eq!(is_public_key(&near), library(&near).is_ok(), "{near:02x?}");
                }
            }
        }
    }
    assert!(is_public_key(&key(1).public()));
}
