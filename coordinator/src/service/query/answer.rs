//! From a query's nearest rows to what its sender gets: ties settled, fields opened, in order.

use super::round::{Neighbour, keep_nearest};
use super::{ASK_LESS, Interrupted};
use crate::domain::IndexRecord;
use crate::service::census::Census;
use crate::service::inbox::Waited;
use crate::service::items::text;
use crate::service::open_items::{AnswerSize, Opening};
use crate::service::session::Session;
use crate::service::{Hit, OpenIndex, Query, Service, ServiceError};
use rayon::prelude::*;
use sealdex_core::{ItemLabel, Metric};
use sealdex_index::dataplane::{Fetched, Fields, ShardError};
use sealdex_index::distance;
use sealdex_index::metadata::Metadata;
use std::collections::HashMap;
use std::sync::Arc;

/// What it takes to answer a query.
pub(super) struct Answering<'a> {
    pub(super) service: &'a Service,
    pub(super) index: &'a OpenIndex,
    pub(super) record: &'a IndexRecord,
    pub(super) session: &'a Arc<Session>,
    pub(super) query: &'a Arc<Query>,
    pub(super) waited: &'a Waited,
    /// None if there was nothing to look for.
    pub(super) census: Option<&'a Census>,
    /// Whether there is no further attempt: what was written since it was found is answered as it is now. Before, it is
    /// a reason to look again, for where such an item was another one may be nearer.
    pub(super) last: bool,
}

impl Answering<'_> {
    /// Settles ties by id, and opens what is asked of the first `top_k`.
    pub(super) async fn answer(
        &self,
        mut neighbours: Vec<Vec<Neighbour>>,
    ) -> Result<Vec<Vec<Hit>>, Interrupted> {
        let query = self.query;
        let tied = neighbours
            .iter()
            .filter_map(|found| tied_with_last(found, query.top_k));
        let tied: Vec<Neighbour> = tied.flatten().copied().collect();
        if !tied.is_empty() {
            let fields = Fields {
                meta: true,
                ..Fields::default()
            };
            let ids = self
                .open_or_catch_up(fields, &tied, false, &mut neighbours)
                .await?;
            for found in &mut neighbours {
                settle_ties(found, query.top_k, |label| ids.get(label).map(|item| &item.id));
            }
        }
        let fields = Fields {
            meta: true,
            vector: query.include.vector,
            contents: query.include.contents,
        };
        let wanted: Vec<Neighbour> = neighbours.iter().flatten().copied().collect();
        let opened = self
            .open_or_catch_up(fields, &wanted, query.include.metadata, &mut neighbours)
            .await?;
        let mut size = AnswerSize::new(ASK_LESS);
        let hits = neighbours
            .into_iter()
            .map(|found| rank(query, found, &opened, &mut size));
        Ok(hits.collect::<Result<_, _>>()?)
    }

    /// Opens `wanted`, each item once. Of the last attempt, what was written meanwhile is opened as it is now and moves
    /// to where it belongs among `neighbours`.
    async fn open_or_catch_up(
        &self,
        fields: Fields,
        wanted: &[Neighbour],
        metadata: bool,
        neighbours: &mut Vec<Vec<Neighbour>>,
    ) -> Result<HashMap<ItemLabel, Fetched>, Interrupted> {
        let mut opened = self.open(fields, wanted, metadata).await?;
        let mut overtaken: Vec<ItemLabel> = wanted.iter().map(|found| found.label).collect();
        overtaken.retain(|label| !opened.contains_key(label));
        if overtaken.is_empty() {
            return Ok(opened);
        }
        if !self.last {
            return Err(Interrupted::Overtaken);
        }
        overtaken.sort_unstable();
        overtaken.dedup();
        let now = self.as_they_are_now(fields, &overtaken).await?;
        let (metric, query, found) = (self.record.metric, self.query.clone(), std::mem::take(neighbours));
        let moving = move || (moved(metric, &query, found, &overtaken, &now), now);
        let (found, now) = self.service.cpu.run(moving).await?;
        *neighbours = found;
        opened.extend(now.into_iter().map(|(label, item)| {
            let item = Fetched {
                vector: item.vector.filter(|_| fields.vector),
                ..item
            };
            (label, if metadata { item } else { without_metadata(item) })
        }));
        Ok(opened)
    }

    /// Opens items; those that have been written since are left out. What waited is open already.
    async fn open(
        &self,
        fields: Fields,
        wanted: &[Neighbour],
        metadata: bool,
    ) -> Result<HashMap<ItemLabel, Fetched>, ServiceError> {
        let mut items: Vec<_> = wanted.iter().map(|found| (found.label, found.op)).collect();
        items.sort_unstable();
        items.dedup();
        let mut size = AnswerSize::new(ASK_LESS);
        let mut opened = HashMap::with_capacity(items.len());
        let mut take = |item: Fetched| {
            let item = if metadata { item } else { without_metadata(item) };
            size.add(&item)?;
            opened.insert(item.label, item);
            Ok(())
        };
        let mut stored = Vec::with_capacity(items.len());
        for (label, op) in items {
            match self.waited.version(&label, &op) {
                Some(item) => take(item.clone())?,
                None => stored.push((label, Some(op))),
            }
        }
        let opening = Opening {
            session: self.session,
            precision: self.record.precision,
            fields,
            items: stored,
            since: self.census,
        };
        self.service.fanout.open_items(opening, take).await?;
        Ok(opened)
    }

    /// These items with their vectors, as far as they are there and pass the filter.
    async fn as_they_are_now(
        &self,
        fields: Fields,
        labels: &[ItemLabel],
    ) -> Result<HashMap<ItemLabel, Fetched>, ServiceError> {
        let fields = Fields {
            vector: true,
            ..fields
        };
        let (service, session) = (self.service, self.session);
        let fetch = || service.fetch_by_label(self.index, session, labels, fields, ASK_LESS);
        // This query keeps items from being promoted already.
        let homes = service.fanout.homes_of(labels);
        let looked = service
            .beside_inbox_once(self.index, session, &homes, fetch)
            .await?;
        let (found, waited) = looked.ok_or(ShardError::Busy)?;
        let filter = self.query.filter.as_ref();
        let latest = labels
            .iter()
            .filter_map(|label| waited.latest(label, found.get(label)));
        let matching = latest.filter(|item| filter.is_none_or(|filter| filter.matches(&item.metadata)));
        Ok(matching.map(|item| (item.label, item.clone())).collect())
    }
}

