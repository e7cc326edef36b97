//! Products of two matrices' rows, a tile of 4 x 3 sums at a time: 12 sums under way for 7 loads, and nothing has to be
//! rearranged first.

use super::float::{load, total};
use std::arch::x86_64::*;

/// Bytes of `b`'s rows that are multiplied with all of `a` before the next ones: they stay in the second-level cache.
const BLOCK_BYTES: usize = 128 * 1024;

/// Each product is summed in the same order wherever it lies.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn products(dimension: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    let columns = b.len() / dimension;
    let block = (BLOCK_BYTES / 4 / dimension).max(1).next_multiple_of(3);
    for (b, first) in b.chunks(block * dimension).zip((0..).step_by(block)) {
        for (a, out) in a.chunks(4 * dimension).zip(out.chunks_mut(4 * columns)) {
            for (b, column) in b.chunks(3 * dimension).zip((first..).step_by(3)) {
                let sums = tile(dimension, a, b);
                for (sums, out) in sums.iter().zip(out.chunks_exact_mut(columns)) {
                    let out = &mut out[column..];
                    let count = out.len().min(3);
                    out[..count].copy_from_slice(&sums[..count]);
                }
            }
        }
    }
}

/// Products of up to 4 rows with up to 3; missing ones are filled up with the last.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn tile(dimension: usize, a: &[f32], b: &[f32]) -> [[f32; 3]; 4] {
    let steps = dimension / 8;
    let a = [
        row(a, dimension, 0),
        row(a, dimension, 1),
        row(a, dimension, 2),
        row(a, dimension, 3),
    ];
    let b = [row(b, dimension, 0), row(b, dimension, 1), row(b, dimension, 2)];
    let (a0, a1) = (&a[0].as_chunks().0[..steps], &a[1].as_chunks().0[..steps]);
    let (a2, a3) = (&a[2].as_chunks().0[..steps], &a[3].as_chunks().0[..steps]);
    let (b0, b1, b2) = (
        &b[0].as_chunks().0[..steps],
        &b[1].as_chunks().0[..steps],
        &b[2].as_chunks().0[..steps],
    );
    let mut sums = [[_mm256_setzero_ps(); 3]; 4];
    for step in 0..steps {
        let b = [load(&b0[step]), load(&b1[step]), load(&b2[step])];
        let a = [load(&a0[step]), load(&a1[step]), load(&a2[step]), load(&a3[step])];
        for i in 0..4 {
            for j in 0..3 {
                sums[i][j] = _mm256_fmadd_ps(a[i], b[j], sums[i][j]);
            }
        }
    }
    let mut out = [[0.0; 3]; 4];
    for i in 0..4 {
        for j in 0..3 {
            out[i][j] = total(sums[i][j]);
            for at in 8 * steps..dimension {
                out[i][j] += a[i][at] * b[j][at];
            }
        }
    }
    out
}

#[inline(always)]
fn row(rows: &[f32], dimension: usize, number: usize) -> &[f32] {
    let last = rows.len() / dimension - 1;
    &rows[number.min(last) * dimension..][..dimension]
}
