//! Queries: route, scan, merge, resolve, and widen until enough was found or everything was looked at.

use super::inbox::Waited;
use super::items::text;
use super::session::{LoadedModel, Session};
use super::{Hit, OpenIndex, Query, Service, ServiceError};
use crate::domain::IndexRecord;
use futures_util::future::try_join_all;
use sealdex_core::{ErrorCode, Generation, ItemLabel, Op, PartitionId, limits};
use sealdex_index::dataplane::{
    Candidate, ClusterProbe, FetchRequest, Fetched, Fields, ResolveRequest, Resolved, ScanQuery, ScanRequest,
    ShardError,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How often a query is tried: a training may finish under it, or a write replace what it has found.
const ATTEMPTS_MAX: usize = 8;

/// Candidates that are looked at together: bounds the memory of a request, some 100 bytes each.
const CANDIDATES_TOGETHER_MAX: usize = 1 << 20;

/// By how much a query that found too little looks further.
const WIDENING: usize = 4;

/// Matches that a filtered query has to have seen for each neighbour it returns, unless it has looked everywhere.
const MATCHES_PER_NEIGHBOUR: u64 = 40;

/// A row that is current, and its exact distance.
#[derive(Clone, Copy)]
pub(super) struct Neighbour {
    pub(super) distance: f64,
    pub(super) label: ItemLabel,
    pub(super) op: Op,
}

/// How far one round of a query looks.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Breadth {
    probes: usize,
    candidates: usize,
}

impl Service {
    /// The nearest items of each query, nearest first; ties in the order of their ids.
    pub async fn query(&self, index: &OpenIndex, query: Query) -> Result<Vec<Vec<Hit>>, ServiceError> {
        let session = index.reader("query")?;
        check_limits(&query)?;
        let query = Arc::new(query);
        for attempt in 1..=ATTEMPTS_MAX {
            match self
                .query_once(index, session, &query, attempt == ATTEMPTS_MAX)
                .await
            {
                Err(Interrupted::StaleGeneration | Interrupted::Overtaken) => continue,
                Err(Interrupted::Failed(error)) => return Err(error),
                Ok(hits) => return Ok(hits),
            }
        }
        Err(ShardError::Busy.into())
    }

    async fn query_once(
        &self,
        index: &OpenIndex,
        session: &Arc<Session>,
        query: &Arc<Query>,
        last: bool,
    ) -> Result<Vec<Vec<Hit>>, Interrupted> {
        let record = self.current_record(index)?;
        let dimension = record.dimension.ok_or_else(dimension_unknown)?;
        if query.vectors.dimension() != dimension {
            return Err(ServiceError::invalid(format!(
                "The dimension of the query vectors ({}) doesn't match the index's ({dimension}).",
                query.vectors.dimension()
            ))
            .into());
        }
        let before = self.inbox(index, session).await?;
        let neighbours = match self.fanout.model(session, &record.active).await? {
            None => vec![Vec::new(); query.vectors.len()],
            Some(model) => {
                let round = Round {
                    service: self,
                    record: &record,
                    session,
                    query,
                    model: &model,
                    everything: self.count(index).await?,
                };
                round.run().await?
            }
        };
        let after = self.inbox(index, session).await?;
        let waited = Arc::new(Waited { before, after });
        if waited.may_have_missed() && !last {
            return Err(Interrupted::Overtaken);
        }
        let neighbours = self
            .with_waiting(record.metric, query, neighbours, &waited)
            .await?;
        let (hits, overtaken) = self.hits(&record, session, query, neighbours, &waited).await?;
        if overtaken && !last {
            return Err(Interrupted::Overtaken);
        }
        Ok(hits)
    }