/// Neighbours with those that were overtaken, which are sorted, where they are `now`.
fn moved(
    metric: Metric,
    query: &Query,
    mut neighbours: Vec<Vec<Neighbour>>,
    overtaken: &[ItemLabel],
    now: &HashMap<ItemLabel, Fetched>,
) -> Vec<Vec<Neighbour>> {
    let queries: Vec<&[f32]> = query.vectors.rows().collect();
    neighbours
        .par_iter_mut()
        .zip(queries)
        .for_each(|(found, vector)| {
            found.retain_mut(|neighbour| {
                if overtaken.binary_search(&neighbour.label).is_err() {
                    return true;
                }
                let item = now.get(&neighbour.label);
                let Some((item, stored)) = item.and_then(|item| Some((item, item.vector.as_deref()?))) else {
                    return false;
                };
                neighbour.op = item.op;
                neighbour.distance = distance::answered(metric, vector, stored);
                true
            });
            keep_nearest(found, query.top_k);
        });
    neighbours
}

/// An id comes with its metadata, which may be large and unwanted.
fn without_metadata(item: Fetched) -> Fetched {
    let numbers = item.vector.as_ref().map_or(0, Vec::len);
    let contents = item.contents.as_ref().map_or(0, Vec::len);
    Fetched {
        metadata: Metadata::empty(),
        bytes: item.id.len() + contents + numbers * size_of::<f32>(),
        ..item
    }
}

/// Of neighbours in the order of their distances, those that are as far as the last of the first `top_k`, if there are
/// more than that.
fn tied_with_last(found: &[Neighbour], top_k: usize) -> Option<&[Neighbour]> {
    if found.len() <= top_k {
        return None;
    }
    let last = found.get(top_k.checked_sub(1)?)?.distance;
    found.get(found.partition_point(|neighbour| neighbour.distance < last)..)
}

