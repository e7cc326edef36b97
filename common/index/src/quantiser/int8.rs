//! Residuals in one signed byte per dimension.
//!
//! ```text
//! row    = scale f32, factor f32, code i8 x dimension
//! r'     = scale * code                          what the code stands for, of the residual r = x - c
//! factor = |r'|^2 + 2 c.r' - |r - r'|^2
//! |q - x|^2  ~  |q - c|^2 + factor - 2 q.r'
//! ```
//!
//! The last term of the factor takes out what coding adds to a squared distance on average; the estimate is exact for
//! a query that equals the row. The query is scaled to 16-bit integers, so that all kernels agree to the bit.

use super::round_to_bits;
use crate::kernel::{self, Isa};

/// Bytes before the codes of a row.
pub(super) const HEADER_BYTES: usize = 8;
const CODE_MAX: f32 = 127.0;
/// What a byte can hold at most, even if no encoder wrote it.
const BYTE_MAX: i64 = 128;

/// Appends the code of `prepared`, a row of the cluster around `centroid`.
pub(super) fn encode(prepared: &[f32], centroid: &[f32], out: &mut Vec<u8>) {
    let residual: Vec<f32> = prepared.iter().zip(centroid).map(|(x, c)| x - c).collect();
    let scale = largest(&residual) / CODE_MAX;
    let inverse = if scale > 0.0 {
        (1.0 / scale).min(f32::MAX)
    } else {
        0.0
    };
    let codes: Vec<u8> = residual
        .iter()
        .map(|r| round_to_bits(r * inverse) as u8)
        .collect();
    let decoded: Vec<f32> = codes.iter().map(|code| scale * f32::from(*code as i8)).collect();
    let [product, _, square] = kernel::exact_products(Isa::best(), centroid, &decoded);
    let factor = square + 2.0 * product - kernel::exact_squared(Isa::best(), &residual, &decoded);
    out.extend_from_slice(&scale.to_le_bytes());
    out.extend_from_slice(&(factor as f32).to_le_bytes());
    out.extend_from_slice(&codes);
}

/// The largest magnitude.
pub(crate) fn largest(values: &[f32]) -> f32 {
    // Magnitudes order as their bits do, and a maximum of integers becomes vector code.
    f32::from_bits(values.iter().map(|value| value.abs().to_bits()).fold(0, u32::max))
}

/// A query as 16-bit integers.
#[derive(Clone)]
pub(super) struct Query {
    values: Vec<i16>,
    /// `values * step` is minus twice the query.
    step: f32,
}

impl Query {
    /// The largest scale at which no sum over any bytes can leave 32 bits, whatever the order of summation.
    pub(super) fn new(prepared: &[f32]) -> Self {
        let largest = f64::from(largest(prepared));
        let total: f64 = prepared.iter().map(|q| f64::from(q.abs())).sum();
        if largest == 0.0 {
            return Self {
                values: vec![0; prepared.len()],
                step: 0.0,
            };
        }
        // Rounding adds less than one to each value.
        let room = (i64::from(i32::MAX) / BYTE_MAX) as f64 - prepared.len() as f64;
        let inverse = (f64::from(i16::MAX) / largest).min(room / total);
        let integer = |q: &f32| round_to_bits((f64::from(*q) * inverse) as f32) as i16;
        let values: Vec<i16> = prepared.iter().map(integer).collect();
        let sum: i64 = values.iter().map(|v| i64::from(*v).abs()).sum();
        assert!(
            sum * BYTE_MAX <= i64::from(i32::MAX),
            "a sum of products fits 32 bits by choice of the scale"
        );
        Self {
            values,
            step: (-2.0 / inverse) as f32,
        }
    }

    /// A query as [`Query::values`] and [`Query::step`] gave it; `None` if its sums might leave 32 bits.
    pub(super) fn from_parts(values: Vec<i16>, step: f32) -> Option<Self> {
        let sum: i64 = values.iter().map(|v| i64::from(*v).abs()).sum();
        (sum * BYTE_MAX <= i64::from(i32::MAX)).then_some(Self { values, step })
    }

    pub(super) fn values(&self) -> &[i16] {
        &self.values
    }

    pub(super) fn step(&self) -> f32 {
        self.step
    }

    /// Calls `each` with row and estimate.
    pub(super) fn scan(&self, isa: Isa, rows: &[u8], base: f32, mut each: impl FnMut(u32, f32)) {
        let row_bytes = HEADER_BYTES + self.values.len();
        kernel::int8_dots(
            isa,
            &self.values,
            rows,
            row_bytes,
            HEADER_BYTES,
            &mut |row, dot| {
                let header = &rows[row * row_bytes..][..HEADER_BYTES];
                let [scale, factor] =
                    [0, 4].map(|at| f32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes")));
                each(row as u32, base + (factor + self.step * scale * dot as f32));
            },
        );
    }
}
