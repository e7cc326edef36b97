//! Sealing to a public key: HPKE (RFC 9180) in base mode and in single shots, DHKEM(X25519, HKDF-SHA256) with
//! HKDF-SHA256 and AES-256-GCM. Knows nothing of what is sealed or why.
//!
//! ```text
//! [format][enc 32][ciphertext][tag 16]
//! ```
//!
//! Each seal draws a key pair of its own, so that no key and nonce meet twice.

use crate::aad::FORMAT;
use crate::error::OpenError;
use crate::random::System;
use crate::secret::Secret;
use ::hpke::aead::{AeadTag, AesGcm256};
use ::hpke::inout::InOutBuf;
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::X25519HkdfSha256;
use ::hpke::rand_core::CryptoRng;
use ::hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use ::hpke::{single_shot_open_inout_detached, single_shot_seal_inout_detached_with_rng};

/// Bytes of a public key.
pub(crate) const PUBLIC_BYTES: usize = 32;
const ENC_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// How much longer than its plaintext a sealed piece is.
pub(crate) const OVERHEAD: usize = 1 + ENC_BYTES + TAG_BYTES;

/// A key that opens what was sealed to its public half. Zeroised by the library when it is dropped.
pub(crate) struct PrivateKey(Box<<X25519HkdfSha256 as Kem>::PrivateKey>);

impl PrivateKey {
    /// RFC 9180, section 7.1.3, DeriveKeyPair.
    pub(crate) fn derive(secret: &Secret) -> Self {
        Self(Box::new(X25519HkdfSha256::derive_keypair(secret.expose()).0))
    }

    /// The public half.
    pub(crate) fn public(&self) -> [u8; PUBLIC_BYTES] {
        X25519HkdfSha256::sk_to_pk(&self.0).to_bytes().into()
    }

    /// Writes the plaintext to `out`, which must have its length: [`OVERHEAD`] less than `sealed`. After an error
    /// `out` holds nothing of the plaintext.
    pub(crate) fn open(
        &self,
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let opened = self.open_parsed(info, aad, sealed, out);
        if opened.is_none() {
            out.fill(0);
        }
        opened.ok_or(OpenError)
    }

    fn open_parsed(&self, info: &[u8], aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Option<()> {
        let rest = sealed.strip_prefix(&[FORMAT])?;
        let (enc, rest) = rest.split_at_checked(ENC_BYTES)?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        single_shot_open_inout_detached::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.0,
            &<X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).ok()?,
            info,
            InOutBuf::new(ciphertext, out).ok()?,
            aad,
            &AeadTag::from_bytes(tag).ok()?,
        )
        .ok()
    }
}

/// Seals to `public`, which must be one that [`is_public_key`] accepts.
pub(crate) fn seal(public: &[u8; PUBLIC_BYTES], info: &[u8], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    seal_with(&mut System, public, info, aad, plaintext)
}

fn seal_with(
    random: &mut impl CryptoRng,
    public: &[u8; PUBLIC_BYTES],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let public =
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).expect("any 32 bytes can be parsed");
    let mut sealed = vec![0; plaintext.len() + OVERHEAD];
    let (head, rest) = sealed.split_at_mut(1 + ENC_BYTES);
    let (buffer, tag) = rest.split_at_mut(plaintext.len());
    // Encrypted from one buffer into the other, so that no copy of the plaintext is left behind.
    let in_out = InOutBuf::new(plaintext, buffer).expect("both have one length");
    let (enc, computed) =
        single_shot_seal_inout_detached_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &public,
            info,
            in_out,
            aad,
            random,
        )
        .expect("public keys of small order are refused where they are parsed");
    head[0] = FORMAT;
    enc.write_exact(&mut head[1..]);
    computed.write_exact(tag);
    sealed
}

/// Whether there is a private key for `bytes`. There is none for the points of small order, with which every private
/// key agrees on the same known secret: RFC 7748, section 6.1.
pub(crate) fn is_public_key(bytes: &[u8; PUBLIC_BYTES]) -> bool {
    // The highest bit is not part of the number: RFC 7748, section 5.
    let mut number = *bytes;
    number[PUBLIC_BYTES - 1] &= 0x7f;
    !SMALL_ORDER.contains(&number)
}

/// All encodings of points of small order on the curve and on its twist, https://cr.yp.to/ecdh.html#validate.
const SMALL_ORDER: [[u8; PUBLIC_BYTES]; 7] = {
    const P: [u8; PUBLIC_BYTES] = {
        let mut prime = [0xff; PUBLIC_BYTES];
        prime[0] = 0xed;
        prime[PUBLIC_BYTES - 1] = 0x7f;
        prime
    };
    const fn low_byte(mut number: [u8; PUBLIC_BYTES], byte: u8) -> [u8; PUBLIC_BYTES] {
        number[0] = byte;
        number
    }
    [
        [0; PUBLIC_BYTES],
        low_byte([0; PUBLIC_BYTES], 1),
        // The two of order 8.
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
        low_byte(P, 0xec),
        P,
        low_byte(P, 0xee),
    ]
};

#[cfg(test)]
mod tests;
