//! Fast-scan. Codes and tables are of 16 values each, for which AVX2 is as good.

use crate::kernel::avx2::pq4 as avx2;
use crate::kernel::{BLOCK_ROWS, CHUNK_TABLES};
use std::arch::x86_64::*;

/// Four blocks at a time, two to a register; what is left over as with AVX2.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernel) fn pq4_scan(
    tables: &[[u8; 32]],
    blocks: &[u8],
    limit: u32,
    each: &mut impl FnMut(usize, u32, &[u32; BLOCK_ROWS]),
) {
    let block_bytes = BLOCK_ROWS * tables.len();
    let mut fours = blocks.chunks_exact(4 * block_bytes);
    let mut number = 0;
    for four in &mut fours {
        let (first, second) = four.split_at(2 * block_bytes);
        let pairs = [first.split_at(block_bytes), second.split_at(block_bytes)];
        for sums in sums(tables, pairs).as_flattened() {
            avx2::report(number, sums, limit, each);
            number += 1;
        }
    }
    avx2::pq4_scan_from(number, tables, fours.remainder(), limit, each);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn sums(tables: &[[u8; 32]], pairs: [(&[u8], &[u8]); 2]) -> [[avx2::Sums; 2]; 2] {
    let pairs = pairs.map(|(first, second)| [first.as_chunks().0, second.as_chunks().0]);
    if tables.len() <= CHUNK_TABLES {
        return chunk_sums(tables, pairs).map(|pair| pair.map(avx2::Sums::Narrow));
    }
    let mut wide = [[[_mm256_setzero_si256(); 4]; 2]; 2];
    for (chunk, tables) in tables.chunks(CHUNK_TABLES).enumerate() {
        let start = chunk * CHUNK_TABLES;
        let parts = pairs.map(|pair| pair.map(|block| &block[start..start + tables.len()]));
        let narrow = chunk_sums(tables, parts);
        for (wide, narrow) in wide.as_flattened_mut().iter_mut().zip(narrow.as_flattened()) {
            avx2::widen(wide, *narrow);
        }
    }
    wide.map(|pair| pair.map(avx2::Sums::Wide))
}

/// As [`avx2::chunk_sums`], the first block of a pair in the lower half of each register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn chunk_sums(tables: &[[u8; 32]], pairs: [[&[[u8; BLOCK_ROWS]]; 2]; 2]) -> [[avx2::Sums16; 2]; 2] {
    let nibble = _mm512_set1_epi8(15);
    let mut mixed = [_mm512_setzero_si512(); 2];
    let mut odd = [_mm512_setzero_si512(); 2];
    for (position, table) in tables.iter().enumerate() {
        let (low_half, high_half) = avx2::halves(table);
        let (low_table, high_table) = (
            _mm512_broadcast_i32x4(low_half),
            _mm512_broadcast_i32x4(high_half),
        );
        for pair in 0..2 {
            let [first, second] = pairs[pair].map(|block| avx2::load(&block[position]));
            let codes = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
            let low = _mm512_shuffle_epi8(low_table, _mm512_and_si512(codes, nibble));
            let high = _mm512_shuffle_epi8(
                high_table,
                _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble),
            );
            let both = _mm512_add_epi8(low, high);
            mixed[pair] = _mm512_add_epi16(mixed[pair], both);
            odd[pair] = _mm512_add_epi16(odd[pair], _mm512_srli_epi16::<8>(both));
        }
    }
    let mut sums = [[[_mm256_setzero_si256(); 2]; 2]; 2];
    for pair in 0..2 {
        let even = _mm512_sub_epi16(mixed[pair], _mm512_slli_epi16::<8>(odd[pair]));
        let lower = [_mm512_castsi512_si256(even), _mm512_castsi512_si256(odd[pair])];
        let upper = [
            _mm512_extracti64x4_epi64::<1>(even),
            _mm512_extracti64x4_epi64::<1>(odd[pair]),
        ];
        sums[pair] = [lower, upper];
    }
    sums
}
