//! Provider `aws`: AWS Secrets Manager keeps a secret of 32 bytes, and index keys are wrapped under it here. The secret is
//! fetched for each call, held for its length and zeroised; it is never made by us.

use super::Refusal;
use super::aws_access::Clients;
use super::aws_fault::refusal;
use crate::ports::{KeyContext, KmsFault};
use aws_sdk_secretsmanager::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealdex_crypto::{IndexKey, LocalWrapKey};
use zeroize::Zeroizing;

/// One secret.
pub(super) struct SecretsManager<'a> {
    client: &'a Client,
    secret_id: &'a str,
}

impl<'a> SecretsManager<'a> {
    pub(super) fn new(clients: &'a Clients, secret_id: &'a str) -> Self {
        Self {
            client: &clients.secrets,
            secret_id,
        }
    }

    pub(super) async fn wrap(&self, key: &IndexKey, context: &KeyContext<'_>) -> Result<Vec<u8>, Refusal> {
        Ok(self.secret().await?.wrap(key, &context.to_bytes()))
    }

    pub(super) async fn unwrap(&self, wrapped: &[u8], context: &KeyContext<'_>) -> Result<IndexKey, Refusal> {
        let secret = self.secret().await?;
        secret
            .unwrap(wrapped, &context.to_bytes())
            .map_err(|_| KmsFault::WrongKey.into())
    }

    async fn secret(&self) -> Result<LocalWrapKey, Refusal> {
        let call = self.client.get_secret_value().secret_id(self.secret_id);
        let answer = call.send().await.map_err(refusal)?;
        let bytes = match (answer.secret_binary, answer.secret_string.map(Zeroizing::new)) {
            (Some(binary), _) => Zeroizing::new(binary.into_inner()),
            (None, Some(text)) => Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| not_32_bytes())?),
            (None, None) => return Err(not_32_bytes()),
        };
        LocalWrapKey::from_bytes(&bytes).map_err(|_| not_32_bytes())
    }
}

fn not_32_bytes() -> Refusal {
    Refusal::misconfigured(
        "its secret is not 32 bytes; store 32 random bytes as SecretBinary, or as base64 in SecretString",
    )
}