/// Keeps the first `top_k`, those that tie in the order of their ids.
fn settle_ties<'a>(found: &mut Vec<Neighbour>, top_k: usize, id: impl Fn(&ItemLabel) -> Option<&'a String>) {
    let Some(tied) = tied_with_last(found, top_k).map(<[Neighbour]>::len) else {
        return;
    };
    let mut last = found.split_off(found.len() - tied);
    last.sort_unstable_by_key(|neighbour| id(&neighbour.label));
    last.truncate(top_k - found.len());
    found.extend(last);
}

/// Orders one query's neighbours by distance and id, and makes hits of them.
fn rank(
    query: &Query,
    neighbours: Vec<Neighbour>,
    opened: &HashMap<ItemLabel, Fetched>,
    size: &mut AnswerSize,
) -> Result<Vec<Hit>, ServiceError> {
    let mut ranked: Vec<(f64, &Fetched)> = neighbours
        .iter()
        .filter_map(|n| opened.get(&n.label).map(|item| (n.distance, item)))
        .collect();
    ranked.sort_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.id.cmp(&y.id)));
    let include = query.include;
    let hit = |(distance, item): (f64, &Fetched)| {
        size.add(item)?;
        Ok(Hit {
            id: item.id.clone(),
            distance: include.distance.then_some(distance),
            metadata: include.metadata.then(|| item.metadata.clone()),
            vector: include.vector.then(|| item.vector.clone().unwrap_or_default()),
            contents: include.contents.then(|| text(item.contents.as_deref())),
        })
    };
    ranked.into_iter().map(hit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Include, Vectors};
    use sealdex_core::{Dimension, Op};

    fn neighbours(distances: &[f64]) -> Vec<Neighbour> {
        let neighbour = |(n, distance): (usize, &f64)| Neighbour {
            distance: *distance,
            label: ItemLabel([n as u8; 16]),
            op: Op([0; 16]),
            estimate: 0.0,
        };
        distances.iter().enumerate().map(neighbour).collect()
    }

    #[test]
    fn of_those_that_tie_with_the_last_the_first_ids_stay() {
        let mut found = neighbours(&[1.0, 2.0, 2.0, 2.0, 2.0]);
        let ids: HashMap<_, _> = [(1, "d"), (2, "b"), (3, "a"), (4, "c")]
            .map(|(n, id)| (ItemLabel([n; 16]), id.to_owned()))
            .into();
        assert_eq!(tied_with_last(&found, 3).map(<[_]>::len), Some(4));
        settle_ties(&mut found, 3, |label| ids.get(label));
        let kept: Vec<u8> = found.iter().map(|neighbour| neighbour.label.0[0]).collect();
        assert_eq!(kept, [0, 3, 2]);
    }

    #[test]
    fn what_was_overtaken_moves_to_where_it_is_now_and_what_is_gone_leaves() {
        let query = Query {
            vectors: Vectors::new(Dimension::new(1).unwrap(), vec![0.0]).unwrap(),
            top_k: 4,
            n_probes: None,
            rerank_mult: None,
            greedy: false,
            filter: None,
            include: Include::default(),
        };
        let label = |n: u8| ItemLabel([n; 16]);
        let item = |n, x| Fetched {
            label: label(n),
            op: Op([9; 16]),
            id: n.to_string(),
            metadata: Metadata::empty(),
            vector: Some(vec![x]),
            contents: None,
            bytes: 1,
        };
        let now = [item(1, 5.0), item(3, 0.5)].map(|item| (item.label, item)).into();
        let found = vec![neighbours(&[1.0, 2.0, 3.0, 4.0])];
        let overtaken = [1, 2, 3].map(label);
        let moved = moved(Metric::Euclidean, &query, found, &overtaken, &now);
        let places: Vec<_> = moved[0]
            .iter()
            .map(|found| (found.label.0[0], found.distance, found.op == Op([9; 16])))
            .collect();
        assert_eq!(places, [(3, 0.5, true), (0, 1.0, false), (1, 5.0, true)]);
    }

    #[test]
    fn without_more_than_enough_there_is_nothing_to_settle() {
        for top_k in [3, 4] {
            assert!(tied_with_last(&neighbours(&[1.0, 2.0, 2.0]), top_k).is_none());
        }
    }
}
