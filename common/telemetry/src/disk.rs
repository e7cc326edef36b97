//! The disks that data is on.

use crate::label::label;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

label! {
    /// Whose data.
    Store {
        /// The coordinator's catalogue.
        Catalog = "catalog",
        /// A shard's partitions.
        Shard = "shard",
    }
}

label! {
    /// How far a write may go into what is kept free.
    Urgency {
        /// Not at all: it begins something.
        Grow = "grow",
        /// Some way: it ends what was begun.
        Finish = "finish",
        /// Further: it takes something away.
        Relieve = "relieve",
    }
}

/// Observes disks.
pub struct Disk {
    free: Family<OfStore, Gauge>,
    needed: Family<OfStore, Gauge>,
    refusals: Family<OfUrgency, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfStore {
    store: Store,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfUrgency {
    urgency: Urgency,
}

impl Disk {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let disk = Self {
            free: Family::default(),
            needed: Family::default(),
            refusals: Family::default(),
        };
        registry.register_with_unit(
            "disk_free",
            "Free space on the disk of a store",
            Unit::Bytes,
            disk.free.clone(),
        );
        registry.register_with_unit(
            "disk_needed",
            "Free space below which a store refuses writes that begin something",
            Unit::Bytes,
            disk.needed.clone(),
        );
        registry.register(
            "disk_refusals",
            "Writes that were refused because the disk is too full for them",
            disk.refusals.clone(),
        );
        disk
    }

    /// Bytes that are free, and bytes below which the smallest write that begins something is refused.
    pub fn set(&self, store: Store, free_bytes: u64, needed_bytes: u64) {
        let labels = OfStore { store };
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.free.get_or_create(&labels).set(bytes(free_bytes));
        self.needed.get_or_create(&labels).set(bytes(needed_bytes));
    }

    /// A write was refused.
    pub fn refused(&self, urgency: Urgency) {
        self.refusals.get_or_create(&OfUrgency { urgency }).inc();
    }
}
