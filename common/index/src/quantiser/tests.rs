//! Tests of quantisers and their codes.

use super::*;
use crate::codes::{self, CodesView};
use crate::columns::{Columns, ColumnsBuilder, RowSet};
use crate::distance::squared;
use crate::filter::Filter;
use crate::metadata::Metadata;
use crate::rng::Rng;
use proptest::prelude::*;

fn dimension(n: usize) -> Dimension {
    Dimension::new(n as u64).unwrap()
}

fn vectors(rng: &mut Rng, count: usize, dimension: usize) -> Vec<f32> {
    (0..count * dimension).map(|_| rng.unit() as f32 - 0.5).collect()
}

fn all_codecs(n: usize, metric: Metric, sample: &[f32]) -> [Quantiser; 2] {
    [
        Quantiser::untrained(dimension(n), metric, sample),
        Quantiser::train(dimension(n), metric, sample, 1),
    ]
}

fn pack(quantiser: &Quantiser, prepared: &[f32], centroid: &[f32]) -> Vec<u8> {
    let mut rows = Vec::new();
    for row in prepared.chunks_exact(centroid.len()) {
        let before = rows.len();
        quantiser.encode(row, centroid, &mut rows);
        assert_eq!(rows.len() - before, quantiser.row_bytes());
    }
    codes::pack(quantiser.codec(), quantiser.dimension(), &rows)
}

fn scan(
    isa: Isa,
    quantiser: &Quantiser,
    packed: &[u8],
    query: &[f32],
    base: f32,
    selected: Option<&RowSet>,
    threshold: f32,
) -> Vec<(u32, f32)> {
    let codes = CodesView::parse(quantiser.codec(), quantiser.dimension(), packed).unwrap();
    let mut seen = Vec::new();
    let scorer = quantiser.scorer(query);
    scorer.scan_with(isa, &codes, base, selected, threshold, &mut |row, estimate| {
        seen.push((row, estimate))
    });
    seen
}

