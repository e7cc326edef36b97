//! Certificates that nodes show to each other.

use crate::label::label;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::time::SystemTime;

label! {
    /// Whose certificate.
    Certificate {
        /// This node's own.
        Node = "node",
        /// That of the authority which signed it.
        Authority = "authority",
    }
}

/// Observes certificates.
pub struct Certificates {
    ends: Family<OfCertificate, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfCertificate {
    certificate: Certificate,
}

impl Certificates {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let certificates = Self {
            ends: Family::default(),
        };
        registry.register_with_unit(
            "certificate_expiration_timestamp",
            "When a certificate that is in force expires, in Unix time",
            Unit::Seconds,
            certificates.ends.clone(),
        );
        certificates
    }

    /// The certificate that is in force is good until then.
    pub fn ends(&self, certificate: Certificate, not_after: SystemTime) {
        let since = not_after
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        self.ends
            .get_or_create(&OfCertificate { certificate })
            .set(seconds);
    }
}
