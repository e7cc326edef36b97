//! From vectors to codes and back to estimates of distance.
//!
//! Vectors are first *prepared*: under the cosine metric scaled to length 1 (a zero vector stays zero), otherwise by a
//! power of two that brings the sample's lengths near 1; then the sample's mean is subtracted. Squared Euclidean
//! distance between prepared vectors ranks rows as the metric does. This module knows nothing of clusters but the
//! centroid it is handed.

mod codec;
mod int8;
mod outliers;
mod pq4;
mod scorer;
#[cfg(test)]
mod tests;

pub use codec::Codec;
pub(crate) use int8::largest;
pub use scorer::Scorer;

use crate::kernel::{self, Isa};
use crate::layout::{LayoutError, Reader};
use rayon::prelude::*;
use scorer::Query;
use sealdex_core::{Dimension, Metric};

/// Prepared values are kept within this, so that no squared distance in 16,384 dimensions overflows an f32.
const PREPARED_MAX: f32 = 1e16;

/// How the vectors of a generation are prepared, coded and scored.
#[derive(Clone)]
pub struct Quantiser {
    dimension: Dimension,
    metric: Metric,
    /// Applied before `mean` is subtracted, unless the metric is cosine. A power of two, so that it loses nothing.
    scale: f64,
    mean: Vec<f32>,
    codes: Codes,
}

#[derive(Clone)]
enum Codes {
    Flat,
    Int8,
    Pq4(pq4::Codebooks),
}

impl Quantiser {
    /// A quantiser that takes nothing but mean and scale from `sample`: original vectors, row-major, at least one row.
    pub fn untrained(dimension: Dimension, metric: Metric, sample: &[f32]) -> Self {
        let codes = match Codec::of(dimension, false) {
            Codec::Flat => Codes::Flat,
            Codec::Int8 | Codec::Pq4 => Codes::Int8,
        };
        Self::prepared_for(dimension, metric, sample, codes)
    }

    /// A quantiser trained on `sample`: original vectors, row-major, at least one row. The same for the same `seed`.
    pub fn train(dimension: Dimension, metric: Metric, sample: &[f32], seed: u64) -> Self {
        let mut quantiser = Self::untrained(dimension, metric, sample);
        if Codec::of(dimension, true) == Codec::Pq4 {
            let prepared = quantiser.prepare_all(sample);
            quantiser.codes = Codes::Pq4(pq4::Codebooks::train(dimension.get(), &prepared, seed));
        }
        quantiser
    }

    /// The same preparation, with codes of 8 bits for each dimension: for data whose parts differ so much in place or
    /// size that no codebook serves them all. These codes are fitted to each row.
    pub fn with_bytes(self) -> Self {
        let codes = Codes::Int8;
        Self { codes, ..self }
    }

    /// How rows are coded.
    pub fn codec(&self) -> Codec {
        match self.codes {
            Codes::Flat => Codec::Flat,
            Codes::Int8 => Codec::Int8,
            Codes::Pq4(_) => Codec::Pq4,
        }
    }

    /// Values per vector.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// The metric that prepared space ranks by.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Bytes of one row-major code.
    pub fn row_bytes(&self) -> usize {
        self.codec().row_bytes(self.dimension)
    }

    /// Writes the prepared form of `v` to `out`; both have the quantiser's dimension. Never gives an infinity or NaN.
    pub fn prepare(&self, v: &[f32], out: &mut [f32]) {
        let factor = match self.metric {
            Metric::Cosine => inverse_length(v),
            Metric::Euclidean | Metric::SquaredEuclidean => self.scale,
        };
        if factor == 0.0 {
            self.prepare_without_direction(out);
            return;
        }
        for ((out, v), mean) in out.iter_mut().zip(v).zip(&self.mean) {
            *out = ((f64::from(*v) * factor) as f32 - mean).clamp(-PREPARED_MAX, PREPARED_MAX);
        }
    }

    /// To the cosine, a vector without a direction is as far from all others as orthogonal ones are. At the origin it
    /// would lie nearer than that, before most true neighbours; one direction that no data prefers is as far as can be.
    fn prepare_without_direction(&self, out: &mut [f32]) {
        let length = (out.len() as f32).sqrt().recip();
        for (n, (out, mean)) in out.iter_mut().zip(&self.mean).enumerate() {
            // Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4): signs without a pattern.
            let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let sign = if (mixed ^ (mixed >> 29)).count_ones().is_multiple_of(2) {
                1.0
            } else {
                -1.0
            };
            *out = sign * length - mean;
        }
    }

    /// Prepares many vectors, row-major, in parallel.
    pub fn prepare_all(&self, rows: &[f32]) -> Vec<f32> {
        let mut prepared = vec![0.0; rows.len()];
        let dimension = self.dimension.get();
        let pairs = rows
            .par_chunks_exact(dimension)
            .zip(prepared.par_chunks_exact_mut(dimension));
        pairs.for_each(|(row, out)| self.prepare(row, out));
        prepared
    }

