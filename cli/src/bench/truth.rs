//! The exact nearest neighbours, by exhaustive search. It uses none of the engine's kernels: what judges must not
//! share a fault with what is judged.
//!
//! A first pass in f32 keeps more rows than asked for; these are ranked again in f64. The rounding of the first pass
//! is bounded (Higham, Accuracy and Stability, section 3.1: any order of summing `n` products errs by at most about
//! `n` units in the last place), so it can be proved per query that no row left out belongs to the answer. Where it
//! cannot be proved, that query is searched in f64 throughout.

use super::rows::Rows;
use indicatif::ProgressBar;
use rayon::prelude::*;
use sealdex_core::Metric;
use std::cmp::Ordering;

/// Rows kept by the first pass beyond those asked for.
const SLACK: usize = 64;

/// Queries compared with a row while it is in cache.
const QUERIES_AT_ONCE: usize = 16;

/// Beyond this and below its inverse, products of the first pass might overflow or vanish: f64 is used at once.
const F32_SAFE: f32 = 1e9;

/// Nearest neighbours that the intrinsic dimension is estimated from.
pub(super) const INTRINSIC_NEIGHBOURS: usize = 10;

/// A stored row and its exact distance from a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Neighbour {
    /// The row's number.
    pub(super) row: u32,
    /// In the metric's own unit.
    pub(super) distance: f64,
}

/// The `k` nearest of `members` (all rows if `None`) to each query, nearest first, the lower row first among equals.
pub(super) fn nearest(
    metric: Metric,
    stored: &Rows<f32>,
    members: Option<&[u32]>,
    queries: &Rows<f32>,
    k: usize,
    progress: &ProgressBar,
) -> Vec<Vec<Neighbour>> {
    let all: Vec<u32>;
    let members = match members {
        Some(members) => members,
        None => {
            all = (0..stored.len() as u32).collect();
            &all
        }
    };
    let search = Search::new(metric, stored, members, k);
    let numbers: Vec<usize> = (0..queries.len()).collect();
    let found = numbers.par_chunks(QUERIES_AT_ONCE).flat_map_iter(|numbers| {
        let block: Vec<&[f32]> = numbers.iter().map(|number| queries.row(*number)).collect();
        let answers = search.block(&block);
        progress.inc(block.len() as u64);
        answers
    });
    found.collect()
}

/// The distance between two vectors of equal length, summed in f64. Cosine: 1 if either is zero.
pub(super) fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    match metric {
        Metric::Euclidean => pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
        Metric::SquaredEuclidean => pairs.map(|(a, b)| (a - b) * (a - b)).sum(),
        Metric::Cosine => {
            let (dot, aa, bb) = pairs.fold((0.0, 0.0, 0.0), |(dot, aa, bb), (a, b)| {
                (dot + a * b, aa + a * a, bb + b * b)
            });
            if aa == 0.0 || bb == 0.0 {
                1.0
            } else {
                (1.0 - dot / (aa.sqrt() * bb.sqrt())).clamp(0.0, 2.0)
            }
        }
    }
}

/// How many directions neighbours spread over, by maximum likelihood from their distances (Levina and Bickel, 2004;
/// averaged over queries as MacKay and Ghahramani propose). Low for few points in many directions. `None` where the distances do not tell.
pub(super) fn intrinsic_dimension(metric: Metric, truth: &[Vec<Neighbour>]) -> Option<f64> {
    let length = |n: &Neighbour| match metric {
        Metric::Euclidean => n.distance,
        Metric::SquaredEuclidean | Metric::Cosine => n.distance.sqrt(),
    };
    let (mut count, mut sum) = (0.0, 0.0);
    for neighbours in truth {
        let nearest = &neighbours[..neighbours.len().min(INTRINSIC_NEIGHBOURS)];
        let Some((last, nearer)) = nearest.split_last() else {
            continue;
        };
        for neighbour in nearer.iter().filter(|n| n.distance > 0.0) {
            count += 1.0;
            sum += (length(last) / length(neighbour)).ln();
        }
    }
    (sum > 0.0).then(|| count / sum)
}

struct Search<'a> {
    metric: Metric,
    stored: &'a Rows<f32>,
    members: &'a [u32],
    /// Cosine only: 1 / length of each stored row, 0 for a zero row.
    inverse_norms: Vec<f32>,
    /// Whether the first pass can neither overflow nor underflow on what is stored.
    safe: bool,
    k: usize,
}

