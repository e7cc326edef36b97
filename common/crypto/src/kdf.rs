//! Keys from keys: HKDF-SHA256 (RFC 5869).

use crate::encoding::encode;
use crate::labels;
use crate::secret::Secret;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

/// A secret that further keys are derived from. Holds the extracted pseudorandom key as a keyed hash state, so that
/// one more key costs a single HKDF-Expand.
pub(crate) struct Kdf(Hkdf<Sha256>);

impl Kdf {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self::of_text(secret.expose())
    }

    /// From a secret of any length. The keys are as hard to guess as it is.
    pub(crate) fn of_text(secret: &[u8]) -> Self {
        let (mut pseudorandom_key, hkdf) = Hkdf::extract(Some(labels::SALT), secret);
        pseudorandom_key.as_mut_slice().zeroize();
        Self(hkdf)
    }

    /// The key for the purpose `label` in the context `fields`. Distinct arguments give independent keys.
    pub(crate) fn derive(&self, label: &[u8], fields: &[&[u8]]) -> Secret {
        let info = encode(label, fields);
        Secret::fill_with(|out| {
            self.0
                .expand(&info, out)
                .expect("32 bytes are far below HKDF's limit")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Kdf {
        Kdf::new(&Secret::fill_with(|out| out.fill(byte)))
    }

    /// From Python's `hmac` and `hashlib`, by the text of RFC 5869.
    #[test]
    fn agrees_with_another_implementation() {
        let derived = key(7).derive(b"label", &[b"one", b""]);
        assert_eq!(derived.expose(), &EXPECTED);
    }

    const EXPECTED: [u8; 32] = [
        0x64, 0xbf, 0x79, 0xfe, 0x5c, 0x9e, 0xa0, 0xe6, 0xe8, 0xb2, 0x63, 0x28, 0x8a, 0x35, 0x90, 0xae, 0xb9,
        0x30, 0x11, 0x08, 0xb2, 0xc2, 0xf0, 0x74, 0xcd, 0x66, 0x2e, 0xd4, 0xba, 0x76, 0x8e, 0x4b,
    ];

    #[test]
    fn every_argument_counts() {
        let one = key(7).derive(b"label", &[b"field"]);
        for other in [
            key(8).derive(b"label", &[b"field"]),
            key(7).derive(b"other", &[b"field"]),
            key(7).derive(b"label", &[b"other"]),
            key(7).derive(b"label", &[]),
        ] {
            assert_ne!(one.expose(), other.expose());
        }
    }
}
