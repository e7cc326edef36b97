//! Syncs of logs: what every write waits for.

use crate::metrics::{latency, numbers};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

/// Observes logs.
pub struct Log {
    sync: Histogram,
    entries: Histogram,
}

impl Log {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let log = Self {
            sync: latency(),
            entries: numbers(),
        };
        registry.register_with_unit(
            "log_sync_duration",
            "Writes to a log until they are durable",
            Unit::Seconds,
            log.sync.clone(),
        );
        registry.register(
            "log_sync_entries",
            "Entries that one sync of a log made durable",
            log.entries.clone(),
        );
        log
    }

    /// So many entries became durable together.
    pub fn synced(&self, entries: usize, took: Duration) {
        self.entries.observe(entries as f64);
        self.sync.observe(took.as_secs_f64());
    }
}
