//! Tests of models and what they route to.

use super::*;
use crate::rng::Rng;
use proptest::prelude::*;

fn dimension(n: usize) -> Dimension {
    Dimension::new(n as u64).unwrap()
}

fn rows(count: usize, dimension: usize) -> Vec<f32> {
    let mut rng = Rng::new(9, 0);
    (0..count * dimension).map(|_| rng.unit() as f32 - 0.3).collect()
}

fn trained(metric: Metric, n: usize) -> Model {
    let quantiser = Quantiser::train(dimension(n), metric, &rows(100, n), 1);
    let centroids = Centroids::new(n, quantiser.prepare_all(&rows(5, n)));
    let probing = Probing::everywhere(5);
    let reach = Reach::learn(&[(ClusterNo(0), 1.0), (ClusterNo(3), 2.0)], 5);
    Model {
        generation: Generation(4),
        trained: true,
        metric,
        dimension: dimension(n),
        quantiser,
        centroids,
        probing,
        reach,
        lineage: Lineage::default(),
    }
}

fn models() -> Vec<Model> {
    let metrics = [Metric::Euclidean, Metric::SquaredEuclidean, Metric::Cosine];
    let mut models: Vec<Model> = metrics
        .into_iter()
        .flat_map(|m| [3, 20, 64, 67].map(|n| trained(m, n)))
        .collect();
    let bytes = trained(Metric::Euclidean, 67);
    let quantiser = bytes.quantiser.clone().with_bytes();
    models.push(Model { quantiser, ..bytes });
    models.extend(
        [3, 20, 67].map(|n| Model::untrained(Generation(0), Metric::Cosine, dimension(n), &rows(9, n), 4)),
    );
    models
}

#[test]
fn a_model_comes_back_the_same() {
    for model in models() {
        let bytes = model.to_bytes();
        let back = Model::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes(), bytes);
        assert_eq!(
            (back.generation, back.trained, back.metric),
            (model.generation, model.trained, model.metric)
        );
        let n = model.dimension.get();
        let mut query = vec![0.0; n];
        back.quantiser.prepare(&rows(1, n), &mut query);
        assert_eq!(back.route(&query, 3), model.route(&query, 3));
        let code = |model: &Model| {
            let mut code = Vec::new();
            model.encode(&query, ClusterNo(1), &mut code);
            code
        };
        assert_eq!(code(&back), code(&model));
    }
}

#[test]
fn a_model_without_a_population_is_read_as_it_was_written() {
    for model in models() {
        let mut bytes = model.to_bytes();
        bytes[0] = VERSION_WITHOUT_POPULATION;
        bytes.drain(32..40);
        bytes.truncate(bytes.len() - reach_bytes(&model));
        let back = Model::from_bytes(&bytes).unwrap();
        assert_eq!(back.probing.population(), None);
        let unlimited = Model {
            reach: Reach::unlimited(),
            ..model
        };
        assert_eq!(back.to_bytes(), unlimited.to_bytes());
    }
}

#[test]
fn a_model_without_a_reach_takes_any_row_into_its_nearest_cluster() {
    for model in models() {
        let mut bytes = model.to_bytes();
        bytes[0] = VERSION_WITHOUT_REACH;
        bytes.truncate(bytes.len() - reach_bytes(&model));
        let back = Model::from_bytes(&bytes).unwrap();
        assert!(back.stray_clusters().is_empty());
        assert_eq!(back.centroids.values(), model.centroids.values());
    }
}

fn reach_bytes(model: &Model) -> usize {
    if model.trained {
        1 + 4 * model.centroids.len()
    } else {
        0
    }
}

#[test]
fn strays_are_spread_over_clusters_of_their_own_which_every_query_probes() {
    for metric in [Metric::Euclidean, Metric::Cosine] {
        for n in [3, 20, 64] {
            let model = trained(metric, n);
            let near: Vec<f32> = model.centroids.get(ClusterNo(2)).to_vec();
            let far = vec![900.0; n];
            let rows = [&near[..], &far, &far].concat();
            assert_eq!(
                model.assign(&rows, &[6, 0, 6]),
                [ClusterNo(2), ClusterNo(5), ClusterNo(7)]
            );
            assert_eq!(model.stray_clusters(), 5..9);
            let probes = model.route(&near, 1);
            let probed: Vec<u32> = probes.iter().map(|probe| probe.cluster.0).collect();
            assert_eq!(probed, [2, 5, 6, 7, 8]);
        }
    }
}

