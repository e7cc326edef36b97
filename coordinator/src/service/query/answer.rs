//! From a query's nearest rows to what its sender gets: ties settled, fields opened, in order.

use super::ASK_LESS;
use super::round::Neighbour;
use crate::domain::IndexRecord;
use crate::service::inbox::Waited;
use crate::service::items::text;
use crate::service::open_items::{AnswerSize, Opening};
use crate::service::session::Session;
use crate::service::{Hit, Query, Service, ServiceError};
use sealdex_core::ItemLabel;
use sealdex_index::dataplane::{Fetched, Fields};
use sealdex_index::metadata::Metadata;
use std::collections::HashMap;

/// The answer to each query.
pub(super) struct Answer {
    pub(super) hits: Vec<Vec<Hit>>,
    /// Whether an item was replaced or deleted since it was resolved, and is missing.
    pub(super) overtaken: bool,
}

/// What it takes to answer a query.
pub(super) struct Answering<'a> {
    pub(super) service: &'a Service,
    pub(super) record: &'a IndexRecord,
    pub(super) session: &'a Session,
    pub(super) query: &'a Query,
    pub(super) waited: &'a Waited,
}

impl Answering<'_> {
    /// Settles ties by id, and opens what is asked of the first `top_k`.
    pub(super) async fn answer(&self, mut neighbours: Vec<Vec<Neighbour>>) -> Result<Answer, ServiceError> {
        let query = self.query;
        let tied = neighbours
            .iter()
            .filter_map(|found| tied_with_last(found, query.top_k));
        let tied: Vec<Neighbour> = tied.flatten().copied().collect();
        let mut overtaken = false;
        if !tied.is_empty() {
            let mut ids = HashMap::new();
            let fields = Fields {
                meta: true,
                ..Fields::default()
            };
            self.open(fields, &tied, false, |item| ids.insert(item.label, item.id))
                .await?;
            for found in &mut neighbours {
                overtaken |= settle_ties(found, query.top_k, &ids);
            }
        }
        let fields = Fields {
            meta: true,
            vector: query.include.vector,
            contents: query.include.contents,
        };
        let wanted: Vec<Neighbour> = neighbours.iter().flatten().copied().collect();
        let mut opened = HashMap::new();
        self.open(fields, &wanted, query.include.metadata, |item| {
            opened.insert(item.label, item)
        })
        .await?;
        overtaken |= wanted.iter().any(|found| !opened.contains_key(&found.label));
        let mut size = AnswerSize::new(ASK_LESS);
        let hits = neighbours
            .into_iter()
            .map(|found| rank(query, found, &opened, &mut size));
        Ok(Answer {
            hits: hits.collect::<Result<_, _>>()?,
            overtaken,
        })
    }

    /// Opens items, each once; those that have been written since are left out. What waited is open already.
    async fn open<R>(
        &self,
        fields: Fields,
        wanted: &[Neighbour],
        metadata: bool,
        mut keep: impl FnMut(Fetched) -> R,
    ) -> Result<(), ServiceError> {
        let mut items: Vec<_> = wanted.iter().map(|found| (found.label, found.op)).collect();
        items.sort_unstable();
        items.dedup();
        let mut size = AnswerSize::new(ASK_LESS);
        let mut take = |item: Fetched| {
            let item = if metadata { item } else { without_metadata(item) };
            size.add(&item)?;
            keep(item);
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
        };
        self.service.fanout.open_items(opening, take).await
    }
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

/// Keeps the first `top_k`, those that tie in the order of their ids. Tells whether one has none any more.
fn settle_ties(found: &mut Vec<Neighbour>, top_k: usize, ids: &HashMap<ItemLabel, String>) -> bool {
    let Some(tied) = tied_with_last(found, top_k).map(<[Neighbour]>::len) else {
        return false;
    };
    let mut last = found.split_off(found.len() - tied);
    last.retain(|neighbour| ids.contains_key(&neighbour.label));
    let overtaken = last.len() < tied;
    last.sort_unstable_by_key(|neighbour| ids.get(&neighbour.label));
    last.truncate(top_k - found.len());
    found.extend(last);
    overtaken
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
            distance: include.distance.then_some(distance as f32),
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
    use sealdex_core::Op;

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
        assert!(!settle_ties(&mut found, 3, &ids));
        let kept: Vec<u8> = found.iter().map(|neighbour| neighbour.label.0[0]).collect();
        assert_eq!(kept, [0, 3, 2]);
    }

    #[test]
    fn one_that_is_gone_is_noticed_and_leaves_its_place() {
        let mut found = neighbours(&[2.0, 2.0, 2.0]);
        let ids: HashMap<_, _> = [(0, "b"), (2, "a")]
            .map(|(n, id)| (ItemLabel([n; 16]), id.to_owned()))
            .into();
        assert!(settle_ties(&mut found, 1, &ids));
        assert_eq!((found.len(), found[0].label), (1, ItemLabel([2; 16])));
    }

    #[test]
    fn without_more_than_enough_there_is_nothing_to_settle() {
        for top_k in [3, 4] {
            assert!(tied_with_last(&neighbours(&[1.0, 2.0, 2.0]), top_k).is_none());
        }
    }
}
