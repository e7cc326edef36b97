//! What shards are asked, and what it takes them.

use crate::label::label;
use crate::metrics::latency;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

label! {
    /// A call that a shard answers.
    Call {
        /// An entry is logged and applied.
        Propose = "propose",
        /// Rows of clusters are scored.
        Scan = "scan",
        /// Candidates become items with exact distances.
        Resolve = "resolve",
        /// Items are opened.
        Fetch = "fetch",
        /// Items are opened in the order of their labels.
        Walk = "walk",
        /// A piece of a model is read.
        Blob = "blob",
        /// The inbox is read.
        Inbox = "inbox",
        /// The rows of a cluster are opened.
        ClusterRows = "cluster_rows",
        /// Rows are asked whether they are current.
        Current = "current",
        /// Blocks are rewritten.
        Fold = "fold",
        /// Records are sealed under another key epoch.
        Reseal = "reseal",
    }
}

/// Observes calls; see [`call`](crate::call).
pub struct Shard {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    rows_scored: Counter,
    candidates: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    call: Call,
}

impl Shard {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let shard = Self {
            duration: Family::new_with_constructor(latency),
            rows_scored: Counter::default(),
            candidates: Counter::default(),
        };
        registry.register_with_unit(
            "shard_call_duration",
            "Calls that this process's shard answered, with their time in its queue",
            Unit::Seconds,
            shard.duration.clone(),
        );
        registry.register(
            "rows_scored",
            "Rows of clusters that scans compared with queries",
            shard.rows_scored.clone(),
        );
        registry.register(
            "candidates_resolved",
            "Candidates that were asked for at their homes",
            shard.candidates.clone(),
        );
        shard
    }

    /// A scan has scored so many rows.
    pub fn rows_scored(&self, rows: u64) {
        self.rows_scored.inc_by(rows);
    }

    /// A resolve was asked for so many candidates.
    pub fn candidates_resolved(&self, candidates: u64) {
        self.candidates.inc_by(candidates);
    }

    pub(crate) fn observe(&self, call: Call, took: Duration) {
        let duration = self.duration.get_or_create(&Labels { call });
        duration.observe(took.as_secs_f64());
    }
}
