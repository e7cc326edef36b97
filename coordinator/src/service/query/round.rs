//! One attempt at a query on one generation: scan, merge, resolve, and widen until enough was found or everything was
//! looked at.

use super::Interrupted;
use super::breadth::{Found, Horizon, Verdict};
use super::scanner::{Early, Scanner};
use crate::domain::IndexRecord;
use crate::service::census::Census;
use crate::service::fitness;
use futures_util::future::try_join_all;
use sealdex_core::{ItemLabel, Op, PartitionId};
use sealdex_index::dataplane::{Candidate, ResolveRequest, Resolved, ShardError};
use sealdex_index::filter::Filter;
use sealdex_telemetry::{Stage, metrics, stage};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row that is current, and its exact distance.
#[derive(Clone, Copy)]
pub(super) struct Neighbour {
    pub(super) distance: f64,
    pub(super) label: ItemLabel,
    pub(super) op: Op,
    /// Of the row that led to it.
    pub(super) estimate: f32,
}

/// One attempt at a query on one generation.
pub(super) struct Round<'a> {
    pub(super) record: &'a IndexRecord,
    pub(super) scanner: &'a Scanner<'a>,
    /// Taken since the query arrived.
    pub(super) census: &'a Census,
    /// The query's, to be shared.
    pub(super) filter: Option<Arc<Filter>>,
}

