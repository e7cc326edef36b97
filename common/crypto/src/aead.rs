//! AES-256-GCM (NIST SP 800-38D): the only place that calls a cipher. Knows nothing of what is sealed or why, and
//! leaves it to its callers that no nonce is used twice.

use crate::error::OpenError;
use crate::secret::Secret;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of an authentication tag.
pub(crate) const TAG_BYTES: usize = 16;

/// A key of AES-256-GCM. Its expanded form is zeroised when it is dropped: by AWS-LC, which clears every allocation
/// it frees, and by RustCrypto through its `zeroize` feature.
pub(crate) struct AeadKey(Cipher);

/// Two libraries, the same function. Which one a key uses is a matter of speed and not of the format.
enum Cipher {
    AwsLc(LessSafeKey),
    RustCrypto(Box<Aes256Gcm>),
}

impl AeadKey {
    /// For records: AWS-LC, nearly twice as fast (`benches/aead.rs`, with AVX2), and more so with AVX-512.
    pub(crate) fn for_records(key: &Secret) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).expect("a secret has the length of the key");
        Self(Cipher::AwsLc(LessSafeKey::new(key)))
    }

    /// For envelopes, which hold keys: RustCrypto, all Rust.
    pub(crate) fn for_envelopes(key: &Secret) -> Self {
        Self(Cipher::RustCrypto(Box::new(Aes256Gcm::new(key.expose().into()))))
    }

    /// Turns `buffer` from plaintext to ciphertext and returns the tag.
    pub(crate) fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_BYTES] {
        const WHY: &str = "plaintexts are far below the 64 GiB that AES-GCM allows";
        match &self.0 {
            Cipher::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), buffer)
                    .expect(WHY);
                tag.as_ref().try_into().expect("the tag of AES-GCM has 16 bytes")
            }
            Cipher::RustCrypto(key) => key
                .encrypt_inout_detached(nonce.into(), aad, buffer.into())
                .expect(WHY)
                .into(),
        }
    }

    /// Writes the plaintext of `ciphertext` to `out`, which has the same length. After an error `out` holds nothing
    /// of the plaintext.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let opened = match &self.0 {
            Cipher::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                key.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out)
                    .is_ok()
            }
            Cipher::RustCrypto(key) => InOutBuf::new(ciphertext, out).is_ok_and(|buffer| {
                key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into())
                    .is_ok()
            }),
        };
        if opened {
            Ok(())
        } else {
            out.fill(0);
            Err(OpenError)
        }
    }
}

#[cfg(test)]
mod tests;