impl<'a> Search<'a> {
    fn new(metric: Metric, stored: &'a Rows<f32>, members: &'a [u32], k: usize) -> Self {
        let inverse_norms: Vec<f32> = match metric {
            Metric::Cosine => stored
                .values()
                .par_chunks(stored.width())
                .map(inverse_norm)
                .collect(),
            Metric::Euclidean | Metric::SquaredEuclidean => Vec::new(),
        };
        let safe = stored.values().par_iter().all(|value| value.abs() < F32_SAFE)
            && inverse_norms.iter().all(|inverse| *inverse < F32_SAFE);
        Self {
            metric,
            stored,
            members,
            inverse_norms,
            safe,
            k,
        }
    }

    fn block(&self, queries: &[&[f32]]) -> Vec<Vec<Neighbour>> {
        let inverse: Vec<f32> = queries.iter().map(|query| inverse_norm(query)).collect();
        let mut kept: Vec<Nearest> = queries.iter().map(|_| Nearest::new(self.k + SLACK)).collect();
        for row in self.members {
            let stored = self.stored.row(*row as usize);
            for ((query, inverse), kept) in queries.iter().zip(&inverse).zip(&mut kept) {
                let estimate = match self.metric {
                    Metric::Euclidean | Metric::SquaredEuclidean => squared(query, stored),
                    Metric::Cosine => 1.0 - dot(query, stored) * inverse * self.inverse_norms[*row as usize],
                };
                kept.offer(f64::from(estimate), *row);
            }
        }
        queries
            .iter()
            .zip(kept)
            .map(|(query, kept)| self.finish(query, kept))
            .collect()
    }

    /// Ranks the survivors exactly, or the whole set if a row left out might belong to them.
    fn finish(&self, query: &[f32], kept: Nearest) -> Vec<Neighbour> {
        let complete = self.members.len() <= self.k + SLACK;
        let (rows, bound) = kept.into_rows();
        let ranked = self.rank(query, &rows);
        let settled = |last: &Neighbour| self.comparable(last.distance) < self.left_out_from(bound);
        let proved = self.safe && is_safe(query) && ranked.last().is_some_and(settled);
        if complete || proved {
            ranked
        } else {
            self.rank(query, self.members)
        }
    }

    /// `rows` in ascending order, so that the lower row wins among equals.
    fn rank(&self, query: &[f32], rows: &[u32]) -> Vec<Neighbour> {
        let mut exact = Nearest::new(self.k);
        for row in rows {
            exact.offer(distance(self.metric, query, self.stored.row(*row as usize)), *row);
        }
        exact.into_neighbours()
    }

    /// A distance in the unit of the first pass.
    fn comparable(&self, distance: f64) -> f64 {
        if self.metric == Metric::Euclidean {
            distance * distance
        } else {
            distance
        }
    }

    /// The least exact value that a row can have whose first-pass value is `bound` or more.
    fn left_out_from(&self, bound: f64) -> f64 {
        let rounding = (self.stored.width() + 16) as f64 * f64::from(f32::EPSILON);
        match self.metric {
            Metric::Cosine => bound - rounding,
            Metric::Euclidean | Metric::SquaredEuclidean if (1e-30..1e30).contains(&bound) => {
                bound / (1.0 + rounding)
            }
            Metric::Euclidean | Metric::SquaredEuclidean => f64::NEG_INFINITY,
        }
    }
}

fn is_safe(query: &[f32]) -> bool {
    let largest = query
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    largest < F32_SAFE && largest > 1.0 / F32_SAFE
}

fn inverse_norm(vector: &[f32]) -> f32 {
    let norm = vector
        .iter()
        .map(|v| f64::from(*v) * f64::from(*v))
        .sum::<f64>()
        .sqrt();
    if norm == 0.0 { 0.0 } else { (1.0 / norm) as f32 }
}

/// Sixteen independent sums, which the compiler turns into vector instructions.
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a_pieces, a_rest) = a.as_chunks::<16>();
    let (b_pieces, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_pieces.iter().zip(b_pieces) {
        for lane in 0..16 {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum();
    sums.iter().sum::<f32>() + rest
}

fn squared(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |a, b| (a - b) * (a - b))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |a, b| a * b)
}

/// The `capacity` least of the values offered. Keeps up to twice as many and halves when full.
struct Nearest {
    capacity: usize,
    entries: Vec<(f64, u32)>,
    /// Nothing at or above this can be among the least any more.
    bound: f64,
}

