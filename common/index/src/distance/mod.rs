//! Distances between whole vectors, and their half-precision form.

mod half;

pub use half::{decode_f16, encode_f16};

use crate::kernel::{self, Isa};
use sealdex_core::Metric;

/// Below this, one minus the cosine has lost too many digits and is computed from the difference instead.
const NEARLY_PARALLEL: f64 = 1e-5;

/// Below this, a cosine distance is the rounding of its terms.
const PARALLEL: f64 = 1e-28;

/// The distance of two original vectors of one length under `metric`, in double precision throughout. A zero vector is
/// at cosine distance 1 from every vector.
pub fn exact(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    match metric {
        Metric::SquaredEuclidean => kernel::exact_squared(Isa::best(), a, b),
        Metric::Euclidean => kernel::exact_squared(Isa::best(), a, b).sqrt(),
        Metric::Cosine => cosine(a, b),
    }
}

/// The same as it is answered: to float32's precision wherever float32 has it, so that distances which look alike are alike, and ties go
/// by id. Beyond that range it stays as it is. What double precision cannot tell from parallel is parallel.
pub fn answered(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let distance = exact(metric, a, b);
    if metric == Metric::Cosine && distance < PARALLEL {
        return 0.0;
    }
    match distance as f32 {
        rounded if rounded.is_normal() => f64::from(rounded),
        _ => distance,
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
    // In double precision, no product of squared f32 lengths overflows or vanishes.
    let distance = 1.0 - product / (aa * bb).sqrt();
    if distance >= NEARLY_PARALLEL {
        return distance.min(2.0);
    }
    let (a_inverse, b_inverse) = (aa.sqrt().recip(), bb.sqrt().recip());
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) * a_inverse - f64::from(*b) * b_inverse).powi(2);
    a.iter().zip(b).map(square).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn vector(rng: &mut Rng, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| rng.unit() as f32 - 0.5).collect()
    }

    #[test]
    fn metrics_are_what_they_say() {
        let (a, b) = ([3.0, 0.0, 1.0], [0.0, 4.0, 1.0]);
        assert_eq!(exact(Metric::SquaredEuclidean, &a, &b), 25.0);
        assert_eq!(exact(Metric::Euclidean, &a, &b), 5.0);
        let cosine = 1.0 - 1.0 / (10.0f64 * 17.0).sqrt();
        assert!((exact(Metric::Cosine, &a, &b) - cosine).abs() < 1e-15);
        assert_eq!(exact(Metric::Cosine, &a, &[0.0; 3]), 1.0);
        assert_eq!(exact(Metric::Cosine, &[0.0; 3], &[0.0; 3]), 1.0);
        assert_eq!(exact(Metric::Cosine, &a, &[-3.0, 0.0, -1.0]), 2.0);
    }

    /// Against a computation whose error is that of its inputs: the angle between vectors whose difference is known.
    #[test]
    fn nearly_parallel_vectors_keep_their_digits() {
        for tilt in [1e-2f32, 1e-3, 1e-4, 1e-6, 1e-9] {
            for dimension in [2, 7, 64, 385] {
                let (mut a, mut b) = (vec![0.0; dimension], vec![0.0; dimension]);
                a[0] = 2.0;
                b[0] = 3.0;
                b[dimension - 1] = 3.0 * tilt;
                let tilt = f64::from(3.0 * tilt) / 3.0;
                // 1 - cos(atan(t)) without cancellation.
                let length = (1.0 + tilt * tilt).sqrt();
                let expected = tilt * tilt / (length * (length + 1.0));
                let found = exact(Metric::Cosine, &a, &b);
                assert!(
                    (found - expected).abs() <= 1e-9 * expected,
                    "{tilt} in {dimension}: {found}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn distances_that_look_alike_are_alike() {
        let zero = vec![0.0; 16];
        let mut numbers: Vec<f32> = (0..16).map(|i| (i as f32).sin() * 1.7).collect();
        let first = answered(Metric::Euclidean, &numbers, &zero);
        for _ in 0..40 {
            numbers.rotate_left(3);
            numbers.swap(1, 7);
            assert_eq!(answered(Metric::Euclidean, &numbers, &zero), first);
        }
        assert_eq!(first, f64::from(first as f32));
        for scale in 1..40 {
            let along = [0.1f32, 0.2, 0.3].map(|x| x * scale as f32);
            assert_eq!(answered(Metric::Cosine, &[1.0; 3], &[scale as f32; 3]), 0.0);
            assert_eq!(answered(Metric::Cosine, &[-0.1, -0.2, -0.3], &along), 2.0);
        }
    }

    #[test]
    fn distances_that_float32_does_not_hold_are_told_in_full() {
        let squared = |a: f32, b: f32| answered(Metric::SquaredEuclidean, &[a], &[b]);
        assert_eq!(squared(4e25, 0.0), f64::from(4e25f32).powi(2));
        assert_eq!(squared(1e-25, 0.0), f64::from(1e-25f32).powi(2));
        assert_eq!(
            answered(Metric::Euclidean, &[f32::MAX], &[-f32::MAX]),
            2.0 * f64::from(f32::MAX)
        );
        assert_eq!(squared(1.0, 1.0), 0.0);
    }

    #[test]
    fn a_vector_is_at_distance_zero_of_itself() {
        let mut rng = Rng::new(1, 1);
        for dimension in [1, 2, 15, 16, 17, 384, 1_000] {
            let a = vector(&mut rng, dimension);
            for metric in [Metric::Euclidean, Metric::SquaredEuclidean, Metric::Cosine] {
                assert_eq!(exact(metric, &a, &a), 0.0);
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let (large, small) = (vec![f32::MAX; 16_384], vec![f32::MIN_POSITIVE; 16_384]);
        let opposite: Vec<f32> = large.iter().map(|value| -value).collect();
        assert!(exact(Metric::SquaredEuclidean, &large, &opposite).is_finite());
        assert_eq!(exact(Metric::Cosine, &large, &opposite), 2.0);
        assert!(exact(Metric::Cosine, &large, &small).abs() < 1e-12);
        assert!(exact(Metric::Euclidean, &small, &[0.0; 16_384]) > 0.0);
    }

    #[test]
    fn one_value_that_is_not_finite_is_seen() {
        for position in [0, 7, 8, 63, 99] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut v = vec![1.0; 100];
                assert!(is_finite_all(&v));
                v[position] = bad;
                assert!(!is_finite_all(&v));
            }
        }
    }
}
