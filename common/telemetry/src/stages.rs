//! What the time of a request goes into on a coordinator.

use crate::label::label;
use crate::metrics::latency;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

label! {
    /// A stage of a use case.
    Stage {
        /// The index is found and its keys are opened.
        OpenIndex = "open_index",
        /// What waits in the inbox is read.
        Inbox = "inbox",
        /// The model of a generation is found or loaded.
        Model = "model",
        /// Every partition's items are counted, as of when the request arrived.
        Count = "count",
        /// Clusters are scanned.
        Scan = "scan",
        /// Candidates are asked for at their homes.
        Resolve = "resolve",
        /// What is answered is opened.
        Answer = "answer",
        /// What is written is coded and sealed.
        Seal = "seal",
        /// Rows are appended.
        Append = "append",
        /// Items are committed.
        Commit = "commit",
    }
}

/// Observes stages; see [`stage`](crate::stage).
pub struct Stages {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    stage: Stage,
}

impl Stages {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let duration: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(latency);
        registry.register_with_unit(
            "stage_duration",
            "Stages of requests on the coordinator; one request may go through a stage more than once",
            Unit::Seconds,
            duration.clone(),
        );
        Self { duration }
    }

    pub(crate) fn observe(&self, stage: Stage, took: Duration) {
        let duration = self.duration.get_or_create(&Labels { stage });
        duration.observe(took.as_secs_f64());
    }
}