/// Each row with a chance of a third, by way of a filter.
fn some_rows(rng: &mut Rng, count: usize) -> RowSet {
    let mut columns = ColumnsBuilder::default();
    for _ in 0..count {
        let metadata = serde_json::json!({"keep": rng.below(3) == 0});
        columns.push(&Metadata::new(metadata.as_object().unwrap().clone()).unwrap());
    }
    let columns = columns.finish();
    let filter = Filter::parse(&serde_json::json!({"keep": true}))
        .unwrap()
        .unwrap();
    filter.select(&Columns::parse(&columns).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_set_reports_the_rows_below_the_threshold(
        n in prop_oneof![1usize..140, 1_020usize..1_030], count in 1usize..150, seed: u64, part in 0.0f64..1.1,
    ) {
        let mut rng = Rng::new(seed, 0);
        let rows = vectors(&mut rng, count, n);
        let selected = some_rows(&mut rng, count);
        for quantiser in all_codecs(n, Metric::Euclidean, &rows) {
            let (prepared, centroid) = (quantiser.prepare_all(&rows), vectors(&mut rng, 1, n));
            let packed = pack(&quantiser, &prepared, &centroid);
            let query = vectors(&mut rng, 1, n);
            let base = squared(&query, &centroid);
            let all = scan(Isa::available()[0], &quantiser, &packed, &query, base, None, f32::INFINITY);
            prop_assert!(all.iter().map(|(row, _)| *row).eq(0..count as u32));
            let mut sorted: Vec<f32> = all.iter().map(|(_, estimate)| *estimate).collect();
            sorted.sort_by(f32::total_cmp);
            let place = (count as f64 * part) as usize;
            let threshold = sorted.get(place).copied().unwrap_or(f32::INFINITY);
            let below: Vec<(u32, f32)> = all.into_iter().filter(|(_, estimate)| *estimate < threshold).collect();
            let chosen: Vec<(u32, f32)> = below.iter().copied().filter(|(row, _)| selected.contains(*row)).collect();
            for isa in Isa::available() {
                prop_assert_eq!(&scan(isa, &quantiser, &packed, &query, base, None, threshold), &below);
                prop_assert_eq!(
                    &scan(isa, &quantiser, &packed, &query, base, Some(&selected), threshold), &chosen
                );
                prop_assert!(scan(isa, &quantiser, &packed, &query, base, None, f32::NAN).is_empty());
            }
        }
    }

    #[test]
    fn rows_score_the_same_in_blocks_and_by_themselves(n in 64usize..150, seed: u64) {
        let mut rng = Rng::new(seed, 0);
        let rows = vectors(&mut rng, 40, n);
        let quantiser = Quantiser::train(dimension(n), Metric::Cosine, &rows, seed);
        let (prepared, query, centroid) = (quantiser.prepare_all(&rows), vectors(&mut rng, 1, n), vec![0.0; n]);
        let isa = Isa::best();
        let together = scan(isa, &quantiser, &pack(&quantiser, &prepared, &centroid), &query, 0.0, None, f32::MAX);
        for (row, (number, estimate)) in prepared.chunks_exact(n).zip(together) {
            let alone = scan(isa, &quantiser, &pack(&quantiser, row, &centroid), &query, 0.0, None, f32::MAX);
            prop_assert_eq!(alone, [(0, estimate)], "row {}", number);
        }
    }
}

/// A code misses its row by half a step per dimension at most, and what that does to a distance grows with the distance:
/// by Cauchy and Schwarz at most twice the product, nothing for a query that equals the row.
#[test]
fn bytes_estimate_distances_within_their_steps() {
    let mut rng = Rng::new(2, 0);
    for n in [17, 20, 63, 384] {
        let rows = vectors(&mut rng, 200, n);
        let quantiser = Quantiser::untrained(dimension(n), Metric::SquaredEuclidean, &rows);
        let (prepared, centroid) = (quantiser.prepare_all(&rows), vectors(&mut rng, 1, n));
        let packed = pack(&quantiser, &prepared, &centroid);
        let near: Vec<f32> = prepared[..n].iter().map(|value| value * 1.05).collect();
        for query in [&prepared[..n], &near, &vectors(&mut rng, 1, n)] {
            let base = squared(query, &centroid);
            for (row, estimate) in scan(Isa::best(), &quantiser, &packed, query, base, None, f32::INFINITY) {
                let row = &prepared[row as usize * n..][..n];
                let largest = row
                    .iter()
                    .zip(&centroid)
                    .map(|(x, c)| (x - c).abs())
                    .fold(0.0, f32::max);
                let missed = largest / 127.0 / 2.0 * (n as f32).sqrt();
                let exact = squared(query, row);
                let allowed = 2.0 * exact.sqrt() * missed + 1e-5 * (exact + base);
                assert!(
                    (estimate - exact).abs() <= allowed,
                    "{n}: {estimate}, not {exact}"
                );
            }
        }
    }
}

#[test]
fn vectors_are_prepared_for_their_metric() {
    let prepare = |metric: Metric, sample: &[f32], v: &[f32]| {
        let mut out = [f32::NAN; 2];
        Quantiser::untrained(dimension(2), metric, sample).prepare(v, &mut out);
        out
    };
    // Scaled to length 1, the sample is (0.6, 0.8), (-0.6, 0.8).
    let sample = [3.0, 4.0, -6.0, 8.0];
    let [x, y] = prepare(Metric::Cosine, &sample, &[30.0, 40.0]);
    assert!((x - 0.6).abs() < 1e-6 && y.abs() < 1e-6);
    // Without a direction it takes one, of length 1 too.
    let [x, y] = prepare(Metric::Cosine, &sample, &[0.0, 0.0]);
    assert!((x.hypot(y + 0.8) - 1.0).abs() < 1e-6);
    // The root mean square length is 6.5, the nearest power of two 8.
    let sample = [3.0, 4.0, 0.0, 0.0, -6.0, 8.0];
    assert_eq!(prepare(Metric::Euclidean, &sample, &[7.0, 4.0]), [1.0, 0.0]);
}

#[test]
fn no_vector_is_too_large_or_small_to_be_found() {
    let extremes = [f32::MAX, -f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.0, 1.0];
    for n in [2, 20, 70] {
        for (sample, query) in extremes
            .iter()
            .flat_map(|a| extremes.map(|b| (vec![*a; 3 * n], vec![b; n])))
        {
            for metric in [Metric::Euclidean, Metric::Cosine] {
                for quantiser in all_codecs(n, metric, &sample) {
                    let rows = [&sample[..n], &query, &vec![1e20; n]].concat();
                    let prepared = quantiser.prepare_all(&rows);
                    assert!(prepared.iter().all(|value| value.is_finite()));
                    let packed = pack(&quantiser, &prepared, &vec![0.0; n]);
                    let query = &prepared[n..2 * n];
                    let base = squared(query, &vec![0.0; n]);
                    let found = scan(Isa::best(), &quantiser, &packed, query, base, None, f32::INFINITY);
                    assert_eq!(found.len(), 3, "{metric:?} of {n} dimensions: {found:?}");
                }
            }
        }
    }
}

#[test]
fn the_longest_queries_fit_their_integers() {
    let n = 16_384;
    for value in [1.0, 1e-30, 1e15] {
        let rows = vec![value; n];
        let quantiser = Quantiser::untrained(dimension(n), Metric::Euclidean, &vec![0.0; n]);
        let mut prepared = vec![0.0; n];
        quantiser.prepare(&rows, &mut prepared);
        let packed = pack(&quantiser, &prepared, &vec![0.0; n]);
        let base = squared(&prepared, &vec![0.0; n]);
        let found = scan(
            Isa::best(),
            &quantiser,
            &packed,
            &prepared,
            base,
            None,
            f32::INFINITY,
        );
        assert!(found[0].1.abs() <= 1e-3 * base, "{value}: {found:?} of {base}");
    }
}

#[test]
fn training_depends_on_the_seed_alone() {
    let rows = vectors(&mut Rng::new(8, 0), 500, 70);
    let bytes = |seed: u64| {
        let mut out = Vec::new();
        Quantiser::train(dimension(70), Metric::Cosine, &rows, seed).write(&mut out);
        out
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn one_row_is_enough_to_train_on() {
    for quantiser in all_codecs(100, Metric::Euclidean, &[0.25; 100]) {
        let prepared = quantiser.prepare_all(&[0.25; 100]);
        let packed = pack(&quantiser, &prepared, &[0.0; 100]);
        let found = scan(Isa::best(), &quantiser, &packed, &prepared, 0.0, None, 1.0);
        assert_eq!(found, [(0, 0.0)]);
    }
}

#[test]
fn a_scorer_scores_the_same_where_it_travels_to() {
    for n in [1, 16, 17, 63, 64, 101, 384] {
        let sample = vectors(&mut Rng::new(9, 0), 200, n);
        for quantiser in all_codecs(n, Metric::Euclidean, &sample) {
            let prepared = quantiser.prepare_all(&sample);
            let scorer = quantiser.scorer(&prepared[..n]);
            let bytes = scorer.to_bytes();
            let travelled = Scorer::from_bytes(&bytes).unwrap();
            assert_eq!(travelled.to_bytes(), bytes);
            let packed = pack(&quantiser, &prepared, &vec![0.0; n]);
            let codes = CodesView::parse(quantiser.codec(), quantiser.dimension(), &packed).unwrap();
            let scores = |scorer: &Scorer| {
                let mut found = Vec::new();
                scorer.scan(&codes, 0.5, None, f32::INFINITY, &mut |row, estimate| {
                    found.push((row, estimate.to_bits()));
                });
                found
            };
            assert_eq!(scores(&travelled), scores(&scorer));
            assert!(Scorer::from_bytes(&bytes[..bytes.len() - 1]).is_err());
            assert!(Scorer::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
        }
    }
}

/// Kernels add up without looking: sums that leave their integers must not reach them.
#[test]
fn scorers_that_no_quantiser_makes_are_refused() {
    let mut int8 = vec![1, Codec::Int8.to_byte(), 17, 4, 0, 0];
    int8.extend([0; 4]);
    int8.extend([0x7f; 2 * 1041]);
    assert!(Scorer::from_bytes(&int8).is_err());
    let mut pq4 = vec![1, Codec::Pq4.to_byte(), 4, 0, 0, 0];
    pq4.extend([0; 8]);
    pq4.extend([127; 32]);
    assert!(Scorer::from_bytes(&pq4).is_ok());
    pq4[20] = 128;
    assert!(Scorer::from_bytes(&pq4).is_err());
}
