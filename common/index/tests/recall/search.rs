//! A whole search in memory, as coordinator and shard do it together.

use crate::data::Data;
use sealdex_index::codes::{self, CodesView};
use sealdex_index::distance;
use sealdex_index::model::Model;

/// A model and the packed codes of each cluster's rows.
pub(crate) struct Index {
    model: Model,
    clusters: Vec<(Vec<u32>, Vec<u8>)>,
}

impl Index {
    /// Codes all rows of `data`; without training they go round the pseudo-clusters.
    pub(crate) fn new(model: Model, data: &Data) -> Self {
        let prepared = model.quantiser.prepare_all(&data.rows);
        let rows = prepared.len() / data.dimension;
        let round_robin: Vec<u8> = (0..rows).map(|row| row as u8).collect();
        let assignments = model.assign(&prepared, &round_robin);
        let mut clusters = vec![(Vec::new(), Vec::new()); model.clusters() as usize];
        for ((row, prepared), cluster) in (0u32..)
            .zip(prepared.chunks_exact(data.dimension))
            .zip(assignments)
        {
            let (members, code) = &mut clusters[cluster.0 as usize];
            members.push(row);
            model.encode(prepared, cluster, code);
        }
        for (_, code) in &mut clusters {
            *code = codes::pack(model.quantiser.codec(), model.dimension, code);
        }
        Self { model, clusters }
    }

    /// What part of the `k` nearest of each query is found among `refine` candidates of `n_probes` clusters.
    pub(crate) fn recall(&self, data: &Data, k: usize, n_probes: usize, refine: usize) -> f64 {
        let mut found = 0;
        let queries = data.queries.chunks_exact(data.dimension);
        for query in queries.clone() {
            let distance = |row: u32| {
                let row = &data.rows[row as usize * data.dimension..][..data.dimension];
                distance::exact(self.model.metric, query, row)
            };
            let nearest = |rows: &mut dyn Iterator<Item = u32>| {
                let mut all: Vec<(f64, u32)> = rows.map(|row| (distance(row), row)).collect();
                all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
                all.truncate(k);
                all
            };
            let truth = nearest(&mut (0..(data.rows.len() / data.dimension) as u32));
            let farthest = truth.last().unwrap().0;
            let answer = nearest(&mut self.candidates(query, n_probes, refine).into_iter());
            found += answer
                .iter()
                .filter(|(distance, _)| *distance <= farthest)
                .count();
        }
        found as f64 / (queries.len() * k) as f64
    }

    /// The rows with the least estimates.
    fn candidates(&self, query: &[f32], n_probes: usize, refine: usize) -> Vec<u32> {
        let mut prepared = vec![0.0; query.len()];
        self.model.quantiser.prepare(query, &mut prepared);
        let scorer = self.model.quantiser.scorer(&prepared);
        let mut best: Vec<(f32, u32)> = Vec::new();
        let mut threshold = f32::INFINITY;
        for probe in self.model.route(&prepared, n_probes) {
            let (members, codes) = &self.clusters[probe.cluster.0 as usize];
            let codes = CodesView::parse(self.model.quantiser.codec(), self.model.dimension, codes).unwrap();
            assert_eq!(codes.rows() as usize, members.len());
            scorer.scan(&codes, probe.base, None, threshold, &mut |row, estimate| {
                best.push((estimate, members[row as usize]));
            });
            best.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            if best.len() >= refine {
                best.truncate(refine);
                threshold = best[refine - 1].0;
            }
        }
        best.into_iter().map(|(_, row)| row).collect()
    }
}