    /// Appends the row-major code of a prepared vector. `centroid` is that of its cluster, in prepared space.
    pub fn encode(&self, prepared: &[f32], centroid: &[f32], out: &mut Vec<u8>) {
        match &self.codes {
            Codes::Flat => prepared
                .iter()
                .for_each(|value| out.extend_from_slice(&value.to_le_bytes())),
            Codes::Int8 => int8::encode(prepared, centroid, out),
            Codes::Pq4(books) => books.encode(prepared, out),
        }
    }

    /// Makes a prepared query ready for scoring.
    pub fn scorer(&self, prepared_query: &[f32]) -> Scorer {
        let query = match &self.codes {
            Codes::Flat => Query::Flat(prepared_query.to_vec()),
            Codes::Int8 => Query::Int8(int8::Query::new(prepared_query)),
            Codes::Pq4(books) => Query::Pq4(books.tables(prepared_query)),
        };
        Scorer::new(self.dimension, query)
    }

    fn prepared_for(dimension: Dimension, metric: Metric, sample: &[f32], codes: Codes) -> Self {
        let mut rows: Vec<&[f32]> = sample.chunks_exact(dimension.get()).collect();
        let scale = match metric {
            // Scaled to length 1, no row is far from the others.
            Metric::Cosine => 1.0,
            Metric::Euclidean | Metric::SquaredEuclidean => {
                let middle = outliers::medians(dimension.get(), &rows);
                rows = outliers::without(rows, &middle);
                unit_scale(&rows)
            }
        };
        let mean = vec![0.0; dimension.get()];
        let mut quantiser = Self {
            dimension,
            metric,
            scale,
            mean,
            codes,
        };
        quantiser.mean = quantiser.mean_of(&rows);
        quantiser
    }

    /// The mean of the rows as they are prepared without one.
    fn mean_of(&self, rows: &[&[f32]]) -> Vec<f32> {
        let mut sums = vec![0.0f64; self.dimension.get()];
        let mut prepared = vec![0.0; self.dimension.get()];
        for row in rows {
            self.prepare(row, &mut prepared);
            sums.iter_mut()
                .zip(&prepared)
                .for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let count = rows.len().max(1) as f64;
        sums.into_iter().map(|sum| (sum / count) as f32).collect()
    }
}

impl Quantiser {
    /// Appends everything that is not in the model's header: scale, mean and codebooks.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.codec().to_byte());
        out.extend_from_slice(&self.scale.to_le_bytes());
        put_floats(out, &self.mean);
        if let Codes::Pq4(books) = &self.codes {
            put_floats(out, books.values());
        }
    }

    /// Reads what [`Quantiser::write`] appended.
    pub(crate) fn read(
        dimension: Dimension,
        metric: Metric,
        reader: &mut Reader<'_>,
    ) -> Result<Self, LayoutError> {
        let codec = Codec::from_byte(reader.u8()?).ok_or(reader.damaged())?;
        let scale = f64::from_le_bytes(reader.array()?);
        if !(scale.is_finite() && scale > 0.0) {
            return Err(reader.damaged());
        }
        let mean = read_floats(reader, dimension.get())?;
        let codes = match codec {
            Codec::Flat => Codes::Flat,
            Codec::Int8 => Codes::Int8,
            Codec::Pq4 => {
                let values = pq4::sub_quantisers(dimension.get()) * pq4::SUB_VALUES;
                Codes::Pq4(pq4::Codebooks::from_values(read_floats(reader, values)?))
            }
        };
        Ok(Self {
            dimension,
            metric,
            scale,
            mean,
            codes,
        })
    }
}

/// The integer nearest to `value`, in the low bits: adding this constant leaves no room for a fraction. For magnitudes
/// up to 2^22; unlike a conversion, becomes vector code on every machine.
pub(crate) fn round_to_bits(value: f32) -> u32 {
    (value + 12_582_912.0).to_bits()
}

/// Appends little-endian values.
pub(crate) fn put_floats(out: &mut Vec<u8>, values: &[f32]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// Reads `count` little-endian values, all of which must be finite.
pub(crate) fn read_floats(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f32>, LayoutError> {
    let bytes = count.checked_mul(4).ok_or(reader.damaged())?;
    let values: Vec<f32> = reader
        .bytes(bytes)?
        .as_chunks()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect();
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(reader.damaged())
    }
}

/// 0 for a zero vector, which therefore stays zero.
fn inverse_length(v: &[f32]) -> f64 {
    let [_, squares, _] = kernel::exact_products(Isa::best(), v, v);
    if squares > 0.0 {
        squares.sqrt().recip()
    } else {
        0.0
    }
}

/// The power of two that brings the root mean square length of the rows near 1.
fn unit_scale(rows: &[&[f32]]) -> f64 {
    let squares: f64 = rows
        .iter()
        .flat_map(|row| *row)
        .map(|value| f64::from(*value) * f64::from(*value))
        .sum();
    let length = (squares / rows.len().max(1) as f64).sqrt();
    if length > 0.0 {
        (-length.log2().round()).exp2()
    } else {
        1.0
    }
}