    /// Opens what is asked of the neighbours, settles ties by id, and keeps the first `top_k`. Also tells whether one of
    /// them was replaced or deleted since it was resolved, and is missing.
    async fn hits(
        &self,
        record: &IndexRecord,
        session: &Session,
        query: &Query,
        neighbours: Vec<Vec<Neighbour>>,
        waited: &Waited,
    ) -> Result<(Vec<Vec<Hit>>, bool), ServiceError> {
        let mut wanted: BTreeMap<PartitionId, Vec<(ItemLabel, Option<Op>)>> = BTreeMap::new();
        let mut named = std::collections::HashSet::new();
        let mut fetched: HashMap<ItemLabel, Fetched> = HashMap::new();
        for neighbour in neighbours.iter().flatten() {
            if named.insert(neighbour.label) {
                if let Some(item) = waited.version(&neighbour.label, &neighbour.op) {
                    fetched.insert(neighbour.label, item.clone());
                    continue;
                }
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
        let found = try_join_all(fetches).await?.into_iter().flatten().flatten();
        fetched.extend(found.map(|item| (item.label, item)));
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

/// One attempt at a query on one generation.
struct Round<'a> {
    service: &'a Service,
    record: &'a IndexRecord,
    session: &'a Session,
    query: &'a Arc<Query>,
    model: &'a Arc<LoadedModel>,
    /// Items in the index.
    everything: u64,
}

impl Round<'_> {
    /// For each query its nearest current rows, best first: `top_k`, and those that tie with the last of them.
    async fn run(&self) -> Result<Vec<Vec<Neighbour>>, Interrupted> {
        let queries = self.query.vectors.len();
        let mut found: Vec<Vec<Neighbour>> = vec![Vec::new(); queries];
        let mut work = vec![((0..queries as u32).collect::<Vec<u32>>(), self.first_breadth())];
        while let Some((mut open, breadth)) = work.pop() {
            let together = (CANDIDATES_TOGETHER_MAX / breadth.candidates.max(1)).max(1);
            if open.len() > together {
                work.push((open.split_off(together), breadth));
            }
            let scanned = self.scan(&open, breadth).await?;
            let resolved = self.resolve(&open, &scanned.candidates).await?;
            let mut still_open = Vec::new();
            let mut wanted_probes = breadth.probes;
            for (position, (neighbours, live)) in resolved.into_iter().enumerate() {
                let outcome = self.judge(breadth, &scanned, position, live);
                found[open[position] as usize] = neighbours;
                if let Verdict::Widen { probes } = outcome {
                    still_open.push(open[position]);
                    wanted_probes = wanted_probes.max(probes);
                }
            }
            if !still_open.is_empty() {
                let wider = Breadth {
                    probes: wanted_probes.min(self.model.model.clusters() as usize),
                    candidates: breadth
                        .candidates
                        .saturating_mul(WIDENING)
                        .min(self.candidates_max()),
                };
                // With nothing left to widen, what was found is what there is.
                if wider != breadth {
                    work.push((still_open, wider));
                }
            }
        }
        for neighbours in &mut found {
            keep_nearest(neighbours, self.query.top_k);
        }
        Ok(found)
    }

    fn first_breadth(&self) -> Breadth {
        let (query, probing) = (self.query, &self.model.model.probing);
        let clusters = self.model.model.clusters() as usize;
        let candidates = match query.rerank_mult {
            Some(multiple) => query.top_k.saturating_mul(multiple.max(1)),
            None if query.greedy => (probing.refine(query.top_k) / 2).max(query.top_k),
            None => probing.refine(query.top_k),
        };
        let probes = match query.n_probes {
            _ if !self.model.model.trained => clusters,
            Some(n) => n.clamp(1, clusters),
            None => probing.n_probes(query.top_k).clamp(1, clusters),
        };
        Breadth {
            probes,
            candidates: candidates.max(query.top_k).min(self.candidates_max()),
        }
    }

    /// All there is to look at: as many rows again as there are items may be dead.
    fn candidates_max(&self) -> usize {
        (self.everything.max(1) as usize).saturating_mul(2)
    }

    /// Whether a query has what it asked for.
    fn judge(&self, breadth: Breadth, scanned: &Scanned, position: usize, live: usize) -> Verdict {
        let all_probed = breadth.probes >= self.model.model.clusters() as usize;
        let scored = scanned.scored[position];
        if let Some(probes) = self.probes_for_filter(breadth, scored) {
            return Verdict::Widen { probes };
        }
        let cut_off = scored > breadth.candidates as u64;
        let enough = live >= self.query.top_k || live as u64 >= self.everything;
        if enough || (all_probed && !cut_off) {
            Verdict::Enough
        } else if all_probed || cut_off {
            Verdict::Widen {
                probes: breadth.probes,
            }
        } else {
            Verdict::Widen {
                probes: breadth.probes.saturating_mul(WIDENING),
            }
        }
    }

    /// How many clusters a filtered query still has to look into, if more than it has. A filter that few rows pass
    /// makes the nearest matches lie further out: as far as those of an unfiltered query for as many more neighbours.
    /// And where matches are rarer around the query than elsewhere, that guess falls short; so some multiple of
    /// `top_k` has to be seen in any case.
    fn probes_for_filter(&self, breadth: Breadth, scored: u64) -> Option<usize> {
        let clusters = self.model.model.clusters() as usize;
        if self.query.filter.is_none() || self.query.n_probes.is_some() || breadth.probes >= clusters {
            return None;
        }
        let looked_at = (self.everything as f64 * breadth.probes as f64 / clusters as f64).max(1.0);
        let selectivity = (scored as f64 / looked_at).clamp(1e-6, 1.0);
        let as_many_more = (self.query.top_k as f64 / selectivity).ceil() as usize;
        let by_selectivity = self.model.model.probing.n_probes(as_many_more);
        let too_few = scored < (self.query.top_k as u64).saturating_mul(MATCHES_PER_NEIGHBOUR);
        let by_count = if too_few {
            breadth.probes.saturating_mul(WIDENING)
        } else {
            0
        };
        let wanted = by_selectivity.max(by_count).min(clusters);
        (wanted > breadth.probes).then_some(wanted)
    }

    async fn scan(&self, open: &[u32], breadth: Breadth) -> Result<Scanned, Interrupted> {
        let plan = {
            let (query, model, open) = (self.query.clone(), self.model.clone(), open.to_vec());
            let placement = self.service.fanout.placement.clone();
            self.service
                .cpu
                .run(move || ScanPlan::new(&query, &model, &placement, &open, breadth))
                .await?
        };
        let generation: Generation = self.model.model.generation;
        let queries = plan.queries;
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
                        })
                    })
                    .await
            }
        });
        let mut merged = Scanned {
            candidates: vec![Vec::new(); open.len()],
            scored: vec![0; open.len()],
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
            keep_best(candidates, breadth.candidates);
        }
        Ok(merged)
    }

    /// For each query the items of its candidates with their exact distances, and how many of the candidates are
    /// current. The others' items are answered as they are now; what is near the query may still be behind them.
    async fn resolve(
        &self,
        open: &[u32],
        candidates: &[Vec<Candidate>],
    ) -> Result<Vec<(Vec<Neighbour>, usize)>, Interrupted> {
        let mut by_home: BTreeMap<PartitionId, Vec<(u32, ItemLabel, Op)>> = BTreeMap::new();
        for (position, of_query) in candidates.iter().enumerate() {
            for candidate in of_query {
                let home = self.service.fanout.placement.of_item(&candidate.label);
                by_home
                    .entry(home)
                    .or_default()
                    .push((position as u32, candidate.label, candidate.op));
            }
        }
        let dimension = self.query.vectors.dimension();
        let values: Arc<[f32]> = open
            .iter()
            .flat_map(|&q| &self.query.vectors.values()[q as usize * dimension.get()..][..dimension.get()])
            .copied()
            .collect();
        let resolves = by_home.into_iter().map(|(partition, of_home)| {
            let values = &values;
            async move {
                let reply = self
                    .service
                    .fanout
                    .leased(self.session, partition, |target| {
                        self.service.fanout.shards.resolve(ResolveRequest {
                            target,
                            metric: self.record.metric,
                            precision: self.record.precision,
                            queries: values.clone(),
                            dimension,
                            candidates: of_home.clone(),
                            as_it_is_now: self.query.filter.is_none(),
                        })
                    })
                    .await?;
                Ok::<_, ShardError>((of_home, reply))
            }
        });
        let mut found: Vec<(Vec<Neighbour>, usize)> = vec![Default::default(); open.len()];
        for (of_home, reply) in try_join_all(resolves).await? {
            for ((position, label, scanned), resolved) in of_home.into_iter().zip(reply) {
                if let Some(Resolved { op, distance }) = resolved {
                    let (neighbours, live) = &mut found[position as usize];
                    neighbours.push(Neighbour { distance, label, op });
                    *live += usize::from(op == scanned);
                }
            }
        }
        for (neighbours, _) in &mut found {
            // Rows of two writes of one item are that item once.
            neighbours.sort_unstable_by_key(|neighbour| neighbour.label);
            neighbours.dedup_by_key(|neighbour| neighbour.label);
        }
        Ok(found)
    }
}

