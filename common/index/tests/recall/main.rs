//! Recall of the whole chain: prepare, cluster, code, route, scan, refine. On clustered vectors, because uniform ones
//! have no neighbours worth finding.
#![allow(clippy::unwrap_used)]

mod data;
mod search;

use data::Data;
use sealdex_core::{ClusterNo, Dimension, Generation, Metric};
use sealdex_index::kmeans::{self, Settings};
use sealdex_index::model::{Centroids, Lineage, Model, Probing, Reach};
use sealdex_index::quantiser::{Codec, Quantiser};
use search::Index;

const ROWS: usize = 20_000;
const QUERIES: usize = 300;

fn dimension(n: usize) -> Dimension {
    Dimension::new(n as u64).unwrap()
}

/// A model of `clusters` clusters, trained on all of `data`, with learned probing.
fn trained(data: &Data, metric: Metric, clusters: usize) -> (Model, [f32; 2]) {
    let dimension = dimension(data.dimension);
    let quantiser = Quantiser::train(dimension, metric, &data.rows, 7);
    let prepared = quantiser.prepare_all(&data.rows);
    let settings = Settings {
        clusters,
        max_iterations: 12,
        tolerance: 1e-3,
        batch: None,
        seed: 7,
    };
    let centroids = Centroids::new(
        data.dimension,
        kmeans::balanced(dimension, &prepared, &settings, &|_| {}),
    );
    let probing = Probing::everywhere(centroids.len());
    let mut model = Model {
        generation: Generation(1),
        trained: true,
        metric,
        dimension,
        quantiser,
        centroids,
        probing,
        reach: Reach::unlimited(),
        lineage: Lineage::default(),
    };
    let assignments: Vec<ClusterNo> = model
        .nearest(&prepared)
        .into_iter()
        .map(|(cluster, _)| cluster)
        .collect();
    let rows = assignments.len() as u32;
    let queries: Vec<u32> = (0..rows).step_by(rows.div_ceil(500) as usize).collect();
    let learned = Probing::learn(&model, &prepared, &assignments, &queries, rows.into(), 0.95);
    model.probing = learned.probing;
    (model, learned.recall)
}

#[test]
fn an_untrained_index_is_nearly_exact() {
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let data = Data::clustered(ROWS, QUERIES, 96, 1);
        let model = Model::untrained(Generation(0), metric, dimension(96), &data.rows[..96 * 1_000], 16);
        assert_eq!(model.quantiser.codec(), Codec::Int8);
        let recall = Index::new(model, &data).recall(&data, 10, usize::MAX, 40);
        println!("untrained {metric:?}: {recall}");
        assert!(recall >= 0.99, "{metric:?}: {recall}");
    }
}

#[test]
fn a_trained_index_loses_little_to_its_codes() {
    let data = Data::clustered(ROWS, QUERIES, 96, 2);
    for metric in [Metric::SquaredEuclidean, Metric::Cosine] {
        let (model, _) = trained(&data, metric, 128);
        assert_eq!(model.quantiser.codec(), Codec::Pq4);
        let clusters = model.centroids.len();
        let index = Index::new(model, &data);
        for refine in [40, 100] {
            let recall = index.recall(&data, 10, clusters, refine);
            println!("trained {metric:?}, refine {refine}: {recall}");
            assert!(recall >= 0.97, "{metric:?}, {refine} refined: {recall}");
        }
    }
}

#[test]
fn learned_probing_reaches_its_target_without_probing_everything() {
    let data = Data::clustered(ROWS, QUERIES, 96, 3);
    for metric in [Metric::Euclidean, Metric::Cosine] {
        let (model, promised) = trained(&data, metric, 128);
        let (probing, clusters) = (model.probing.clone(), model.centroids.len());
        let index = Index::new(model, &data);
        for (k, promised) in [10, 100].into_iter().zip(promised) {
            let (n_probes, refine) = (probing.n_probes(k, ROWS as u64), probing.refine(k, ROWS as u64));
            let recall = index.recall(&data, k, n_probes, refine);
            println!(
                "learned {metric:?}, k {k}: {n_probes} of {clusters}, refine {refine}: {recall}, promised {promised}"
            );
            assert!(
                recall >= 0.95,
                "{metric:?}, k {k}: {recall} with {n_probes} probes, {refine} refined"
            );
            // A hundred neighbours of clusters of 156 rows lie in most of the clusters; ten do not.
            let most = if k == 10 { clusters * 3 / 4 } else { clusters - 1 };
            assert!(n_probes <= most, "{metric:?}, k {k}: {n_probes} of {clusters}");
        }
    }
}

#[test]
fn every_codec_finds_what_it_holds() {
    for n in [1, 2, 3, 15, 16, 17, 33, 63, 64, 65, 97] {
        let data = Data::clustered(2_000, 50, n, 4);
        let (model, _) = trained(&data, Metric::Euclidean, 16);
        let (codec, clusters) = (model.quantiser.codec(), model.centroids.len());
        let recall = Index::new(model, &data).recall(&data, 10, clusters, 100);
        assert!(recall >= 0.97, "{n} dimensions as {codec:?}: {recall}");
    }
}

#[test]
fn size_does_not_matter() {
    for scale in [1e-20, 1e15] {
        let mut data = Data::clustered(2_000, 50, 64, 5);
        data.rows
            .iter_mut()
            .chain(&mut data.queries)
            .for_each(|value| *value *= scale);
        let (model, _) = trained(&data, Metric::Euclidean, 16);
        let clusters = model.centroids.len();
        let recall = Index::new(model, &data).recall(&data, 10, clusters, 100);
        assert!(recall >= 0.97, "scale {scale}: {recall}");
        let model = Model::untrained(Generation(0), Metric::Euclidean, dimension(64), &data.rows, 4);
        let recall = Index::new(model, &data).recall(&data, 10, 4, 40);
        assert!(recall >= 0.97, "untrained, scale {scale}: {recall}");
    }
}
