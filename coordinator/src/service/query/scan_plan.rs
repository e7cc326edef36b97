//! Which clusters each partition is asked to scan for a query. Pure computing.

use super::breadth::Breadth;
use crate::service::Query;
use crate::service::session::LoadedModel;
use sealdex_core::{PartitionId, Placement};
use sealdex_index::dataplane::{ClusterProbe, ScanQuery};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Which clusters each partition is asked to scan, and for which queries.
pub(super) struct ScanPlan {
    pub(super) queries: Arc<[ScanQuery]>,
    pub(super) probes: BTreeMap<PartitionId, Vec<ClusterProbe>>,
}

impl ScanPlan {
    pub(super) fn new(
        query: &Query,
        model: &LoadedModel,
        placement: &Placement,
        open: &[u32],
        breadth: Breadth,
    ) -> Self {
        use rayon::prelude::*;
        let dimension = query.vectors.dimension().get();
        let routed: Vec<_> = open
            .par_iter()
            .map(|&position| {
                let original = &query.vectors.values()[position as usize * dimension..][..dimension];
                let mut prepared = vec![0.0; dimension];
                model.model.quantiser.prepare(original, &mut prepared);
                let scorer = model.model.quantiser.scorer(&prepared);
                let scan = ScanQuery {
                    scorer,
                    filter: query.filter.clone(),
                    // One more tells whether those left out begin with a tie.
                    keep: breadth.candidates.saturating_add(1),
                };
                (scan, model.model.route(&prepared, breadth.probes))
            })
            .collect();
        // Clusters in the order in which the first query that asks for them comes to them: near ones first, so that
        // a scan has a tight threshold early.
        let mut order: Vec<ClusterProbe> = Vec::new();
        let mut places: HashMap<u32, usize> = HashMap::new();
        let mut queries = Vec::with_capacity(routed.len());
        for (position, (scan, probes)) in routed.into_iter().enumerate() {
            queries.push(scan);
            for probe in probes {
                let place = *places.entry(probe.cluster.0).or_insert_with(|| {
                    order.push(ClusterProbe {
                        cluster: model.label(probe.cluster),
                        asked_by: Vec::new(),
                    });
                    order.len() - 1
                });
                order[place].asked_by.push((position as u32, probe.base));
            }
        }
        let mut probes: BTreeMap<PartitionId, Vec<ClusterProbe>> = BTreeMap::new();
        for probe in order {
            probes
                .entry(placement.of_cluster(&probe.cluster))
                .or_default()
                .push(probe);
        }
        Self {
            queries: queries.into(),
            probes,
        }
    }
}