enum Verdict {
    Enough,
    Widen { probes: usize },
}

struct Scanned {
    candidates: Vec<Vec<Candidate>>,
    scored: Vec<u64>,
}

/// Which clusters each partition is asked to scan, and for which queries.
struct ScanPlan {
    queries: Arc<[ScanQuery]>,
    probes: BTreeMap<PartitionId, Vec<ClusterProbe>>,
}

impl ScanPlan {
    fn new(
        query: &Query,
        model: &LoadedModel,
        placement: &sealdex_core::Placement,
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
                    keep: breadth.candidates,
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

/// Keeps the `keep` candidates of smallest estimate, each row once.
fn keep_best(candidates: &mut Vec<Candidate>, keep: usize) {
    candidates.sort_unstable_by(|a, b| {
        a.estimate
            .total_cmp(&b.estimate)
            .then_with(|| (a.label, a.op).cmp(&(b.label, b.op)))
    });
    candidates.dedup_by(|a, b| (a.label, a.op) == (b.label, b.op));
    candidates.truncate(keep);
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

/// Why an attempt did not finish.
enum Interrupted {
    /// The generation was replaced meanwhile.
    StaleGeneration,
    /// What was found was replaced or deleted before it could be opened.
    Overtaken,
    Failed(ServiceError),
}

impl From<ShardError> for Interrupted {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::StaleGeneration => Interrupted::StaleGeneration,
            error => Interrupted::Failed(error.into()),
        }
    }
}

impl From<ServiceError> for Interrupted {
    fn from(error: ServiceError) -> Self {
        Interrupted::Failed(error)
    }
}

fn check_limits(query: &Query) -> Result<(), ServiceError> {
    let too_large = |what: String| Err(ServiceError::new(ErrorCode::TooLarge, what));
    if query.top_k == 0 {
        return Err(ServiceError::invalid("top_k must be at least 1."));
    }
    if query.vectors.is_empty() {
        return Err(ServiceError::invalid("Send at least one query vector."));
    }
    if query.top_k > limits::TOP_K_MAX {
        return too_large(format!("top_k may be at most {}.", limits::TOP_K_MAX));
    }
    if query.vectors.len() > limits::QUERIES_PER_REQUEST_MAX {
        return too_large(format!(
            "A request may hold at most {} query vectors.",
            limits::QUERIES_PER_REQUEST_MAX
        ));
    }
    let results = query.vectors.len().saturating_mul(query.top_k);
    let values = results.saturating_mul(query.vectors.dimension().get());
    if query.include.vector && values > limits::RESULT_VALUES_PER_REQUEST_MAX && query.vectors.len() > 1 {
        return too_large(format!(
            "A request may ask for vectors of at most {} numbers in all; send fewer queries, lower top_k, or get the vectors by id.",
            limits::RESULT_VALUES_PER_REQUEST_MAX
        ));
    }
    if results > limits::RESULTS_PER_REQUEST_MAX {
        return too_large(format!(
            "A request may ask for at most {} results in all; lower top_k or send fewer queries.",
            limits::RESULTS_PER_REQUEST_MAX
        ));
    }
    Ok(())
}

fn dimension_unknown() -> ServiceError {
    ServiceError::invalid(
        "Index dimension is not set. Upsert vectors first, or create the index with a dimension.",
    )
}
