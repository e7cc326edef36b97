//! Tests of revisions: what they change, and that no row is missed on its way.

use super::*;
use crate::quantiser::Quantiser;
use crate::rng::Rng;
use proptest::prelude::*;
use sealdex_core::{Dimension, Generation, Metric};

const TARGET: f32 = 0.9;

/// `count` rows in clumps around places of a cube of side 8 whose corner is at `corner`.
fn rows(seed: u64, dimension: usize, count: usize, corner: f32) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0);
    let places: Vec<f32> = (0..40 * dimension)
        .map(|_| corner + 8.0 * rng.unit() as f32)
        .collect();
    let mut rows = Vec::with_capacity(count * dimension);
    for _ in 0..count {
        let place = rng.below(40) * dimension;
        rows.extend(
            places[place..place + dimension]
                .iter()
                .map(|middle| middle + rng.unit() as f32),
        );
    }
    rows
}

fn trained(dimension: usize, clusters: usize, sample: &[f32], population: u64) -> Model {
    let size = Dimension::new(dimension as u64).unwrap();
    let quantiser = Quantiser::train(size, Metric::Euclidean, sample, 1);
    let prepared = quantiser.prepare_all(sample);
    let settings = kmeans::Settings {
        clusters,
        max_iterations: 8,
        tolerance: 1e-3,
        batch: None,
        seed: 1,
    };
    let centroids = Centroids::new(dimension, kmeans::balanced(size, &prepared, &settings, &|_| {}));
    let mut model = Model {
        generation: Generation(2),
        trained: true,
        metric: Metric::Euclidean,
        dimension: size,
        quantiser,
        probing: Probing::everywhere(centroids.len()),
        centroids,
        reach: Reach::unlimited(),
        lineage: Lineage::default(),
    };
    let nearest = model.nearest(&prepared);
    let lies: Vec<ClusterNo> = nearest.iter().map(|(cluster, _)| *cluster).collect();
    model.probing = Probing::learn(&model, &prepared, &lies, &[0, 5, 9], population, TARGET).probing;
    model.reach = Reach::learn(&nearest, model.centroids.len());
    model
}

fn revision(model: &Model, rows: &[f32], population: u64) -> Revision {
    let sample = Sample {
        rows: &model.quantiser.prepare_all(rows),
        queries: &(0..50).collect::<Vec<u32>>(),
        population,
    };
    model.revision(&sample, TARGET)
}

/// The model when all steps are done.
fn revised(model: &Model, revision: &Revision) -> Model {
    let steps = revision.steps.iter();
    steps.fold(model.clone(), |model, step| model.begin(step).arrived())
}

fn spread(rows: usize) -> Vec<u8> {
    (0..rows).map(|row| row as u8).collect()
}

fn sizes(model: &Model, rows: &[f32]) -> Vec<usize> {
    let mut sizes = vec![0; model.all_clusters() as usize];
    let prepared = model.quantiser.prepare_all(rows);
    for cluster in model.assign(&prepared, &spread(rows.len() / model.dimension.get())) {
        sizes[cluster.0 as usize] += 1;
    }
    sizes
}

#[test]
fn clusters_that_have_grown_are_split_and_all_others_stay() {
    for dimension in [4, 20, 64] {
        let all = rows(1, dimension, 6_000, 0.0);
        let model = trained(dimension, 50, &all[..2_000 * dimension], 2_000);
        let revision = revision(&model, &all, 6_000);
        let after = revised(&model, &revision);
        assert!(
            after.clusters() > model.clusters(),
            "{} clusters",
            after.clusters()
        );
        let suits = 2_000.0 / 50.0 * 3f64.sqrt();
        let largest = sizes(&after, &all).into_iter().max().unwrap() as f64;
        assert!(largest < 2.0 * SPLIT_FROM * suits, "{largest} rows, {suits} suit");
        let kept =
            (0..after.clusters()).filter(|cluster| after.number(ClusterNo(*cluster)) < model.clusters());
        for cluster in kept {
            let number = ClusterNo(after.number(ClusterNo(cluster)));
            assert_eq!(
                after.centroids.get(ClusterNo(cluster)),
                model.centroids.get(number)
            );
        }
        let as_before = model.probing.n_probes(10, 2_000) * after.centroids.len() / model.centroids.len();
        assert!(
            after.probing.n_probes(10, 2_000) >= as_before,
            "as large a part is looked into"
        );
        assert_eq!(revision.learned.probing.population(), Some(6_000));
        assert!(!after.is_moving() && after.sources().next().is_none());
    }
}

#[test]
fn an_index_that_suits_its_clusters_keeps_them() {
    let all = rows(2, 20, 4_000, 0.0);
    let model = trained(20, 64, &all, 4_000);
    let splits: usize = revision(&model, &all, 4_000)
        .steps
        .iter()
        .map(|step| step.leaving.len())
        .sum();
    assert!(
        splits <= model.centroids.len() / 8,
        "{splits} of {}",
        model.centroids.len()
    );
}

#[test]
fn strays_get_clusters_of_their_own() {
    for dimension in [4, 20, 64] {
        let before = rows(3, dimension, 2_000, 0.0);
        let model = trained(dimension, 50, &before, 2_000);
        let elsewhere = rows(4, dimension, 1_000, 40.0);
        assert_eq!(
            sizes(&model, &elsewhere)[model.clusters() as usize..]
                .iter()
                .sum::<usize>(),
            1_000
        );
        let all = [before, elsewhere.clone()].concat();
        let after = revised(&model, &revision(&model, &all, 3_000));
        let sizes = sizes(&after, &elsewhere);
        let strays: usize = sizes[after.clusters() as usize..].iter().sum();
        assert!(strays < 50, "{strays} of 1,000 are strays still");
        assert!(after.clusters() > model.clusters() + 3);
    }
}

