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
    /// The other epoch that records may be of: the next one before the switch to it, the one before after it.
    pub other: Option<EpochKeys>,
}

/// The keys of one more epoch, under the same index key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EpochKeys {
    /// Which epoch.
    pub epoch: KeyEpoch,
    /// Its bundle, sealed under the index key.
    pub bundle: Vec<u8>,
    /// Its public keys.
    pub public: PublicKeys,
}

/// Which key epochs an index is in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Epochs {
    /// What is written is sealed under this one.
    pub sealing: KeyEpoch,
    /// Records of this one are read too.
    pub other: Option<KeyEpoch>,
}

/// Where an index is on its way from one key epoch to the next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EpochStage {
    /// All its records are of one epoch.
    Settled,
    /// The next epoch can be read, and nothing is sealed under it yet.
    Announced,
    /// Everything is sealed under the new epoch, and records of the one before are left.
    Resealing,
}

impl KeyEnvelope {
    /// Which epochs records may be of.
    pub fn epochs(&self) -> Epochs {
        Epochs {
            sealing: self.epoch,
            other: self.other.as_ref().map(|other| other.epoch),
        }
    }

    /// Whether `other` seals and signs under the same keys.
    pub(super) fn has_bundles_of(&self, other: &KeyEnvelope) -> bool {
        let bundles = |key: &KeyEnvelope| {
            let beside = key.other.as_ref().map(|other| (other.epoch, other.public));
            (key.epoch, key.public, beside)
        };
        bundles(self) == bundles(other)
    }
}

impl Epochs {
    /// How far the index is.
    pub fn stage(self) -> EpochStage {
        match self.other {
            None => EpochStage::Settled,
            Some(other) if other > self.sealing => EpochStage::Announced,
            Some(_) => EpochStage::Resealing,
        }
    }

    /// Whether an index was here before it was at `later`.
    pub fn precedes(self, later: Epochs) -> bool {
        let place = |epochs: Epochs| {
            let newest = epochs
                .other
                .map_or(epochs.sealing, |other| other.max(epochs.sealing));
            (newest, epochs.sealing, epochs.other.is_none())
        };
        place(self) < place(later)
    }
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
