//! Sums over floats. Several sums are under way at once, because each addition waits for the one before.

use crate::kernel::scalar;
use std::arch::x86_64::*;

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn squared(a: &[f32], b: &[f32]) -> f32 {
    let ((a_long, a), (b_long, b)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = [_mm256_setzero_ps(); 4];
    for (a, b) in a_long.iter().zip(b_long) {
        for ((a, b), sum) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            let difference = _mm256_sub_ps(load(a), load(b));
            *sum = _mm256_fmadd_ps(difference, difference, *sum);
        }
    }
    let ((a_short, a), (b_short, b)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a_short.iter().zip(b_short) {
        let difference = _mm256_sub_ps(load(a), load(b));
        sums[0] = _mm256_fmadd_ps(difference, difference, sums[0]);
    }
    let rest: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    total(total_of_four(sums)) + rest
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_long, a), (b_long, b)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = [_mm256_setzero_ps(); 4];
    for (a, b) in a_long.iter().zip(b_long) {
        for ((a, b), sum) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            *sum = _mm256_fmadd_ps(load(a), load(b), *sum);
        }
    }
    let ((a_short, a), (b_short, b)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a_short.iter().zip(b_short) {
        sums[0] = _mm256_fmadd_ps(load(a), load(b), sums[0]);
    }
    let rest: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    total(total_of_four(sums)) + rest
}

/// Four rows at a time share the loads of the query.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn dots(query: &[f32], rows: &[f32], out: &mut [f32]) {
    let n = query.len();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let (four_rows, rest_rows) = rows.split_at(fours.len() * 4 * n);
    for (rows, out) in four_rows.chunks_exact(4 * n).zip(fours) {
        let (first, second) = rows.split_at(2 * n);
        let ((first, second), (third, fourth)) = (first.split_at(n), second.split_at(n));
        *out = dot_four(query, [first, second, third, fourth]);
    }
    for (row, out) in rest_rows.chunks_exact(n).zip(rest) {
        *out = dot_four(query, [row; 4])[0];
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_four(query: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    let (query, query_rest) = query.as_chunks::<16>();
    let (rows, rests) = (
        rows.map(|row| row.as_chunks::<16>().0),
        rows.map(|row| row.as_chunks::<16>().1),
    );
    let mut sums = [[_mm256_setzero_ps(); 2]; 4];
    let [first, second, third, fourth] = rows;
    for ((((query, a), b), c), d) in query.iter().zip(first).zip(second).zip(third).zip(fourth) {
        let query = pair(query);
        for (row, sums) in [a, b, c, d].into_iter().zip(&mut sums) {
            let row = pair(row);
            sums[0] = _mm256_fmadd_ps(query[0], row[0], sums[0]);
            sums[1] = _mm256_fmadd_ps(query[1], row[1], sums[1]);
        }
    }
    let mut totals = [0.0; 4];
    for row in 0..4 {
        let rest: f32 = query_rest.iter().zip(rests[row]).map(|(a, b)| a * b).sum();
        totals[row] = total(_mm256_add_ps(sums[row][0], sums[row][1])) + rest;
    }
    totals
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn exact_squared(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [_mm256_setzero_pd(); 4];
    for (a, b) in a.iter().zip(b) {
        for ((a, b), sum) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            let difference = _mm256_sub_pd(load_wide(a), load_wide(b));
            *sum = _mm256_fmadd_pd(difference, difference, *sum);
        }
    }
    let sums = _mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3]));
    total_wide(sums) + scalar::exact_squared(a_rest, b_rest)
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn exact_products(a: &[f32], b: &[f32]) -> [f64; 3] {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [[_mm256_setzero_pd(); 3]; 2];
    for (a, b) in a.iter().zip(b) {
        for ((a, b), sums) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            let (a, b) = (load_wide(a), load_wide(b));
            sums[0] = _mm256_fmadd_pd(a, b, sums[0]);
            sums[1] = _mm256_fmadd_pd(a, a, sums[1]);
            sums[2] = _mm256_fmadd_pd(b, b, sums[2]);
        }
    }
    let rest = scalar::exact_products(a_rest, b_rest);
    [0, 1, 2].map(|i| total_wide(_mm256_add_pd(sums[0][i], sums[1][i])) + rest[i])
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn total_of_four(sums: [__m256; 4]) -> __m256 {
    _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn total(sums: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn total_wide(sums: __m256d) -> f64 {
    let two = _mm_add_pd(_mm256_castpd256_pd128(sums), _mm256_extractf128_pd::<1>(sums));
    _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load(values: &[f32; 8]) -> __m256 {
    // SAFETY: reads the 8 values of the reference, of any alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn pair(values: &[f32; 16]) -> [__m256; 2] {
    let values = values.as_ptr();
    // SAFETY: reads the first and the last 8 of the reference's 16 values, of any alignment.
    unsafe { [_mm256_loadu_ps(values), _mm256_loadu_ps(values.add(8))] }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_wide(values: &[f32; 4]) -> __m256d {
    // SAFETY: reads the 4 values of the reference, of any alignment.
    _mm256_cvtps_pd(unsafe { _mm_loadu_ps(values.as_ptr()) })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn values(register: __m256) -> [f32; 8] {
    let mut out = [0.0; 8];
    // SAFETY: writes the 8 values of `out`, of any alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), register) };
    out
}

/// 8 of a book's values, from `start` on.
///
/// # Panics
/// If they are not all there; not in compiled code, where `start` is a constant.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_at(book: &[f32; 32], start: usize) -> __m256 {
    assert!(start + 8 <= book.len());
    // SAFETY: reads 8 values from `start` on, of any alignment; they are there.
    unsafe { _mm256_loadu_ps(book.as_ptr().add(start)) }
}
