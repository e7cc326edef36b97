//! Key leases of a shard.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Observes leases.
pub struct Leases {
    held: Gauge,
    granted: Counter,
    required: Counter,
    expired: Counter,
    revoked: Counter,
}

impl Leases {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let leases = Self {
            held: Gauge::default(),
            granted: Counter::default(),
            required: Counter::default(),
            expired: Counter::default(),
            revoked: Counter::default(),
        };
        registry.register("leases", "Key leases that are held", leases.held.clone());
        registry.register(
            "leases_granted",
            "Key leases granted or renewed with other keys",
            leases.granted.clone(),
        );
        registry.register(
            "leases_required",
            "Calls refused because there was no live lease for them",
            leases.required.clone(),
        );
        registry.register(
            "leases_expired",
            "Key leases whose time was up",
            leases.expired.clone(),
        );
        registry.register(
            "leases_revoked",
            "Key leases that ended with their index or its key epoch",
            leases.revoked.clone(),
        );
        leases
    }

    /// So many are held.
    pub fn hold(&self, leases: usize) {
        self.held.set(leases as i64);
    }

    /// One was granted.
    pub fn granted(&self) {
        self.granted.inc();
    }

    /// A call had none.
    pub fn required(&self) {
        self.required.inc();
    }

    /// So many ended for want of use.
    pub fn expired(&self, leases: usize) {
        self.expired.inc_by(leases as u64);
    }

    /// So many were ended.
    pub fn revoked(&self, leases: usize) {
        self.revoked.inc_by(leases as u64);
    }
}