impl Round<'_> {
    /// For each query its nearest current rows, best first: `top_k`, and those that tie with the last of them. `early` is used if it is
    /// what this would begin with.
    pub(super) async fn run(&self, mut early: Option<Early>) -> Result<Vec<Vec<Neighbour>>, Interrupted> {
        let queries = self.scanner.query.vectors.len();
        let mut found: Vec<Vec<Neighbour>> = vec![Vec::new(); queries];
        let horizon = Horizon {
            query: self.scanner.query,
            model: &self.scanner.model.model,
            everything: self.census.items(),
        };
        let mut work = vec![((0..queries as u32).collect::<Vec<u32>>(), horizon.first())];
        while let Some((mut open, breadth)) = work.pop() {
            let together = breadth.queries_together();
            if open.len() > together {
                work.push((open.split_off(together), breadth));
            }
            let scanned = match early.take().filter(|early| early.breadth == breadth) {
                Some(early) => early.scanned,
                None => stage(Stage::Scan, self.scanner.scan(&open, breadth, self.census)).await?,
            };
            let resolved = stage(Stage::Resolve, self.resolve(&open, &scanned.candidates)).await?;
            let mut still_open = Vec::new();
            let (mut wanted_probes, mut most_scored) = (breadth.probes, 0);
            let (mut misled, mut live) = (0, 0);
            for (
                position,
                Resolution {
                    mut neighbours,
                    order,
                },
            ) in resolved.into_iter().enumerate()
            {
                keep_nearest(&mut neighbours, self.scanner.query.top_k);
                let cut = scanned.cuts[position];
                // Where no row was left out, no order is worth the look.
                let left_out = scanned.scored[position] > breadth.candidates as u64;
                let outcome = Found {
                    scored: scanned.scored[position],
                    live: order.len(),
                    tied: cut.is_some_and(|cut| neighbours.iter().any(|found| found.estimate >= cut)),
                    misled: left_out && fitness::misled(self.scanner.model.model.quantiser.codec(), &order),
                };
                misled += usize::from(outcome.misled);
                live += outcome.live;
                most_scored = most_scored.max(outcome.scored);
                found[open[position] as usize] = neighbours;
                if let Verdict::Widen { probes } = horizon.judge(breadth, &outcome) {
                    still_open.push(open[position]);
                    wanted_probes = wanted_probes.max(probes);
                }
            }
            if breadth == horizon.first() {
                let candidates = scanned.candidates.iter().map(Vec::len).sum();
                let mut fitness = self.scanner.session.fitness.lock();
                metrics().recall.queries(open.len(), misled);
                fitness.note(open.len(), misled);
                fitness.note_candidates(candidates, live);
            }
            metrics()
                .recall
                .probed(open.len() - still_open.len(), breadth.probes);
            if still_open.is_empty() {
                continue;
            }
            match horizon.wider(breadth, wanted_probes, most_scored) {
                Some(wider) => work.push((still_open, wider)),
                // With nothing left to widen, what was found is what there is.
                None => metrics().recall.probed(still_open.len(), breadth.probes),
            }
        }
        Ok(found)
    }

    /// For each query the items of its candidates with their exact distances. Those of candidates that are not current
    /// are answered as they are now; what is near the query may still be behind them.
    async fn resolve(
        &self,
        open: &[u32],
        candidates: &[Vec<Candidate>],
    ) -> Result<Vec<Resolution>, Interrupted> {
        let mut by_home: BTreeMap<PartitionId, Vec<(u32, Candidate)>> = BTreeMap::new();
        for (position, of_query) in candidates.iter().enumerate() {
            for candidate in of_query {
                let home = self.scanner.service.fanout.placement.of_item(&candidate.label);
                by_home
                    .entry(home)
                    .or_default()
                    .push((position as u32, *candidate));
            }
        }
        let dimension = self.scanner.query.vectors.dimension();
        let values: Arc<[f32]> = open
            .iter()
            .flat_map(|&q| {
                &self.scanner.query.vectors.values()[q as usize * dimension.get()..][..dimension.get()]
            })
            .copied()
            .collect();
        let resolves = by_home.into_iter().map(|(partition, of_home)| {
            let values = &values;
            async move {
                let reply = self
                    .scanner
                    .service
                    .fanout
                    .leased(self.scanner.session, partition, |target| {
                        self.scanner.service.fanout.shards.resolve(ResolveRequest {
                            target,
                            metric: self.record.metric,
                            precision: self.record.precision,
                            queries: values.clone(),
                            dimension,
                            candidates: of_home
                                .iter()
                                .map(|(query, row)| (*query, row.label, row.op))
                                .collect(),
                            filter: self.filter.clone(),
                            since: Some(self.census.at(partition)),
                        })
                    })
                    .await?;
                Ok::<_, ShardError>((of_home, reply))
            }
        });
        let mut found = vec![Resolution::default(); open.len()];
        for (of_home, reply) in try_join_all(resolves).await? {
            for ((position, row), resolved) in of_home.into_iter().zip(reply) {
                if let Some(Resolved { op, distance }) = resolved {
                    let of_query = &mut found[position as usize];
                    of_query.neighbours.push(Neighbour {
                        distance,
                        label: row.label,
                        op,
                        estimate: row.estimate,
                    });
                    if op == row.op {
                        of_query.order.push((row.estimate, distance));
                    }
                }
            }
        }
        for Resolution { neighbours, .. } in &mut found {
            // Rows of two writes of one item are that item once.
            neighbours.sort_unstable_by_key(|neighbour| neighbour.label);
            neighbours.dedup_by_key(|neighbour| neighbour.label);
        }
        Ok(found)
    }
}

/// What became of one query's candidates.
#[derive(Clone, Default)]
struct Resolution {
    neighbours: Vec<Neighbour>,
    /// Estimate and exact distance of each candidate that is current.
    order: Vec<(f32, f64)>,
}

/// Sorts by distance and keeps the first `top_k` together with all that tie with the last of them.
pub(super) fn keep_nearest(neighbours: &mut Vec<Neighbour>, top_k: usize) {
    neighbours.sort_unstable_by(|a, b| {
        a.distance
            .total_cmp(&b.distance)
            .then_with(|| a.label.cmp(&b.label))
    });
    neighbours.dedup_by(|a, b| a.label == b.label);
    if let Some(last) = neighbours.get(top_k.saturating_sub(1)).map(|n| n.distance) {
        let end = neighbours.partition_point(|n| n.distance <= last);
        neighbours.truncate(end);
    }
}
