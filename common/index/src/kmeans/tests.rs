//! Tests of k-means.

use super::*;
use rayon::ThreadPoolBuilder;

const DIMENSION: usize = 32;

fn settings(clusters: usize, batch: Option<usize>) -> Settings {
    Settings {
        clusters,
        max_iterations: 20,
        tolerance: 1e-4,
        batch,
        seed: 5,
    }
}

fn dimension(n: usize) -> Dimension {
    Dimension::new(n as u64).unwrap()
}

/// Blobs of very different weight: half of all rows in the first of 40.
fn uneven(rows: usize) -> Vec<f32> {
    let mut rng = Rng::new(11, 0);
    let mut normal = move || (0..12).map(|_| rng.unit() as f32).sum::<f32>() - 6.0;
    let centres: Vec<f32> = (0..40 * DIMENSION).map(|_| 2.0 * normal()).collect();
    let mut pick = Rng::new(12, 0);
    let mut row = || {
        let centre = if pick.unit() < 0.5 { 0 } else { pick.below(40) };
        let centre = &centres[centre * DIMENSION..][..DIMENSION];
        centre.iter().map(|value| value + normal()).collect::<Vec<f32>>()
    };
    (0..rows).flat_map(|_| row()).collect()
}

fn sizes(dimension: usize, sample: &[f32], centroids: &[f32]) -> Vec<usize> {
    let nearest = assign(dimension, sample, centroids, &half_squares(dimension, centroids));
    Members::of(&nearest, centroids.len() / dimension).sizes()
}

fn error(dimension: usize, sample: &[f32], centroids: &[f32]) -> f64 {
    mean_error(&assign(
        dimension,
        sample,
        centroids,
        &half_squares(dimension, centroids),
    ))
}

#[test]
fn no_cluster_is_empty_or_far_above_the_mean() {
    let sample = uneven(12_000);
    for batch in [None, Some(2_000)] {
        let centroids = balanced(dimension(DIMENSION), &sample, &settings(100, batch), &|_| {});
        let sizes = sizes(DIMENSION, &sample, &centroids);
        assert!(sizes.len() > 90 && sizes.len() <= 100);
        assert!(sizes.iter().all(|size| *size > 0));
        assert!(
            *sizes.iter().max().unwrap() <= 3 * 12_000 / sizes.len(),
            "{batch:?}: {sizes:?}"
        );
    }
}

#[test]
fn iterations_lower_the_error() {
    let sample = uneven(6_000);
    let after = |iterations, batch| {
        let settings = Settings {
            max_iterations: iterations,
            tolerance: 0.0,
            ..settings(64, batch)
        };
        error(
            DIMENSION,
            &sample,
            &balanced(dimension(DIMENSION), &sample, &settings, &|_| {}),
        )
    };
    let (seeded, batches, whole) = (after(0, None), after(40, Some(1_000)), after(20, None));
    assert!(whole < 0.97 * seeded, "{whole} after, {seeded} before");
    assert!(batches < 1.1 * whole, "{batches} in batches, {whole} as a whole");
}

#[test]
fn the_outcome_depends_on_the_seed_alone() {
    let sample = uneven(5_000);
    for batch in [None, Some(700)] {
        let run = |threads: usize, seed: u64| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let settings = Settings {
                seed,
                ..settings(50, batch)
            };
            pool.install(|| balanced(dimension(DIMENSION), &sample, &settings, &|_| {}))
        };
        let once = run(1, 5);
        assert_eq!(once, run(5, 5));
        assert_ne!(once, run(1, 6));
    }
}

#[test]
fn equal_rows_share_a_centroid() {
    let centroids = balanced(dimension(3), &[7.0; 3 * 500], &settings(20, None), &|_| {});
    assert_eq!(centroids, [7.0; 3]);
    let two: Vec<f32> = (0..400).map(|i| (i % 2) as f32).collect();
    let mut centroids = balanced(dimension(1), &two, &settings(10, None), &|_| {});
    centroids.sort_by(f32::total_cmp);
    assert_eq!(centroids, [0.0, 1.0]);
}

#[test]
fn fewer_rows_than_clusters_are_their_own_centroids() {
    let centroids = balanced(
        dimension(2),
        &[0.0, 0.0, 5.0, 5.0, 9.0, 0.0],
        &settings(8, None),
        &|_| {},
    );
    assert_eq!(sizes(2, &[0.0, 0.0, 5.0, 5.0, 9.0, 0.0], &centroids), [1, 1, 1]);
}

#[test]
fn progress_rises_to_one() {
    let seen = std::cell::RefCell::new(Vec::new());
    balanced(dimension(DIMENSION), &uneven(500), &settings(10, None), &|part| {
        seen.borrow_mut().push(part)
    });
    let seen = seen.into_inner();
    assert!(
        seen.is_sorted() && seen[0] > 0.0 && seen.last() == Some(&1.0),
        "{seen:?}"
    );
}
