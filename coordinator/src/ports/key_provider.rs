//! Whoever wraps index keys for the service: a KMS, a secret that a secrets manager keeps, a key file. Knows what can go wrong
//! with a key and how it is put right; knows no SDK, no file and no registry.

use async_trait::async_trait;
use sealdex_core::{ErrorCode, IndexId};
use sealdex_crypto::IndexKey;
use std::time::Duration;

/// One key that wraps index keys. An implementation answers in bounded time and repeats a call a bounded number of times.
#[async_trait]
pub trait KeyProvider: Send + Sync {
    /// Wraps `key` for storage, bound to `context`.
    async fn wrap(&self, key: &IndexKey, context: &KeyContext<'_>) -> Result<Vec<u8>, KmsError>;

    /// Unwraps what [`wrap`](KeyProvider::wrap) made with the same key and the same context.
    async fn unwrap(&self, wrapped: &[u8], context: &KeyContext<'_>) -> Result<IndexKey, KmsError>;
}

/// What a wrapped key belongs to. It is authenticated by every provider: a wrapped key that was moved to another deployment,
/// index or slot does not unwrap there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyContext<'a> {
    /// The deployment's random id.
    pub deployment: [u8; 16],
    /// The index whose key it is.
    pub index: IndexId,
    /// The registry slot that wrapped it.
    pub slot: &'a str,
}

impl KeyContext<'_> {
    /// As AWS KMS takes it, and as an auditor sees it in CloudTrail.
    pub fn pairs(&self) -> [(&'static str, String); 3] {
        let deployment = format!("{:032x}", u128::from_be_bytes(self.deployment));
        [
            ("sealdex:deployment", deployment),
            ("sealdex:index", format!("{:016x}", self.index.0)),
            ("sealdex:slot", self.slot.to_owned()),
        ]
    }

    /// As additional authenticated data. No two contexts have the same: all but the last part have a fixed length.
    pub fn to_bytes(&self) -> Vec<u8> {
        [
            CONTEXT_V1,
            &self.deployment,
            &self.index.0.to_be_bytes(),
            self.slot.as_bytes(),
        ]
        .concat()
    }
}

/// A key that cannot be used. The text goes to the caller: it names the slot and the cure, and holds neither key nor ARN.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("slot '{slot}' {fault}")]
pub struct KmsError {
    slot: String,
    fault: KmsFault,
    context: Option<String>,
}

/// The few things that can be wrong with a key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KmsFault {
    /// The registry has no such slot.
    #[error("is not in the registry; add it to kms.registry and reload")]
    NoSuchSlot,
    /// The slot names a key, secret or file that is not there.
    #[error("names a key that does not exist; create it, or correct the slot in kms.registry and reload")]
    KeyNotFound,
    /// The provider refuses our credentials, or refuses them this key.
    #[error("is denied access to its key; let the server's identity, or the slot's role, use the key")]
    AccessDenied,
    /// The ciphertext is of another key or another context.
    #[error(
        "has a key that does not open this index; put back the key that the index was made or last rotated with"
    )]
    WrongKey,
    /// The key is there and may not be used at present.
    #[error("has a key that is disabled or pending deletion; enable the key or cancel its deletion")]
    Disabled,
    /// The slot cannot work as it is written. Holds what to change.
    #[error("cannot be used as it is configured: {0}")]
    Misconfigured(String),
    /// The provider asks us to slow down.
    #[error("is throttled by its key provider; send the request again in {retry_after_seconds} s")]
    Throttled {
        /// When to come back.
        retry_after_seconds: u32,
    },
    /// The provider does not answer, or not sensibly.
    #[error(
        "cannot reach its key provider; send the request again in {retry_after_seconds} s, and check the provider if it lasts"
    )]
    Unreachable {
        /// When to come back.
        retry_after_seconds: u32,
    },
}

impl KmsError {
    /// For how long the provider need not be asked again; not at all for faults that are found without asking it.
    pub fn lasts(&self) -> Duration {
        match self.fault {
            KmsFault::NoSuchSlot | KmsFault::Misconfigured(_) => Duration::ZERO,
            KmsFault::KeyNotFound
            | KmsFault::AccessDenied
            | KmsFault::WrongKey
            | KmsFault::Disabled
            | KmsFault::Throttled { .. }
            | KmsFault::Unreachable { .. } => Duration::from_secs(1),
        }
    }

    /// What is wrong with `slot`.
    pub fn new(slot: impl Into<String>, fault: KmsFault) -> Self {
        Self {
            slot: slot.into(),
            fault,
            context: None,
        }
    }

    /// With a note for the operator, such as the provider's own words.
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// The slot.
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// What is wrong.
    pub fn fault(&self) -> &KmsFault {
        &self.fault
    }

    /// The note for the operator: for the log, never for a caller.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// What it means to a client: the state of a key is somebody's decision, silence is not.
    pub fn code(&self) -> ErrorCode {
        match self.fault {
            KmsFault::NoSuchSlot
            | KmsFault::KeyNotFound
            | KmsFault::AccessDenied
            | KmsFault::WrongKey
            | KmsFault::Disabled
            | KmsFault::Misconfigured(_) => ErrorCode::Upstream,
            KmsFault::Throttled { retry_after_seconds } | KmsFault::Unreachable { retry_after_seconds } => {
                ErrorCode::Unavailable { retry_after_seconds }
            }
        }
    }
}

/// What the authenticated form of a context begins with. Stored keys depend on it: a change is a new version beside it.
const CONTEXT_V1: &[u8] = b"sealdex/key-context/1";

#[cfg(test)]
mod tests {
    use super::*;

    fn context(slot: &str) -> KeyContext<'_> {
        let deployment = std::array::from_fn(|i| i as u8);
        KeyContext {
            deployment,
            index: IndexId(0x0a0b),
            slot,
        }
    }

    #[test]
    fn contexts_are_written_as_ever() {
        assert_eq!(
            context("prod").pairs(),
            [
                (
                    "sealdex:deployment",
                    "000102030405060708090a0b0c0d0e0f".to_owned()
                ),
                ("sealdex:index", "0000000000000a0b".to_owned()),
                ("sealdex:slot", "prod".to_owned()),
            ]
        );
        let mut expected = b"sealdex/key-context/1".to_vec();
        expected.extend(0..16);
        expected.extend([0, 0, 0, 0, 0, 0, 0x0a, 0x0b]);
        expected.extend(b"prod");
        assert_eq!(context("prod").to_bytes(), expected);
    }

    #[test]
    fn each_fault_has_one_meaning() {
        let code = |fault| KmsError::new("prod", fault).code();
        for fault in [
            KmsFault::NoSuchSlot,
            KmsFault::KeyNotFound,
            KmsFault::AccessDenied,
            KmsFault::WrongKey,
            KmsFault::Disabled,
            KmsFault::Misconfigured("set region".into()),
        ] {
            assert_eq!(code(fault), ErrorCode::Upstream);
        }
        let retry_after_seconds = 3;
        for fault in [
            KmsFault::Throttled { retry_after_seconds },
            KmsFault::Unreachable { retry_after_seconds },
        ] {
            assert_eq!(code(fault), ErrorCode::Unavailable { retry_after_seconds });
        }
    }

    #[test]
    fn a_caller_learns_the_slot_and_the_cure_alone() {
        let error = KmsError::new("prod", KmsFault::NoSuchSlot).with_context("arn:aws:kms:…");
        assert_eq!(
            error.to_string(),
            "slot 'prod' is not in the registry; add it to kms.registry and reload"
        );
        assert_eq!(error.context(), Some("arn:aws:kms:…"));
    }
}
