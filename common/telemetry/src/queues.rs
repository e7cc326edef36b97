//! The bounded queues: how much is in them, how often they were full.

use crate::label::label;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

label! {
    /// A queue.
    Queue {
        /// Tasks of requests on a coordinator.
        Compute = "compute",
        /// Tasks of trainings on a coordinator.
        Training = "training",
        /// Jobs of a shard.
        Scan = "scan",
        /// Calls of a coordinator that wait until a partition has a leader.
        Election = "election",
    }
}

/// Observes queues.
pub struct Queues {
    depth: Family<Labels, Gauge>,
    refusals: Family<Labels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    queue: Queue,
}

impl Queues {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let queues = Self {
            depth: Family::default(),
            refusals: Family::default(),
        };
        registry.register(
            "queue_depth",
            "What is in a bounded queue, running or waiting",
            queues.depth.clone(),
        );
        registry.register(
            "queue_refusals",
            "What a bounded queue had no room for",
            queues.refusals.clone(),
        );
        queues
    }

    /// One more is in the queue, until what is returned is dropped.
    pub fn enter(&self, queue: Queue) -> Queued {
        let depth = self.depth.get_or_create_owned(&Labels { queue });
        depth.inc();
        Queued(depth)
    }

    /// There was no room for one.
    pub fn refused(&self, queue: Queue) {
        self.refusals.get_or_create(&Labels { queue }).inc();
    }
}

/// Something in a queue.
pub struct Queued(Gauge);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.dec();
    }
}
