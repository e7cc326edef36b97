//! Key providers: AWS KMS, a secret of AWS Secrets Manager, a key file; and the ring that holds one of them per registry slot.
//! The only place that names the AWS SDK. Knows keys to be wrapped for the length of a call, never what they open.

mod aws_access;
mod aws_fault;
mod aws_kms;
mod key_ring;
mod local;
mod secrets_manager;
mod slot;

pub use crate::domain::WrappedKey;
pub use aws_access::{AwsOptions, Patience};
pub use key_ring::{KeyRing, SlotFacts};

use crate::ports::KmsFault;

/// What a provider answers before it is known whose slot it was: the fault, and its own words for the operator.
struct Refusal {
    fault: KmsFault,
    said: Option<String>,
}

impl Refusal {
    fn misconfigured(cure: impl Into<String>) -> Self {
        KmsFault::Misconfigured(cure.into()).into()
    }

    fn with_words(mut self, said: impl Into<String>) -> Self {
        self.said = Some(said.into());
        self
    }
}

impl From<KmsFault> for Refusal {
    fn from(fault: KmsFault) -> Self {
        Self { fault, said: None }
    }
}

/// A provider that does not answer is asked again after so long.
const UNREACHABLE: KmsFault = KmsFault::Unreachable {
    retry_after_seconds: 5,
};

/// AWS's quotas are per second, and others of the same account wait as well.
const THROTTLED: KmsFault = KmsFault::Throttled {
    retry_after_seconds: 2,
};
