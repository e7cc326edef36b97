//! Products of 16-bit integers with signed bytes.

use crate::kernel::{avx2, scalar};
use std::arch::x86_64::*;

/// Values of one step.
const STEP: usize = 32;

/// A kernel that multiplies and adds in its own way; all else is the same. Four rows at a time share the loads of the
/// query. No sum leaves 32 bits, as the caller has seen to.
macro_rules! int8_kernel {
    ($name:ident, $features:literal, $multiply_add:expr) => {
        #[target_feature(enable = $features)]
        pub(in crate::kernel) fn $name(
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
                let codes =
                    [0, 1, 2, 3].map(|row| &rows[row.min(count - 1) * row_bytes..][offset..row_bytes]);
                let [a, b, c, d] = codes.map(|code| code.as_chunks::<STEP>().0);
                let mut sums = [_mm512_setzero_si512(); 4];
                for ((((query, a), b), c), d) in steps.iter().zip(a).zip(b).zip(c).zip(d) {
                    let query = load_query(query);
                    for (code, sum) in [a, b, c, d].into_iter().zip(&mut sums) {
                        *sum = $multiply_add(*sum, query, load_code(code));
                    }
                }
                let sums = [
                    halved(sums[0]),
                    halved(sums[1]),
                    halved(sums[2]),
                    halved(sums[3]),
                ];
                let totals = avx2::int8::totals(sums);
                for (code, total) in codes.into_iter().zip(totals).take(count) {
                    each(
                        number,
                        total + scalar::int8_dot(query_rest, &code[steps.len() * STEP..]),
                    );
                    number += 1;
                }
            }
        }
    };
}

int8_kernel!(int8_dots, "avx512f,avx512bw,avx512vl", |sum, a, b| {
    _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
});
int8_kernel!(
    int8_dots_vnni,
    "avx512f,avx512bw,avx512vl,avx512vnni",
    |sum, a, b| _mm512_dpwssd_epi32(sum, a, b)
);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn halved(sum: __m512i) -> __m256i {
    _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_query(values: &[i16; STEP]) -> __m512i {
    // SAFETY: reads the 64 bytes of the reference, of any alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load_code(bytes: &[u8; STEP]) -> __m512i {
    // SAFETY: reads the 32 bytes of the reference, of any alignment.
    _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}
