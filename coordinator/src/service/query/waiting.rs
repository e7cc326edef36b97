//! What waits in the inbox among the neighbours of a query: measured with the distance that shards measure stored
//! vectors with, and filtered one by one.

use super::round::{Neighbour, keep_nearest};
use crate::service::inbox::Waited;
use crate::service::{Query, Service, ServiceError};
use rayon::prelude::*;
use sealdex_core::{ItemLabel, Metric};
use sealdex_index::dataplane::Fetched;
use sealdex_index::distance;
use std::collections::HashSet;
use std::sync::Arc;

impl Service {
    /// Joins what waited to what the shards found for each query, nearest first.
    pub(super) async fn with_waiting(
        &self,
        metric: Metric,
        query: &Arc<Query>,
        found: Vec<Vec<Neighbour>>,
        waited: &Arc<Waited>,
    ) -> Result<Vec<Vec<Neighbour>>, ServiceError> {
        if waited.is_empty() {
            return Ok(found);
        }
        let (query, waited) = (query.clone(), waited.clone());
        self.cpu.run(move || joined(metric, &query, found, &waited)).await
    }
}

fn joined(
    metric: Metric,
    query: &Query,
    mut found: Vec<Vec<Neighbour>>,
    waited: &Waited,
) -> Vec<Vec<Neighbour>> {
    let matches = |item: &&Fetched| match &query.filter {
        Some(filter) => filter.matches(&item.metadata),
        None => true,
    };
    let items: Vec<&Fetched> = waited.items().filter(matches).collect();
    let queries: Vec<&[f32]> = query.vectors.rows().collect();
    found.par_iter_mut().zip(queries).for_each(|(found, vector)| {
        // Of an item that is seen twice, the version that was seen last: in the second look, by the shards, in the first.
        found.retain(|neighbour| !waited.after.items.contains_key(&neighbour.label));
        let stored: HashSet<ItemLabel> = found.iter().map(|neighbour| neighbour.label).collect();
        let items = items.iter().filter(|item| !stored.contains(&item.label));
        found.extend(items.filter_map(|item| {
            let stored = item.vector.as_deref()?;
            Some(Neighbour {
                distance: distance::answered(metric, vector, stored),
                label: item.label,
                op: item.op,
                // Measured, not estimated.
                estimate: f32::NEG_INFINITY,
            })
        }));
        keep_nearest(found, query.top_k);
    });
    found
}
