//! What coordinators ask of shard nodes a second time, beside a first time that has no answer yet.

use crate::label::label;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

label! {
    /// Why a second node was asked.
    Reason {
        /// The first one took longer than usual.
        Slow = "slow",
        /// Another one leads the partition by now.
        Leader = "leader",
        /// The first one is away.
        Away = "away",
    }
}

/// Observes calls that were asked of two nodes.
pub struct Fanout {
    asked_again: Family<Labels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    reason: Reason,
}

impl Fanout {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let fanout = Self {
            asked_again: Family::default(),
        };
        registry.register(
            "calls_asked_again",
            "Calls to shard nodes that were asked of a second node while a first one was silent",
            fanout.asked_again.clone(),
        );
        fanout
    }

    /// A second node is asked.
    pub fn asked_again(&self, reason: Reason) {
        self.asked_again.get_or_create(&Labels { reason }).inc();
    }
}
