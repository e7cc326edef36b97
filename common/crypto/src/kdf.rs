//! Keys from keys: HKDF-SHA256 (RFC 5869), with one injective encoding of what a key is for.

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
        let (mut pseudorandom_key, hkdf) = Hkdf::extract(Some(labels::SALT), secret.expose());
        pseudorandom_key.as_mut_slice().zeroize();
        Self(hkdf)
    }

    /// The key for the purpose `label` in the context `fields`. Distinct arguments give independent keys.
    pub(crate) fn derive(&self, label: &[u8], fields: &[&[u8]]) -> Secret {
        let info = info(label, fields);
        Secret::fill_with(|out| {
            self.0
                .expand(&info, out)
                .expect("32 bytes are far below HKDF's limit")
        })
    }
}

/// Each part behind its length in four bytes: no two lists of parts have the same encoding.
fn info(label: &[u8], fields: &[&[u8]]) -> Vec<u8> {
    let mut info = Vec::with_capacity(64);
    for part in [label].iter().chain(fields) {
        let length = u32::try_from(part.len()).expect("labels and fields are short");
        info.extend_from_slice(&length.to_be_bytes());
        info.extend_from_slice(part);
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Few distinct bytes and short parts, so that joined parts collide if lengths are not encoded.
        prop::collection::vec(prop::collection::vec(0u8..2, 0..3), 1..4)
    }

    proptest! {
        #[test]
        fn infos_are_equal_only_if_their_parts_are(a in parts(), b in parts()) {
            let encode = |parts: &[Vec<u8>]| {
                let fields: Vec<&[u8]> = parts[1..].iter().map(Vec::as_slice).collect();
                info(&parts[0], &fields)
            };
            prop_assert_eq!(encode(&a) == encode(&b), a == b);
        }
    }

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