#[test]
fn a_stray_is_estimated_as_well_as_any_row() {
    let model = trained(Metric::Euclidean, 20);
    assert_eq!(model.quantiser.codec(), Codec::Int8);
    let (row, query) = (vec![5.0; 20], vec![4.5; 20]);
    let [cluster] = model.assign(&row, &[1])[..] else {
        panic!()
    };
    let mut code = Vec::new();
    model.encode(&row, cluster, &mut code);
    let codes = crate::codes::pack(Codec::Int8, model.dimension, &code);
    let codes = crate::codes::CodesView::parse(Codec::Int8, model.dimension, &codes).unwrap();
    let probes = model.route(&query, 1);
    let base = probes.iter().find(|probe| probe.cluster == cluster).unwrap().base;
    let mut found = Vec::new();
    let scorer = model.quantiser.scorer(&query);
    scorer.scan(&codes, base, None, f32::INFINITY, &mut |_, estimate| {
        found.push(estimate)
    });
    assert!((found[0] - 5.0).abs() < 0.1, "{found:?}, not 20 x 0.5 x 0.5");
}

#[test]
fn bytes_that_are_cut_extended_or_impossible_are_refused() {
    for model in models() {
        let bytes = model.to_bytes();
        for end in [0, 1, 3, 15, 31, 40, bytes.len() / 2, bytes.len() - 1] {
            assert!(Model::from_bytes(&bytes[..end]).is_err());
        }
        assert!(Model::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        let with = |at: usize, value: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + value.len()].copy_from_slice(value);
            Model::from_bytes(&bytes).err()
        };
        assert_eq!(with(0, &[5]), Some(LayoutError::Version(LAYOUT)));
        let damaged = Some(LayoutError::Damaged(LAYOUT));
        assert_eq!(with(1, &[2]), damaged, "trained");
        assert_eq!(with(2, &[3]), damaged, "metric");
        assert_eq!(with(8, &0u32.to_le_bytes()), damaged, "dimension");
        assert_eq!(with(8, &u32::MAX.to_le_bytes()), damaged, "dimension");
        assert_eq!(with(12, &0u32.to_le_bytes()), damaged, "clusters");
        assert_eq!(with(12, &u32::MAX.to_le_bytes()), damaged, "clusters");
        assert_eq!(with(16, &0u32.to_le_bytes()), damaged, "probes");
        assert_eq!(with(41, &f64::NAN.to_le_bytes()), damaged, "scale");
        assert_eq!(with(49, &f32::INFINITY.to_le_bytes()), damaged, "mean");
    }
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(at in 0usize..2_000, value: u8, which in 0usize..16) {
        let models = models();
        let mut bytes = models[which % models.len()].to_bytes();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(model) = Model::from_bytes(&bytes) {
            let query = vec![0.1; model.dimension.get()];
            prop_assert!(model.route(&query, 2).len() <= model.stray_clusters().end as usize);
        }
    }
}

#[test]
fn an_untrained_model_probes_everything() {
    let model = Model::untrained(Generation(0), Metric::Euclidean, dimension(20), &rows(9, 20), 4);
    let probes = model.route(&[0.5; 20], 1);
    let expected: Vec<Probe> = (0..4)
        .map(|n| Probe {
            cluster: ClusterNo(n),
            base: 5.0,
        })
        .collect();
    assert_eq!(probes, expected);
    let flat = Model::untrained(Generation(0), Metric::Euclidean, dimension(2), &rows(9, 2), 0);
    assert_eq!(
        flat.route(&[0.5; 2], 1),
        [Probe {
            cluster: ClusterNo(0),
            base: 0.0
        }]
    );
}

#[test]
fn the_number_of_clusters_follows_the_root() {
    let expected = [
        (0, 8),
        (1, 8),
        (1_000, 32),
        (10_000, 128),
        (60_000, 256),
        (150_000, 512),
        (1_000_000, 1_024),
    ];
    for (rows, clusters) in expected {
        assert_eq!(default_clusters(rows), clusters, "{rows}");
    }
    assert_eq!(default_clusters(u64::MAX), limits::CLUSTERS_MAX);
}
