//! How well codes and models serve queries, as the queries themselves find out.

use crate::metrics::numbers;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Observes queries.
pub struct Recall {
    queries: Counter,
    misled: Counter,
    probes: Histogram,
}

impl Recall {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let recall = Self {
            queries: Counter::default(),
            misled: Counter::default(),
            probes: numbers(),
        };
        registry.register(
            "queries",
            "Query vectors that were looked for",
            recall.queries.clone(),
        );
        registry.register(
            "queries_misled",
            "Query vectors whose candidates' estimates disagreed with their true distances; one in ten means that an index learns again",
            recall.misled.clone(),
        );
        registry.register(
            "query_probes",
            "Clusters that a query vector looked into until it had enough",
            recall.probes.clone(),
        );
        recall
    }

    /// So many query vectors have their first candidates, of which so many were misled.
    pub fn queries(&self, queries: usize, misled: usize) {
        self.queries.inc_by(queries as u64);
        self.misled.inc_by(misled as u64);
    }

    /// So many query vectors are done after so many probes each.
    pub fn probed(&self, queries: usize, probes: usize) {
        for _ in 0..queries {
            self.probes.observe(probes as f64);
        }
    }
}
