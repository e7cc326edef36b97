//! Product quantisation with 16 centroids for every two dimensions, scored through tables in registers
//! (André, Kermarrec and Le Scouarnec, "Cache locality is not enough", 2015).
//!
//! ```text
//! code  = one byte for two sub-quantisers, the first in the low nibble
//! table = per byte of code: 16 entries for the low nibble, 16 for the high one
//! ```
//!
//! Table entries have 7 bits, so that the two of one byte of code add up within 8. An odd dimension is padded with a
//! zero, an odd number of sub-quantisers with one that always scores 0.

use super::{outliers, round_to_bits};
use crate::kernel::{self, Isa};
use crate::rng::Rng;
use rayon::prelude::*;

/// Centroids of a sub-quantiser.
pub(super) const CENTROIDS: usize = 16;
/// Values of a sub-quantiser: the first coordinates of its centroids, then the second ones.
pub(super) const SUB_VALUES: usize = 2 * CENTROIDS;
/// The largest table entry.
const ENTRY_MAX: f32 = 127.0;
/// Rows that the codebooks are trained on; more change nothing that can be measured.
const SAMPLE_ROWS: usize = 8_192;
const ITERATIONS: usize = 12;

/// The centroids of all sub-quantisers.
#[derive(Clone)]
pub(super) struct Codebooks {
    values: Vec<f32>,
}

/// How many sub-quantisers a vector of `dimension` has.
pub(super) fn sub_quantisers(dimension: usize) -> usize {
    dimension.div_ceil(2)
}

impl Codebooks {
    /// Trains on rows in prepared space, row-major; at least one. The same for the same seed.
    pub(super) fn train(dimension: usize, rows: &[f32], seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0);
        let chosen = rng.choose(rows.len() / dimension, SAMPLE_ROWS);
        let sample: Vec<&[f32]> = chosen
            .iter()
            .map(|row| &rows[row * dimension..][..dimension])
            .collect();
        let sample = outliers::without(sample, &vec![0.0; dimension]);
        let seeds = (0..sub_quantisers(dimension)).into_par_iter().map(|sub| {
            let points: Vec<[f32; 2]> = sample.iter().map(|row| point(row, sub)).collect();
            seed_plane(&points, &mut Rng::new(seed, 1 + sub as u64))
        });
        let mut books = Self {
            values: seeds.collect::<Vec<_>>().into_flattened(),
        };
        for _ in 0..ITERATIONS {
            books.improve(&sample, &mut rng);
        }
        books
    }

    /// One iteration of Lloyd's algorithm, for all sub-quantisers.
    fn improve(&mut self, sample: &[&[f32]], rng: &mut Rng) {
        let encode = |row: &&[f32]| {
            let mut code = Vec::with_capacity(row.len().div_ceil(4));
            self.encode(row, &mut code);
            code
        };
        let codes: Vec<Vec<u8>> = sample.par_iter().map(encode).collect();
        let spare = sample[rng.below(sample.len())];
        let books: &mut [[f32; SUB_VALUES]] = self.values.as_chunks_mut().0;
        books.par_iter_mut().enumerate().for_each(|(sub, book)| {
            let mut sums = [[0.0f64; 3]; CENTROIDS];
            for (row, code) in sample.iter().zip(&codes) {
                let [x, y] = point(row, sub);
                let sum = &mut sums[usize::from(code[sub / 2] >> (4 * (sub % 2)) & 15)];
                *sum = [sum[0] + f64::from(x), sum[1] + f64::from(y), sum[2] + 1.0];
            }
            for (k, [x, y, count]) in sums.into_iter().enumerate() {
                // A centroid without points starts again from some row.
                let mean = if count > 0.0 {
                    [(x / count) as f32, (y / count) as f32]
                } else {
                    point(spare, sub)
                };
                [book[k], book[CENTROIDS + k]] = mean;
            }
        });
    }

    /// Codebooks as [`Codebooks::values`] gave them.
    pub(super) fn from_values(values: Vec<f32>) -> Self {
        Self { values }
    }

    /// Sub-quantiser after sub-quantiser.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Appends the code of a row.
    pub(super) fn encode(&self, prepared: &[f32], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + prepared.len().div_ceil(4), 0);
        kernel::pq4_encode(Isa::best(), self.books(), prepared, &mut out[start..]);
    }

    /// The look-up tables of a query.
    pub(super) fn tables(&self, prepared: &[f32]) -> Tables {
        let mut distances = vec![[0.0; CENTROIDS]; self.books().len()];
        let (bias, span) = kernel::pq4_distances(Isa::best(), self.books(), prepared, &mut distances);
        Tables::new(&distances, bias, span)
    }

    fn books(&self) -> &[[f32; SUB_VALUES]] {
        self.values.as_chunks().0
    }
}

/// A query's look-up tables: squared distance = bias + step * sum of entries.
#[derive(Clone)]
pub(super) struct Tables {
    entries: Vec<[u8; SUB_VALUES]>,
    bias: f32,
    step: f32,
}

