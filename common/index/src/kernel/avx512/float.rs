//! Sums over floats. Several sums are under way at once, because each addition waits for the one before.

use crate::kernel::scalar;
use std::arch::x86_64::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernel) fn squared(a: &[f32], b: &[f32]) -> f32 {
    let ((a_long, a), (b_long, b)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    let mut sums = [_mm512_setzero_ps(); 4];
    for (a, b) in a_long.iter().zip(b_long) {
        for ((a, b), sum) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            let difference = _mm512_sub_ps(load(a), load(b));
            *sum = _mm512_fmadd_ps(difference, difference, *sum);
        }
    }
    let ((a_short, a), (b_short, b)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a_short.iter().zip(b_short) {
        let difference = _mm512_sub_ps(load(a), load(b));
        sums[0] = _mm512_fmadd_ps(difference, difference, sums[0]);
    }
    let rest: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    _mm512_reduce_add_ps(total_of_four(sums)) + rest
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernel) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a_long, a), (b_long, b)) = (a.as_chunks::<64>(), b.as_chunks::<64>());
    let mut sums = [_mm512_setzero_ps(); 4];
    for (a, b) in a_long.iter().zip(b_long) {
        for ((a, b), sum) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            *sum = _mm512_fmadd_ps(load(a), load(b), *sum);
        }
    }
    let ((a_short, a), (b_short, b)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a_short.iter().zip(b_short) {
        sums[0] = _mm512_fmadd_ps(load(a), load(b), sums[0]);
    }
    let rest: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    _mm512_reduce_add_ps(total_of_four(sums)) + rest
}

/// Four rows at a time share the loads of the query.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn dot_four(query: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    let (query, query_rest) = query.as_chunks::<32>();
    let (rows, rests) = (
        rows.map(|row| row.as_chunks::<32>().0),
        rows.map(|row| row.as_chunks::<32>().1),
    );
    let mut sums = [[_mm512_setzero_ps(); 2]; 4];
    let [first, second, third, fourth] = rows;
    for ((((query, a), b), c), d) in query.iter().zip(first).zip(second).zip(third).zip(fourth) {
        let query = pair(query);
        for (row, sums) in [a, b, c, d].into_iter().zip(&mut sums) {
            let row = pair(row);
            sums[0] = _mm512_fmadd_ps(query[0], row[0], sums[0]);
            sums[1] = _mm512_fmadd_ps(query[1], row[1], sums[1]);
        }
    }
    let mut totals = [0.0; 4];
    for row in 0..4 {
        let rest: f32 = query_rest.iter().zip(rests[row]).map(|(a, b)| a * b).sum();
        totals[row] = _mm512_reduce_add_ps(_mm512_add_ps(sums[row][0], sums[row][1])) + rest;
    }
    totals
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernel) fn exact_squared(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    let mut sums = [_mm512_setzero_pd(); 4];
    for (a, b) in a.iter().zip(b) {
        for ((a, b), sum) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            let difference = _mm512_sub_pd(load_wide(a), load_wide(b));
            *sum = _mm512_fmadd_pd(difference, difference, *sum);
        }
    }
    let sums = _mm512_add_pd(_mm512_add_pd(sums[0], sums[1]), _mm512_add_pd(sums[2], sums[3]));
    _mm512_reduce_add_pd(sums) + scalar::exact_squared(a_rest, b_rest)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernel) fn exact_products(a: &[f32], b: &[f32]) -> [f64; 3] {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [[_mm512_setzero_pd(); 3]; 2];
    for (a, b) in a.iter().zip(b) {
        for ((a, b), sums) in a.as_chunks().0.iter().zip(b.as_chunks().0).zip(&mut sums) {
            let (a, b) = (load_wide(a), load_wide(b));
            sums[0] = _mm512_fmadd_pd(a, b, sums[0]);
            sums[1] = _mm512_fmadd_pd(a, a, sums[1]);
            sums[2] = _mm512_fmadd_pd(b, b, sums[2]);
        }
    }
    let rest = scalar::exact_products(a_rest, b_rest);
    [0, 1, 2].map(|i| _mm512_reduce_add_pd(_mm512_add_pd(sums[0][i], sums[1][i])) + rest[i])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn total_of_four(sums: [__m512; 4]) -> __m512 {
    _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: reads the 16 values of the reference, of any alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pair(values: &[f32; 32]) -> [__m512; 2] {
    let values = values.as_ptr();
    // SAFETY: reads the first and the last 16 of the reference's 32 values, of any alignment.
    unsafe { [_mm512_loadu_ps(values), _mm512_loadu_ps(values.add(16))] }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_wide(values: &[f32; 8]) -> __m512d {
    // SAFETY: reads the 8 values of the reference, of any alignment.
    _mm512_cvtps_pd(unsafe { _mm256_loadu_ps(values.as_ptr()) })
}
