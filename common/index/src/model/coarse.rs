//! Centroids in 8 bits, for finding out quickly which are worth an exact look.

use crate::kernel::{self, Isa};
use crate::quantiser::{largest, round_to_bits};

const CODE_MAX: f32 = 127.0;

/// Rows of signed bytes, each with its own scale.
#[derive(Clone)]
pub(super) struct Coarse {
    codes: Vec<i8>,
    scales: Vec<f32>,
}

impl Coarse {
    /// Codes `rows`, which are row-major.
    pub(super) fn new(dimension: usize, rows: &[f32]) -> Self {
        let (mut codes, mut scales) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows.chunks_exact(dimension) {
            scales.push(encode(row, &mut codes));
        }
        Self { codes, scales }
    }

    /// Writes about the product of `query` with each row to `out`.
    pub(super) fn products(&self, query: &[f32], out: &mut [f32]) {
        let (mut coded, mut sums) = (Vec::with_capacity(query.len()), vec![0; out.len()]);
        let scale = encode(query, &mut coded);
        kernel::byte_dots(Isa::best(), &coded, &self.codes, &mut sums);
        for ((out, sum), row_scale) in out.iter_mut().zip(sums).zip(&self.scales) {
            *out = sum as f32 * (scale * row_scale);
        }
    }
}

/// Appends codes of -127 to 127 and gives what one step of them stands for.
fn encode(row: &[f32], codes: &mut Vec<i8>) -> f32 {
    let scale = largest(row) / CODE_MAX;
    let inverse = if scale > 0.0 {
        (1.0 / scale).min(f32::MAX)
    } else {
        0.0
    };
    codes.extend(row.iter().map(|value| round_to_bits(value * inverse) as i8));
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn products_are_right_to_a_hundredth() {
        let mut rng = Rng::new(4, 0);
        for dimension in [1, 31, 32, 33, 100, 384] {
            let mut values =
                |count: usize| -> Vec<f32> { (0..count).map(|_| rng.unit() as f32 - 0.5).collect() };
            let (query, rows) = (values(dimension), values(9 * dimension));
            let mut out = [0.0; 9];
            Coarse::new(dimension, &rows).products(&query, &mut out);
            for (row, product) in rows.chunks_exact(dimension).zip(out) {
                let exact = kernel::dot(Isa::best(), &query, row);
                assert!(
                    (product - exact).abs() <= 0.01 * (dimension as f32).sqrt() / 4.0,
                    "{product}, not {exact}"
                );
            }
        }
    }
}