impl Tables {
    /// `distances` are 0 to `span`.
    fn new(distances: &[[f32; CENTROIDS]], bias: f32, span: f32) -> Self {
        let step = span / ENTRY_MAX;
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let mut entries = vec![[0; SUB_VALUES]; distances.len().div_ceil(2)];
        let halves = entries.as_flattened_mut().as_chunks_mut::<CENTROIDS>().0;
        for (entry, distances) in halves.iter_mut().zip(distances) {
            for k in 0..CENTROIDS {
                entry[k] = round_to_bits(distances[k] * inverse) as u8 & 127;
            }
        }
        Self { entries, bias, step }
    }

    /// Tables as [`Tables::entries`], [`Tables::bias`] and [`Tables::step`] gave them; `None` if an entry has more than 7
    /// bits.
    pub(super) fn from_parts(entries: Vec<[u8; SUB_VALUES]>, bias: f32, step: f32) -> Option<Self> {
        let in_range = entries.as_flattened().iter().all(|entry| *entry <= 127);
        in_range.then_some(Self { entries, bias, step })
    }

    pub(super) fn entries(&self) -> &[[u8; SUB_VALUES]] {
        &self.entries
    }

    pub(super) fn bias(&self) -> f32 {
        self.bias
    }

    pub(super) fn step(&self) -> f32 {
        self.step
    }

    /// Calls `each` with row and estimate for the rows of fast-scan `blocks` whose estimate is below `threshold`.
    pub(super) fn scan_blocks(
        &self,
        isa: Isa,
        blocks: &[u8],
        base: f32,
        threshold: f32,
        mut each: impl FnMut(u32, f32),
    ) {
        let Some(limit) = self.limit(base, threshold) else {
            return;
        };
        kernel::pq4_scan(isa, &self.entries, blocks, limit, &mut |block, mut hits, sums| {
            while hits != 0 {
                let row = hits.trailing_zeros();
                hits &= hits - 1;
                each(
                    block as u32 * kernel::BLOCK_ROWS as u32 + row,
                    self.estimate(base, sums[row as usize]),
                );
            }
        });
    }

    /// The same for row-major codes.
    pub(super) fn scan_rows(&self, codes: &[u8], base: f32, threshold: f32, mut each: impl FnMut(u32, f32)) {
        let Some(limit) = self.limit(base, threshold) else {
            return;
        };
        for (row, code) in codes.chunks_exact(self.entries.len()).enumerate() {
            let sum = self.sum(code);
            if sum <= limit {
                each(row as u32, self.estimate(base, sum));
            }
        }
    }

    fn sum(&self, code: &[u8]) -> u32 {
        let entry = |(table, byte): (&[u8; SUB_VALUES], &u8)| {
            u32::from(table[usize::from(byte & 15)]) + u32::from(table[CENTROIDS + usize::from(byte >> 4)])
        };
        self.entries.iter().zip(code).map(entry).sum()
    }

    /// Grows with `sum`, never the other way, because each rounding keeps the order.
    fn estimate(&self, base: f32, sum: u32) -> f32 {
        (base + self.bias) + self.step * sum as f32
    }

    /// The largest sum whose estimate is below `threshold`, so that integers can be compared instead of estimates.
    fn limit(&self, base: f32, threshold: f32) -> Option<u32> {
        let most = (self.entries.len() * 2) as u32 * ENTRY_MAX as u32;
        let below = |sum: u32| self.estimate(base, sum) < threshold;
        if !below(0) {
            return None;
        }
        let (mut yes, mut no) = (0, most + 1);
        let guess = ((threshold - (base + self.bias)) / self.step) as u32;
        for near in [guess.saturating_sub(1), guess.saturating_add(1)] {
            if (yes + 1..no).contains(&near) {
                if below(near) { yes = near } else { no = near }
            }
        }
        while no - yes > 1 {
            let middle = yes + (no - yes) / 2;
            if below(middle) { yes = middle } else { no = middle }
        }
        Some(yes)
    }
}

/// The values of a row that a sub-quantiser codes; an odd last one is paired with 0.
fn point(row: &[f32], sub: usize) -> [f32; 2] {
    [row[2 * sub], row.get(2 * sub + 1).copied().unwrap_or(0.0)]
}

/// k-means++ (Arthur and Vassilvitskii, 2007).
fn seed_plane(points: &[[f32; 2]], rng: &mut Rng) -> [f32; SUB_VALUES] {
    let mut book = [0.0; SUB_VALUES];
    let mut chosen = points[rng.below(points.len())];
    let mut distances: Vec<f32> = vec![f32::INFINITY; points.len()];
    for k in 0..CENTROIDS {
        [book[k], book[CENTROIDS + k]] = chosen;
        let mut total = 0.0f64;
        for (distance, point) in distances.iter_mut().zip(points) {
            let (x, y) = (point[0] - chosen[0], point[1] - chosen[1]);
            *distance = distance.min(x * x + y * y);
            total += f64::from(*distance);
        }
        let mut left = rng.unit() * total;
        let next = distances.iter().position(|distance| {
            left -= f64::from(*distance);
            left < 0.0
        });
        chosen = points[next.unwrap_or(points.len() - 1)];
    }
    book
}
