//! From a query's nearest rows to what its sender gets: ties settled, fields opened, in order.

use super::round::Neighbour;
use crate::domain::IndexRecord;
use crate::service::items::text;
use crate::service::session::Session;
use crate::service::{Hit, Query, Service, ServiceError};
use futures_util::future::try_join_all;
use sealdex_core::{ItemLabel, Op, PartitionId};
use sealdex_index::dataplane::{FetchRequest, Fetched, Fields};
use std::collections::{BTreeMap, HashMap};

impl Service {
    /// Opens what is asked of the neighbours, settles ties by id, and keeps the first `top_k`. Also tells whether one of
    /// them was replaced or deleted since it was resolved, and is missing.
    pub(super) async fn hits(
        &self,
        record: &IndexRecord,
        session: &Session,
        query: &Query,
        neighbours: Vec<Vec<Neighbour>>,
    ) -> Result<(Vec<Vec<Hit>>, bool), ServiceError> {
        let mut wanted: BTreeMap<PartitionId, Vec<(ItemLabel, Option<Op>)>> = BTreeMap::new();
        let mut named = std::collections::HashSet::new();
        for neighbour in neighbours.iter().flatten() {
            if named.insert(neighbour.label) {
                let home = self.fanout.placement.of_item(&neighbour.label);
                wanted
                    .entry(home)
                    .or_default()
                    .push((neighbour.label, Some(neighbour.op)));
            }
        }
        let fields = Fields {
            meta: true,
            vector: query.include.vector,
            contents: query.include.contents,
        };
        let precision = record.precision;
        let fetches = wanted.into_iter().map(|(partition, items)| async move {
            self.fanout
                .leased(session, partition, |target| {
                    let items = items.clone();
                    self.fanout.shards.fetch(FetchRequest {
                        target,
                        precision,
                        fields,
                        items,
                    })
                })
                .await
        });
        let fetched: HashMap<ItemLabel, Fetched> = try_join_all(fetches)
            .await?
            .into_iter()
            .flatten()
            .flatten()
            .map(|item| (item.label, item))
            .collect();
        let overtaken = fetched.len() < named.len();
        let ranked = neighbours
            .into_iter()
            .map(|of_query| rank(query, of_query, &fetched));
        Ok((ranked.collect(), overtaken))
    }
}

/// Orders one query's neighbours by distance and id, and makes hits of the first `top_k`.
fn rank(query: &Query, neighbours: Vec<Neighbour>, fetched: &HashMap<ItemLabel, Fetched>) -> Vec<Hit> {
    let mut ranked: Vec<(f64, &Fetched)> = neighbours
        .iter()
        .filter_map(|n| fetched.get(&n.label).map(|item| (n.distance, item)))
        .collect();
    ranked.sort_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.id.cmp(&y.id)));
    ranked.truncate(query.top_k);
    let include = query.include;
    ranked
        .into_iter()
        .map(|(distance, item)| Hit {
            id: item.id.clone(),
            distance: include.distance.then_some(distance as f32),
            metadata: include.metadata.then(|| item.metadata.clone()),
            vector: include.vector.then(|| item.vector.clone().unwrap_or_default()),
            contents: include.contents.then(|| text(item.contents.as_deref())),
        })
        .collect()
}