impl Nearest {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: Vec::with_capacity(2 * capacity),
            bound: f64::INFINITY,
        }
    }

    fn offer(&mut self, value: f64, row: u32) {
        if value < self.bound || self.bound.is_infinite() {
            self.entries.push((value, row));
            if self.entries.len() == 2 * self.capacity {
                self.halve();
            }
        }
    }

    fn halve(&mut self) {
        if self.entries.len() > self.capacity {
            self.entries.select_nth_unstable_by(self.capacity - 1, order);
            self.entries.truncate(self.capacity);
            self.bound = self.entries[self.capacity - 1].0;
        }
    }

    /// The rows in ascending order, and the value that every other row reached.
    fn into_rows(mut self) -> (Vec<u32>, f64) {
        self.halve();
        let mut rows: Vec<u32> = self.entries.iter().map(|(_, row)| *row).collect();
        rows.sort_unstable();
        (rows, self.bound)
    }

    fn into_neighbours(mut self) -> Vec<Neighbour> {
        self.halve();
        self.entries.sort_unstable_by(order);
        self.entries
            .iter()
            .map(|(distance, row)| Neighbour {
                row: *row,
                distance: *distance,
            })
            .collect()
    }
}

fn order(a: &(f64, u32), b: &(f64, u32)) -> Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    const METRICS: [Metric; 3] = [Metric::Euclidean, Metric::SquaredEuclidean, Metric::Cosine];

    fn random(rows: usize, width: usize, stream: u64, scale: f32) -> Rows<f32> {
        let mut rng = Rng::new(11, stream);
        Rows::new(width, (0..rows * width).map(|_| rng.normal() * scale).collect())
    }

    /// The definition, word for word: every distance in f64, sorted.
    fn by_sorting(
        metric: Metric,
        stored: &Rows<f32>,
        members: &[u32],
        query: &[f32],
        k: usize,
    ) -> Vec<Neighbour> {
        let rank = |row: &u32| Neighbour {
            row: *row,
            distance: distance(metric, query, stored.row(*row as usize)),
        };
        let mut all: Vec<Neighbour> = members.iter().map(rank).collect();
        all.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.row.cmp(&b.row)));
        all.truncate(k);
        all
    }

    fn search(
        metric: Metric,
        stored: &Rows<f32>,
        members: Option<&[u32]>,
        queries: &Rows<f32>,
        k: usize,
    ) -> Vec<Vec<Neighbour>> {
        nearest(metric, stored, members, queries, k, &ProgressBar::hidden())
    }

    #[test]
    fn equals_sorting_all_exact_distances() {
        for scale in [1.0, 1e-12, 1e20] {
            let (stored, queries) = (random(600, 19, 0, scale), random(20, 19, 1, scale));
            let all: Vec<u32> = (0..600).collect();
            let odd: Vec<u32> = (0..600).filter(|row| row % 2 == 1).collect();
            for metric in METRICS {
                for (members, k) in [
                    (None, 10),
                    (Some(&odd[..]), 10),
                    (None, 600),
                    (Some(&odd[..3]), 10),
                ] {
                    let found = search(metric, &stored, members, &queries, k);
                    for (query, found) in queries.iter().zip(found) {
                        let expected = by_sorting(metric, &stored, members.unwrap_or(&all), query, k);
                        assert_eq!(found, expected, "{metric:?}, scale {scale}, k {k}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_that_f32_cannot_tell_apart_are_ordered_exactly() {
        let far = |offset: f32| [4096.0 + offset, 4096.0, 1.0];
        let values = (0..300).rev().flat_map(|step| far(step as f32 * 0.001));
        let stored = Rows::new(3, values.collect());
        let query = Rows::new(3, far(0.0).map(|value| value * 3.0).to_vec());
        let all: Vec<u32> = (0..300).collect();
        for metric in METRICS {
            let expected = by_sorting(metric, &stored, &all, query.row(0), 20);
            assert_eq!(
                search(metric, &stored, None, &query, 20)[0],
                expected,
                "{metric:?}"
            );
        }
    }

    #[test]
    fn equal_distances_are_ordered_by_row_and_zero_vectors_have_cosine_one() {
        let stored = Rows::new(2, [[0.0, 0.0]; 200].concat());
        let found = search(Metric::Cosine, &stored, None, &Rows::new(2, vec![1.0, 2.0]), 3);
        let expected = [0, 1, 2].map(|row| Neighbour { row, distance: 1.0 });
        assert_eq!(found[0], expected);
    }

    #[test]
    fn the_intrinsic_dimension_of_a_flat_square_is_two() {
        let mut rng = Rng::new(4, 0);
        let mut point = || [rng.below(1 << 20) as f32, rng.below(1 << 20) as f32, 0.0];
        let stored = Rows::new(3, (0..20_000).flat_map(|_| point()).collect());
        let queries = Rows::new(3, (0..200).flat_map(|_| point()).collect());
        let truth = search(Metric::Euclidean, &stored, None, &queries, 50);
        let estimate = intrinsic_dimension(Metric::Euclidean, &truth).unwrap();
        assert!((1.8..2.2).contains(&estimate), "{estimate}");
    }
}
