//! A few rows far away from all others must not blunt the codes of the others.
#![allow(clippy::unwrap_used)]

use sealdex_core::{Dimension, Metric};
use sealdex_index::codes::{self, CodesView};
use sealdex_index::distance;
use sealdex_index::quantiser::Quantiser;

const DIMENSION: usize = 96;
const ROWS: usize = 4_000;
const OUTLIERS: usize = 16;

/// Numbers in -1..1, the same in every run.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn recall_of_estimates(rows: &[f32], queries: &[f32], candidates: usize) -> f64 {
    let dimension = Dimension::new(DIMENSION as u64).unwrap();
    let quantiser = Quantiser::train(dimension, Metric::Euclidean, rows, 1);
    let prepared = quantiser.prepare_all(rows);
    let mut coded = Vec::new();
    for row in prepared.chunks_exact(DIMENSION) {
        quantiser.encode(row, &[0.0; DIMENSION], &mut coded);
    }
    let packed = codes::pack(quantiser.codec(), dimension, &coded);
    let view = CodesView::parse(quantiser.codec(), dimension, &packed).unwrap();
    let mut found = 0;
    for query in queries.chunks_exact(DIMENSION) {
        let mut prepared = vec![0.0; DIMENSION];
        quantiser.prepare(query, &mut prepared);
        let mut estimates = Vec::new();
        quantiser
            .scorer(&prepared)
            .scan(&view, 0.0, None, f32::INFINITY, &mut |row, estimate| {
                estimates.push((estimate, row));
            });
        estimates.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut exact: Vec<(f64, u32)> = rows
            .chunks_exact(DIMENSION)
            .zip(0..)
            .map(|(row, n)| (distance::exact(Metric::Euclidean, query, row), n))
            .collect();
        exact.sort_by(|a, b| a.0.total_cmp(&b.0));
        let kept = &estimates[..candidates];
        found += exact[..10]
            .iter()
            .filter(|(_, row)| kept.iter().any(|(_, other)| other == row))
            .count();
    }
    found as f64 / (queries.len() / DIMENSION * 10) as f64
}

#[test]
fn a_few_outliers_leave_the_codes_sharp() {
    let mut rows = noise(1, ROWS * DIMENSION);
    let queries = noise(2, 50 * DIMENSION);
    let without = recall_of_estimates(&rows, &queries, 100);
    rows.extend(
        noise(3, OUTLIERS * DIMENSION)
            .iter()
            .map(|value| value * 10.0 - 2_000.0),
    );
    let with = recall_of_estimates(&rows, &queries, 100);
    assert!(without >= 0.9, "{without}");
    assert!(with >= without - 0.05, "{with} with outliers, {without} without");
}
