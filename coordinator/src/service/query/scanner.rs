//! The scan of a query over all partitions, merged; and the first one, which begins while the items are counted.

use super::Interrupted;
use super::breadth::{Breadth, Horizon};
use super::scan_plan::ScanPlan;
use crate::service::census::Census;
use crate::service::session::{LoadedModel, Session};
use crate::service::{OpenIndex, Query, Service};
use futures_util::future::try_join_all;
use sealdex_index::dataplane::{Candidate, ScanRequest};
use sealdex_telemetry::{Stage, stage};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Scans one generation for one request.
pub(super) struct Scanner<'a> {
    pub(super) service: &'a Service,
    pub(super) session: &'a Session,
    pub(super) query: &'a Arc<Query>,
    pub(super) model: &'a Arc<LoadedModel>,
}

/// What partitions found together.
pub(super) struct Scanned {
    pub(super) candidates: Vec<Vec<Candidate>>,
    pub(super) scored: Vec<u64>,
    /// For each query, the estimate of the last candidate if the first that was left out has the same.
    pub(super) cuts: Vec<Option<f32>>,
}

/// A first scan that did not wait for the count.
pub(super) struct Early {
    pub(super) breadth: Breadth,
    pub(super) scanned: Scanned,
}

impl Scanner<'_> {
    /// Counts the items of the index, and scans meanwhile as far as a query would go among as many as there were the last time: the count
    /// seldom changes that, and what has to be confirmed by majorities is confirmed for both at once.
    pub(super) async fn count_and_begin(
        &self,
        index: &OpenIndex,
    ) -> Result<(Census, Option<Early>), Interrupted> {
        let early = match self.model.counted.load(Ordering::Relaxed) {
            0 => None,
            everything => self.first_as_of(everything),
        };
        let plan = match early {
            Some(breadth) => Some((breadth, self.plan(&self.all(), breadth).await?)),
            None => None,
        };
        let begin = async {
            match plan {
                Some((breadth, plan)) => {
                    let scanned = stage(Stage::Scan, self.carry_out(plan, breadth, None)).await?;
                    Ok(Some(Early { breadth, scanned }))
                }
                None => Ok::<_, Interrupted>(None),
            }
        };
        let count = self.service.census(index);
        let (early, census) = tokio::join!(begin, stage(Stage::Count, count));
        let census = census?;
        self.model.counted.store(census.items(), Ordering::Relaxed);
        Ok((census, early?))
    }

    /// Where the request would begin if there were so many items; `None` if not with all of its queries at once.
    fn first_as_of(&self, everything: u64) -> Option<Breadth> {
        let horizon = Horizon {
            query: self.query,
            model: &self.model.model,
            everything,
        };
        let breadth = horizon.first();
        (self.query.vectors.len() <= breadth.queries_together()).then_some(breadth)
    }

    fn all(&self) -> Vec<u32> {
        (0..self.query.vectors.len() as u32).collect()
    }

    /// Scans for the queries that are open, as of the census.
    pub(super) async fn scan(
        &self,
        open: &[u32],
        breadth: Breadth,
        census: &Census,
    ) -> Result<Scanned, Interrupted> {
        let plan = self.plan(open, breadth).await?;
        self.carry_out(plan, breadth, Some(census)).await
    }

    async fn plan(&self, open: &[u32], breadth: Breadth) -> Result<ScanPlan, Interrupted> {
        let (query, model, open) = (self.query.clone(), self.model.clone(), open.to_vec());
        let placement = self.service.fanout.placement.clone();
        let plan = move || ScanPlan::new(&query, &model, &placement, &open, breadth);
        Ok(self.service.cpu.run(plan).await?)
    }

    async fn carry_out(
        &self,
        plan: ScanPlan,
        breadth: Breadth,
        census: Option<&Census>,
    ) -> Result<Scanned, Interrupted> {
        let (generation, queries) = (self.model.model.generation, plan.queries);
        let scans = plan.probes.into_iter().map(|(partition, probes)| {
            let queries = &queries;
            async move {
                self.service
                    .fanout
                    .leased(self.session, partition, |target| {
                        let (probes, queries) = (probes.clone(), queries.clone());
                        self.service.fanout.shards.scan(ScanRequest {
                            target,
                            generation,
                            probes,
                            queries,
                            since: census.map(|census| census.at(partition)),
                        })
                    })
                    .await
            }
        });
        let mut merged = Scanned {
            candidates: vec![Vec::new(); queries.len()],
            scored: vec![0; queries.len()],
            cuts: Vec::with_capacity(queries.len()),
        };
        for reply in try_join_all(scans).await? {
            for (into, from) in merged.candidates.iter_mut().zip(reply.candidates) {
                into.extend(from);
            }
            for (into, from) in merged.scored.iter_mut().zip(reply.scored) {
                *into += from;
            }
        }
        for candidates in &mut merged.candidates {
            merged.cuts.push(keep_best(candidates, breadth.candidates));
        }
        Ok(merged)
    }
}

/// Keeps the `keep` candidates of smallest estimate, each row once. Returns the greatest estimate kept if it is also that
/// of one left out.
fn keep_best(candidates: &mut Vec<Candidate>, keep: usize) -> Option<f32> {
    candidates.sort_unstable_by(|a, b| {
        a.estimate
            .total_cmp(&b.estimate)
            .then_with(|| (a.label, a.op).cmp(&(b.label, b.op)))
    });
    candidates.dedup_by(|a, b| (a.label, a.op) == (b.label, b.op));
    let left_out = candidates.get(keep).map(|candidate| candidate.estimate);
    candidates.truncate(keep);
    candidates
        .last()
        .map(|last| last.estimate)
        .filter(|last| left_out == Some(*last))
}