#[test]
fn clusters_that_are_nearly_empty_are_given_up_and_some_are_left() {
    let before = rows(5, 20, 4_000, 0.0);
    let model = trained(20, 80, &before, 4_000);
    // What is left lies around a few places.
    let prepared = model.quantiser.prepare_all(&before);
    let left: Vec<f32> = before
        .chunks_exact(20)
        .zip(model.nearest(&prepared))
        .filter(|(_, (cluster, _))| cluster.0 < 20)
        .flat_map(|(row, _)| row.to_vec())
        .collect();
    let count = left.len() / 20;
    let after = revised(&model, &revision(&model, &left, count as u64));
    assert!(
        (CLUSTERS_LEFT_MIN as u32..60).contains(&after.clusters()),
        "{}",
        after.clusters()
    );
    let strays: usize = sizes(&after, &left)[after.clusters() as usize..].iter().sum();
    assert!(strays < count / 10, "{strays} of {count}");
}

#[test]
fn who_looks_everywhere_looks_into_what_is_given_up_too() {
    let model = trained(20, 80, &rows(8, 20, 4_000, 0.0), 4_000);
    let moving = model.begin(&Step {
        leaving: (0..5).collect(),
        centroids: Vec::new(),
        reach: Vec::new(),
    });
    // As far from what is given up as from anything else, and nothing is new.
    for away in [-900.0, 0.0, 900.0] {
        let query = model.quantiser.prepare_all(&[away; 20]);
        let probed = moving.route(&query, moving.clusters() as usize);
        assert_eq!(probed.len(), moving.all_clusters() as usize, "from {away}");
    }
}

#[test]
fn a_revised_model_comes_back_the_same_whether_rows_are_moving_or_not() {
    let all = rows(6, 20, 3_000, 0.0);
    let model = trained(20, 20, &all[..20 * 1_000], 1_000);
    assert_eq!(model.to_bytes()[0], 3, "who knows no revisions can read it");
    let revision = revision(&model, &all, 3_000);
    let moving = model.begin(&revision.steps[0]);
    assert!(moving.is_moving() && moving.sources().count() > 0);
    let query = model.quantiser.prepare_all(&all[..20]);
    for model in [moving.clone(), moving.arrived()] {
        let bytes = model.to_bytes();
        let back = Model::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes(), bytes);
        assert_eq!(back.route(&query, 2), model.route(&query, 2));
        assert!(back.sources().eq(model.sources()));
        for end in [bytes.len() - 1, bytes.len() - 5, bytes.len() / 2] {
            assert!(Model::from_bytes(&bytes[..end]).is_err());
        }
    }
}

#[test]
fn a_number_is_never_given_twice() {
    let all = rows(7, 4, 9_000, 0.0);
    let mut model = trained(4, 12, &all[..4 * 1_000], 1_000);
    let mut given: BTreeSet<u32> = (0..model.all_clusters()).collect();
    for count in [3_000, 9_000] {
        let revision = revision(&model, &all[..4 * count], count as u64);
        for step in &revision.steps {
            let first_new = model.clusters() - step.leaving.len() as u32;
            model = model.begin(step);
            for place in first_new..model.clusters() {
                assert!(given.insert(model.number(ClusterNo(place))));
            }
            let numbers: BTreeSet<u32> = (0..model.all_clusters())
                .map(|n| model.number(ClusterNo(n)))
                .collect();
            assert_eq!(numbers.len(), model.all_clusters() as usize);
            model = model.arrived();
        }
    }
    assert!(given.len() > 40);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A row lies where the model before put it, or where this one does; whoever asks for its own vector looks into both,
    /// however few clusters the query looks into.
    #[test]
    fn no_row_is_missed_on_its_way(seed in 1u64..1_000, dimension in prop::sample::select(vec![2usize, 5, 20, 64]), grown in 2usize..5) {
        let before = rows(seed, dimension, 600, 0.0);
        let more = rows(seed + 1, dimension, 300 * grown, 3.0);
        let all = [before.clone(), more].concat();
        let count = all.len() / dimension;
        let mut model = trained(dimension, 16, &before, 600);
        let revision = revision(&model, &all, count as u64);
        let prepared = model.quantiser.prepare_all(&all);
        // Where each row lies, by number.
        let places = |model: &Model| -> Vec<u32> {
            let assigned = model.assign(&prepared, &spread(count));
            assigned.into_iter().map(|cluster| model.number(cluster)).collect()
        };
        let mut lies = places(&model);
        for step in &revision.steps {
            let moving = model.begin(step);
            let sources: Vec<u32> = moving.sources().map(|cluster| moving.number(cluster)).collect();
            let by_number: HashMap<u32, ClusterNo> =
                (0..moving.all_clusters()).map(|n| (moving.number(ClusterNo(n)), ClusterNo(n))).collect();
            let goes = moving.assign(&prepared, &spread(count));
            for (row, (from, to)) in prepared.chunks_exact(dimension).zip(lies.iter_mut().zip(goes)) {
                let source = by_number[from];
                if sources.contains(from) && moving.moves(source, to) {
                    let probed: Vec<u32> =
                        moving.route(row, 1).iter().map(|probe| moving.number(probe.cluster)).collect();
                    prop_assert!(probed.contains(from), "{from} is not among {probed:?}");
                    prop_assert!(probed.contains(&moving.number(to)));
                    *from = moving.number(to);
                }
            }
            model = moving.arrived();
            for from in &lies {
                prop_assert!((0..model.all_clusters()).any(|n| model.number(ClusterNo(n)) == *from), "{from} is gone");
            }
        }
    }
}
