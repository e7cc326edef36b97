//! Distances between whole vectors, and their half-precision form.

mod half;

pub use half::{decode_f16, encode_f16};

use crate::kernel::{self, Isa};
use sealdex_core::Metric;

/// Below this, one minus the cosine has lost too many digits and is computed from the difference instead.
const NEARLY_PARALLEL: f64 = 1e-5;

/// The distance of two original vectors of one length under `metric`, in double precision throughout. A zero vector is
/// at cosine distance 1 from every vector.
pub fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::SquaredEuclidean => kernel::exact_squared(Isa::best(), a, b),
        Metric::Euclidean => kernel::exact_squared(Isa::best(), a, b).sqrt(),
        Metric::Cosine => cosine(a, b),
    }
}

/// Sum of squared differences of two vectors of one length.
pub fn squared(a: &[f32], b: &[f32]) -> f32 {
    kernel::squared(Isa::best(), a, b)
}

/// Sum of products of two vectors of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    kernel::dot(Isa::best(), a, b)
}

/// Whether no value is infinite or NaN.
pub fn is_finite_all(v: &[f32]) -> bool {
    // Without a branch per value, so that it becomes vector code.
    v.iter().fold(true, |finite, value| finite & value.is_finite())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let [product, aa, bb] = kernel::exact_products(Isa::best(), a, b);
    if aa == 0.0 || bb == 0.0 {
        return 1.0;
    }
    let (a_length, b_length) = (aa.sqrt(), bb.sqrt());
    let distance = 1.0 - product / (a_length * b_length);
    if distance >= NEARLY_PARALLEL {
        return distance.min(2.0);
    }
    let (a_inverse, b_inverse) = (a_length.recip(), b_length.recip());
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) * a_inverse - f64::from(*b) * b_inverse).powi(2);
    a.iter().zip(b).map(square).sum::<f64>() / 2.0
}
