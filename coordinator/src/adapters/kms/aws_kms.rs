//! Provider `aws-kms`: the index key is encrypted by a KMS key that never leaves AWS. The context travels as the encryption
//! context, so that a key policy can demand it and CloudTrail shows it.

use super::aws_access::Clients;
use super::aws_fault::refusal;
use super::{Refusal, UNREACHABLE};
use crate::ports::{KeyContext, KmsFault};
use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use sealdex_crypto::IndexKey;
use std::collections::HashMap;
use zeroize::Zeroizing;

/// One KMS key.
pub(super) struct AwsKms<'a> {
    client: &'a Client,
    key_id: &'a str,
}

impl<'a> AwsKms<'a> {
    pub(super) fn new(clients: &'a Clients, key_id: &'a str) -> Self {
        Self {
            client: &clients.kms,
            key_id,
        }
    }

    pub(super) async fn wrap(&self, key: &IndexKey, context: &KeyContext<'_>) -> Result<Vec<u8>, Refusal> {
        let call = self
            .client
            .encrypt()
            .key_id(self.key_id)
            .plaintext(Blob::new(key.expose_for_wrapping().as_slice()))
            .set_encryption_context(Some(encryption_context(context)));
        let answer = call.send().await.map_err(refusal)?;
        let wrapped = answer.ciphertext_blob.map(Blob::into_inner);
        wrapped
            .ok_or_else(|| Refusal::from(UNREACHABLE).with_words("KMS answered Encrypt without a ciphertext"))
    }

    pub(super) async fn unwrap(&self, wrapped: &[u8], context: &KeyContext<'_>) -> Result<IndexKey, Refusal> {
        let call = self
            .client
            .decrypt()
            .key_id(self.key_id)
            .ciphertext_blob(Blob::new(wrapped))
            .set_encryption_context(Some(encryption_context(context)));
        let answer = call.send().await.map_err(refusal)?;
        let plaintext = answer
            .plaintext
            .map(|plaintext| Zeroizing::new(plaintext.into_inner()));
        let plaintext = plaintext.ok_or_else(|| {
            Refusal::from(UNREACHABLE).with_words("KMS answered Decrypt without a plaintext")
        })?;
        IndexKey::from_slice(&plaintext)
            .map_err(|error| Refusal::from(KmsFault::WrongKey).with_words(error.to_string()))
    }
}

fn encryption_context(context: &KeyContext<'_>) -> HashMap<String, String> {
    let pairs = context.pairs();
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
