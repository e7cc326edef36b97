//! Calls to key providers.

use crate::label::label;
use crate::metrics::latency;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

label! {
    /// Who wraps.
    KmsProvider {
        /// AWS KMS.
        AwsKms = "aws-kms",
        /// A secret of AWS Secrets Manager.
        AwsSecretsManager = "aws-secrets-manager",
        /// A key file.
        Local = "local",
    }
}

label! {
    /// What is asked for.
    KmsOperation {
        /// An index key is wrapped.
        Wrap = "wrap",
        /// An index key is unwrapped.
        Unwrap = "unwrap",
    }
}

label! {
    /// How it ended.
    KmsOutcome {
        /// As asked.
        Done = "done",
        /// Refused: the state of the key or of our rights is somebody's decision.
        Refused = "refused",
        /// The provider asks to slow down.
        Throttled = "throttled",
        /// No answer, or none in time.
        Unreachable = "unreachable",
    }
}

/// Observes calls to key providers.
pub struct Kms {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    provider: KmsProvider,
    operation: KmsOperation,
    outcome: KmsOutcome,
}

impl Kms {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let duration: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(latency);
        registry.register_with_unit(
            "kms_call_duration",
            "Calls to key providers, with their repetitions and the time in which they waited their turn",
            Unit::Seconds,
            duration.clone(),
        );
        Self { duration }
    }

    /// A call has ended.
    pub fn observe(
        &self,
        provider: KmsProvider,
        operation: KmsOperation,
        outcome: KmsOutcome,
        took: Duration,
    ) {
        let duration = self.duration.get_or_create(&Labels {
            provider,
            operation,
            outcome,
        });
        duration.observe(took.as_secs_f64());
    }
}
