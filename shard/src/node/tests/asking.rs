//! Asking the node the way a coordinator does it, and an oracle that searches exhaustively.

use super::bench::{Bench, GENERATION, Item, target};
use sealdex_core::{ClusterLabel, ItemLabel, Op, PartitionId};
use sealdex_index::dataplane::{Candidate, ClusterProbe, ResolveRequest, ScanQuery, ScanReply, ScanRequest};
use sealdex_index::distance::answered;
use sealdex_index::filter::Filter;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Bench {
    /// Scan requests for all queries together, one for each partition that has a probed cluster.
    pub(super) fn scans(
        &self,
        queries: &[Vec<f32>],
        filter: Option<&Value>,
        keep: usize,
        n_probes: usize,
    ) -> Vec<ScanRequest> {
        let mut probes: BTreeMap<PartitionId, BTreeMap<ClusterLabel, Vec<(u32, f32)>>> = BTreeMap::new();
        let mut prepared = vec![0.0; self.model.dimension.get()];
        let mut scan_queries = Vec::new();
        for (n, query) in (0..).zip(queries) {
            self.model.quantiser.prepare(query, &mut prepared);
            for probe in self.model.route(&prepared, n_probes) {
                let cluster = self.cluster(probe.cluster);
                let of_partition = probes.entry(self.placement.of_cluster(&cluster)).or_default();
                of_partition.entry(cluster).or_default().push((n, probe.base));
            }
            let filter = filter.map(|filter| Filter::parse(filter).unwrap().unwrap());
            scan_queries.push(ScanQuery {
                scorer: self.model.quantiser.scorer(&prepared),
                filter,
                keep,
            });
        }
        let queries: Arc<[ScanQuery]> = scan_queries.into();
        let request =
            |(partition, probes): (PartitionId, BTreeMap<ClusterLabel, Vec<(u32, f32)>>)| ScanRequest {
                target: target(partition),
                generation: GENERATION,
                probes: probes
                    .into_iter()
                    .map(|(cluster, asked_by)| ClusterProbe { cluster, asked_by })
                    .collect(),
                queries: Arc::clone(&queries),
                since: None,
            };
        probes.into_iter().map(request).collect()
    }

    /// Scans all partitions and merges.
    pub(super) async fn scan(
        &self,
        queries: &[Vec<f32>],
        filter: Option<&Value>,
        keep: usize,
        n_probes: usize,
    ) -> ScanReply {
        let mut merged = ScanReply {
            candidates: vec![Vec::new(); queries.len()],
            scored: vec![0; queries.len()],
        };
        for request in self.scans(queries, filter, keep, n_probes) {
            let reply = self.node.scan(request).await.unwrap();
            for (n, found) in reply.candidates.into_iter().enumerate() {
                assert!(found.len() <= keep && found.is_sorted_by(|a, b| a.estimate <= b.estimate));
                merged.candidates[n].extend(found);
                merged.scored[n] += reply.scored[n];
            }
        }
        for candidates in &mut merged.candidates {
            candidates.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
            candidates.truncate(keep);
        }
        merged
    }

    /// Exact distances of one query's candidates; those that are not current are left out. Nearest first.
    pub(super) async fn resolve(&self, query: &[f32], candidates: &[Candidate]) -> Vec<(f64, ItemLabel)> {
        let mut by_home: BTreeMap<PartitionId, Vec<(u32, ItemLabel, Op)>> = BTreeMap::new();
        for Candidate { label, op, .. } in candidates {
            by_home
                .entry(self.placement.of_item(label))
                .or_default()
                .push((0, *label, *op));
        }
        let mut found = Vec::new();
        for (partition, candidates) in by_home {
            let request = self.resolve_request(partition, query, candidates.clone());
            let distances = self.node.resolve(request).await.unwrap();
            assert_eq!(distances.len(), candidates.len());
            let current = candidates
                .iter()
                .zip(distances)
                .filter_map(|((_, label, op), resolved)| {
                    let resolved = resolved.filter(|resolved| resolved.op == *op)?;
                    Some((resolved.distance, *label))
                });
            found.extend(current);
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found
    }

    pub(super) fn resolve_request(
        &self,
        partition: PartitionId,
        queries: &[f32],
        candidates: Vec<(u32, ItemLabel, Op)>,
    ) -> ResolveRequest {
        ResolveRequest {
            target: target(partition),
            metric: self.model.metric,
            precision: self.precision,
            queries: queries.into(),
            dimension: self.model.dimension,
            candidates,
            filter: None,
            since: None,
        }
    }

    /// The nearest items by exhaustive search.
    pub(super) fn nearest(&self, query: &[f32], k: usize, colour: Option<u64>) -> Vec<(f64, ItemLabel)> {
        let matching = self
            .items
            .iter()
            .filter(|(_, item)| colour.is_none_or(|colour| colour == item.colour));
        let distance = |item: &Item| answered(self.model.metric, query, &item.vector);
        let mut all: Vec<(f64, ItemLabel)> = matching
            .map(|(id, item)| (distance(item), self.labels.item(id)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        all
    }

    /// The share of the `k` nearest that a query finds when it resolves `keep` candidates.
    pub(super) async fn recall(
        &self,
        queries: &[Vec<f32>],
        colour: Option<u64>,
        (k, keep, n_probes): (usize, usize, usize),
    ) -> f64 {
        let filter = colour.map(|colour| json!({ "colour": colour }));
        let reply = self.scan(queries, filter.as_ref(), keep, n_probes).await;
        let mut hits = 0;
        let mut wanted = 0;
        for (query, candidates) in queries.iter().zip(&reply.candidates) {
            let mut found = self.resolve(query, candidates).await;
            found.truncate(k);
            let nearest = self.nearest(query, k, colour);
            hits += nearest
                .iter()
                .filter(|(_, label)| found.iter().any(|(_, found)| found == label))
                .count();
            wanted += nearest.len();
        }
        hits as f64 / wanted as f64
    }
}
