//! Products with signed bytes: of 16-bit integers, or of other bytes.

use crate::kernel::scalar;
use std::arch::x86_64::*;

/// Values of one step.
const STEP: usize = 16;
const BYTE_STEP: usize = 32;

/// Four rows at a time share the loads of the query. No sum leaves 32 bits, as the caller has seen to.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn int8_dots(
    query: &[i16],
    rows: &[u8],
    row_bytes: usize,
    offset: usize,
    each: &mut impl FnMut(usize, i32),
) {
    let (steps, query_rest) = query.as_chunks::<STEP>();
    let mut number = 0;
    for rows in rows.chunks(4 * row_bytes) {
        let count = rows.len() / row_bytes;
        // Fewer than four rows are filled up with the last one.
        let codes = [0, 1, 2, 3].map(|row| &rows[row.min(count - 1) * row_bytes..][offset..row_bytes]);
        let [a, b, c, d] = codes.map(|code| code.as_chunks::<STEP>().0);
        let mut sums = [_mm256_setzero_si256(); 4];
        for ((((query, a), b), c), d) in steps.iter().zip(a).zip(b).zip(c).zip(d) {
            let query = load_query(query);
            for (code, sum) in [a, b, c, d].into_iter().zip(&mut sums) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(query, load_code(code)));
            }
        }
        for (code, total) in codes.into_iter().zip(totals(sums)).take(count) {
            each(
                number,
                total + scalar::int8_dot(query_rest, &code[steps.len() * STEP..]),
            );
            number += 1;
        }
    }
}

/// Pairs of products of an unsigned byte with a signed one are added in 16 bits, which 2 * 127 * 127 does not leave. So
/// the query's sign is moved to the row.
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn byte_dots(query: &[i8], rows: &[i8], out: &mut [i32]) {
    let (steps, query_rest) = query.as_chunks::<BYTE_STEP>();
    let mut outs = out.iter_mut();
    for rows in rows.chunks(4 * query.len()) {
        let count = rows.len() / query.len();
        let a = byte_row(rows, query.len(), 0);
        let (b, c, d) = (
            byte_row(rows, query.len(), 1),
            byte_row(rows, query.len(), 2),
            byte_row(rows, query.len(), 3),
        );
        let mut sums = [_mm256_setzero_si256(); 4];
        for ((((query, a), b), c), d) in steps.iter().zip(a.0).zip(b.0).zip(c.0).zip(d.0) {
            let query = load_bytes(query);
            let magnitudes = _mm256_abs_epi8(query);
            for (row, sum) in [a, b, c, d].into_iter().zip(&mut sums) {
                let pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(load_bytes(row), query));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        let totals = totals(sums);
        let rests = [a.1, b.1, c.1, d.1];
        for row in 0..count {
            let Some(out) = outs.next() else { return };
            *out = totals[row] + scalar::byte_dot(query_rest, rests[row]);
        }
    }
}

/// A row in steps and what is left of it; the last one instead of one behind it.
#[inline(always)]
fn byte_row(rows: &[i8], length: usize, number: usize) -> (&[[i8; BYTE_STEP]], &[i8]) {
    let last = rows.len() / length - 1;
    rows[number.min(last) * length..][..length].as_chunks()
}

/// The total of each register.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn totals(sums: [__m256i; 4]) -> [i32; 4] {
    let pairs = [
        _mm256_hadd_epi32(sums[0], sums[1]),
        _mm256_hadd_epi32(sums[2], sums[3]),
    ];
    let halves = _mm256_hadd_epi32(pairs[0], pairs[1]);
    let totals = _mm_add_epi32(
        _mm256_castsi256_si128(halves),
        _mm256_extracti128_si256::<1>(halves),
    );
    let mut out = [0; 4];
    // SAFETY: writes the 16 bytes of `out`, of any alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), totals) };
    out
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_query(values: &[i16; STEP]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference, of any alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_code(bytes: &[u8; STEP]) -> __m256i {
    // SAFETY: reads the 16 bytes of the reference, of any alignment.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_bytes(bytes: &[i8; BYTE_STEP]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference, of any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
