//! What is stored of an index's keys: all of it sealed, or public.

use super::Provider;
use sealdex_core::KeyEpoch;

/// Enough to tell the right index key from a wrong one, where that key comes from, and the sealed bundle. Made and
/// replaced in one command, so that an index never has half of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyEnvelope {
    /// Epoch of the bundle.
    pub epoch: KeyEpoch,
    /// See `sealdex_crypto::Commitment`.
    pub commitment: [u8; 32],
    /// The bundle, sealed under the index key.
    pub bundle: Vec<u8>,
    /// Public halves of what is in the bundle. Whoever opens the bundle can tell whether they were exchanged.
    pub public: PublicKeys,
    /// Where the index key comes from.
    pub source: KeySource,
}

/// The public keys of an index, as `sealdex_crypto::IndexPublicKeys` holds them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublicKeys {
    /// Verifies grants.
    pub admin: [u8; 32],
    /// Verifies batches of writes.
    pub write: [u8; 32],
    /// What write-only users seal to.
    pub inbox: [u8; 32],
}

/// Where an index key comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Sent with each request, and never stored.
    Client,
    /// Unwrapped by a key provider.
    Kms(WrappedKey),
}

/// An index key as a provider wrapped it, and which one did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrappedKey {
    /// The slot of the key registry.
    pub slot: String,
    /// Who wrapped it.
    pub provider: Provider,
    /// The provider's key, as of the wrapping; empty for a provider that has but one.
    pub key_id: String,
    /// Where the provider keeps it; empty for a provider that knows no regions.
    pub region: String,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// Format of `wrapped`.
    pub version: u32,
    /// When it was wrapped.
    pub created_unix_seconds: u64,
}
