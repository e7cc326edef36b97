//! Product quantisation: codes, tables and fast-scan.
//!
//! No closures in the loops: what calls them was not compiled for these instructions, so they would not be inlined.

use super::float;
use crate::kernel::{BLOCK_ROWS, CHUNK_TABLES, scalar};
use std::arch::x86_64::*;

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn pq4_encode(books: &[[f32; 32]], row: &[f32], out: &mut [u8]) {
    let (whole, rest) = row.as_chunks::<4>();
    let mut pairs = books.chunks(2).zip(out);
    for row in whole {
        let Some(([low, high], out)) = pairs.next() else {
            return;
        };
        let low = least_position(squares(low, row[0], row[1]));
        *out = low | least_position(squares(high, row[2], row[3])) << 4;
    }
    if let Some((books, out)) = pairs.next() {
        scalar::pq4_encode(books, rest, std::slice::from_mut(out));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn pq4_distances(
    books: &[[f32; 32]],
    row: &[f32],
    out: &mut [[f32; 16]],
) -> (f32, f32) {
    let (mut leasts, mut most) = ([0.0; 4], _mm256_setzero_ps());
    for (sub, (book, out)) in books.iter().zip(out).enumerate() {
        // An odd last value is paired with 0.
        let second = if 2 * sub + 1 < row.len() {
            row[2 * sub + 1]
        } else {
            0.0
        };
        let [first, second] = squares(book, row[2 * sub], second);
        let eight = _mm256_min_ps(first, second);
        let four = _mm256_min_ps(eight, _mm256_permute2f128_ps::<1>(eight, eight));
        let two = _mm256_min_ps(four, _mm256_permute_ps::<0b01_00_11_10>(four));
        let least = _mm256_min_ps(two, _mm256_permute_ps::<0b10_11_00_01>(two));
        leasts[sub % 4] += _mm256_cvtss_f32(least);
        let (first, second) = (_mm256_sub_ps(first, least), _mm256_sub_ps(second, least));
        most = _mm256_max_ps(most, _mm256_max_ps(first, second));
        let out = out.as_mut_ptr();
        // SAFETY: writes the first and the last 8 of 16 values, of any alignment.
        unsafe { (_mm256_storeu_ps(out, first), _mm256_storeu_ps(out.add(8), second)) };
    }
    let most = float::values(most).into_iter().fold(0.0, f32::max);
    ((leasts[0] + leasts[1]) + (leasts[2] + leasts[3]), most)
}

/// Not fused, so that the outcome is the portable form's to the bit.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn squares(book: &[f32; 32], x: f32, y: f32) -> [__m256; 2] {
    let [x0, x1, y0, y1] = [
        float::load_at(book, 0),
        float::load_at(book, 8),
        float::load_at(book, 16),
        float::load_at(book, 24),
    ];
    let (x, y) = (_mm256_set1_ps(x), _mm256_set1_ps(y));
    [
        square_sum(_mm256_sub_ps(x0, x), _mm256_sub_ps(y0, y)),
        square_sum(_mm256_sub_ps(x1, x), _mm256_sub_ps(y1, y)),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn square_sum(x: __m256, y: __m256) -> __m256 {
    _mm256_add_ps(_mm256_mul_ps(x, x), _mm256_mul_ps(y, y))
}

/// Positions ride in the lowest bits, as in the portable form.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn least_position([first, second]: [__m256; 2]) -> u8 {
    let bits = _mm256_set1_epi32(!15);
    let first = _mm256_and_si256(_mm256_castps_si256(first), bits);
    let second = _mm256_and_si256(_mm256_castps_si256(second), bits);
    let first = _mm256_or_si256(first, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    let second = _mm256_or_si256(second, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
    let eight = _mm256_min_epu32(first, second);
    let four = _mm_min_epu32(
        _mm256_castsi256_si128(eight),
        _mm256_extracti128_si256::<1>(eight),
    );
    let two = _mm_min_epu32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    let least = _mm_min_epu32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
    (_mm_cvtsi128_si32(least) & 15) as u8
}

#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn pq4_scan(
    tables: &[[u8; 32]],
    blocks: &[u8],
    limit: u32,
    each: &mut impl FnMut(usize, u32, &[u32; BLOCK_ROWS]),
) {
    pq4_scan_from(0, tables, blocks, limit, each);
}

/// Two blocks at a time share the loads of the tables. The first block has the given number.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn pq4_scan_from(
    mut number: usize,
    tables: &[[u8; 32]],
    blocks: &[u8],
    limit: u32,
    each: &mut impl FnMut(usize, u32, &[u32; BLOCK_ROWS]),
) {
    let block_bytes = BLOCK_ROWS * tables.len();
    let mut pairs = blocks.chunks_exact(2 * block_bytes);
    for pair in &mut pairs {
        let (first, second) = pair.split_at(block_bytes);
        for sums in sums(tables, [first, second]) {
            report(number, &sums, limit, each);
            number += 1;
        }
    }
    for block in pairs.remainder().chunks_exact(block_bytes) {
        let [sums] = sums(tables, [block]);
        report(number, &sums, limit, each);
    }
}

/// 16-bit sums of a block's 32 rows: the even ones, the odd ones.
pub(in crate::kernel) type Sums16 = [__m256i; 2];

/// Sums of a block's 32 rows.
pub(in crate::kernel) enum Sums {
    /// All fit 16 bits.
    Narrow(Sums16),
    /// 32 bits each: rows 0, 4, 8, ...; 1, 5, ...; 2, 6, ...; 3, 7, ...
    Wide([__m256i; 4]),
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sums<const N: usize>(tables: &[[u8; 32]], blocks: [&[u8]; N]) -> [Sums; N] {
    if tables.len() <= CHUNK_TABLES {
        return chunk_sums(tables, blocks.map(|block| block.as_chunks().0)).map(Sums::Narrow);
    }
    let mut wide = [[_mm256_setzero_si256(); 4]; N];
    for (chunk, tables) in tables.chunks(CHUNK_TABLES).enumerate() {
        let start = chunk * CHUNK_TABLES;
        let narrow = chunk_sums(
            tables,
            blocks.map(|block| &block.as_chunks().0[start..start + tables.len()]),
        );
        for (wide, narrow) in wide.iter_mut().zip(narrow) {
            widen(wide, narrow);
        }
    }
    wide.map(Sums::Wide)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn widen(wide: &mut [__m256i; 4], [even, odd]: Sums16) {
    let low = _mm256_set1_epi32(0xffff);
    let parts = [
        _mm256_and_si256(even, low),
        _mm256_and_si256(odd, low),
        _mm256_srli_epi32::<16>(even),
        _mm256_srli_epi32::<16>(odd),
    ];
    for (wide, part) in wide.iter_mut().zip(parts) {
        *wide = _mm256_add_epi32(*wide, part);
    }
}

/// An entry is at most 127, so the two of one code byte add up within 8 bits, and those of 256 code bytes within 16:
/// 256 * 254 = 65,024. Adding 16-bit lanes mixes even rows with 256 times the odd ones; what the odd ones have added is
/// taken out at the end, modulo 2^16.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn chunk_sums<const N: usize>(tables: &[[u8; 32]], blocks: [&[[u8; BLOCK_ROWS]]; N]) -> [Sums16; N] {
    let mut blocks = blocks;
    for block in &mut blocks {
        // Spares the check of every position.
        *block = &block[..tables.len()];
    }
    let nibble = _mm256_set1_epi8(15);
    let mut mixed = [_mm256_setzero_si256(); N];
    let mut odd = [_mm256_setzero_si256(); N];
    for (position, table) in tables.iter().enumerate() {
        let (low_half, high_half) = halves(table);
        let (low_table, high_table) = (
            _mm256_broadcastsi128_si256(low_half),
            _mm256_broadcastsi128_si256(high_half),
        );
        for block in 0..N {
            let codes = load(&blocks[block][position]);
            let low = _mm256_shuffle_epi8(low_table, _mm256_and_si256(codes, nibble));
            let high = _mm256_shuffle_epi8(
                high_table,
                _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble),
            );
            let both = _mm256_add_epi8(low, high);
            mixed[block] = _mm256_add_epi16(mixed[block], both);
            odd[block] = _mm256_add_epi16(odd[block], _mm256_srli_epi16::<8>(both));
        }
    }
    let mut sums = [[_mm256_setzero_si256(); 2]; N];
    for block in 0..N {
        sums[block] = [
            _mm256_sub_epi16(mixed[block], _mm256_slli_epi16::<8>(odd[block])),
            odd[block],
        ];
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn report(
    number: usize,
    sums: &Sums,
    limit: u32,
    each: &mut impl FnMut(usize, u32, &[u32; BLOCK_ROWS]),
) {
    let (hits, spread): (u32, [u32; BLOCK_ROWS]);
    match sums {
        Sums::Narrow([even, odd]) => {
            hits = narrow_hits(*even, *odd, limit);
            if hits == 0 {
                return;
            }
            let (even, odd) = (store16(*even), store16(*odd));
            spread =
                std::array::from_fn(|row| u32::from(if row % 2 == 0 { even[row / 2] } else { odd[row / 2] }));
        }
        Sums::Wide(parts) => {
            let parts = parts.map(|part| store32(part));
            spread = std::array::from_fn(|row| parts[row % 4][row / 4]);
            hits = spread
                .iter()
                .rev()
                .fold(0, |hits, sum| hits << 1 | u32::from(*sum <= limit));
            if hits == 0 {
                return;
            }
        }
    }
    each(number, hits, &spread);
}

/// Which sums are at most `limit`, as a bit per row.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn narrow_hits(even: __m256i, odd: __m256i, limit: u32) -> u32 {
    let limit = _mm256_set1_epi16(limit.min(u16::MAX.into()) as u16 as i16);
    let within = |sums| _mm256_cmpeq_epi16(_mm256_subs_epu16(sums, limit), _mm256_setzero_si256());
    let bytes = _mm256_blendv_epi8(within(even), within(odd), _mm256_set1_epi16(0xff00u16 as i16));
    _mm256_movemask_epi8(bytes) as u32
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference, of any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in crate::kernel) fn halves(bytes: &[u8; 32]) -> (__m128i, __m128i) {
    let halves = bytes.as_ptr().cast::<__m128i>();
    // SAFETY: reads the first and the last 16 of the reference's 32 bytes, of any alignment.
    unsafe { (_mm_loadu_si128(halves), _mm_loadu_si128(halves.add(1))) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store16(values: __m256i) -> [u16; 16] {
    let mut out = [0; 16];
    // SAFETY: writes the 32 bytes of `out`, of any alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) };
    out
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store32(values: __m256i) -> [u32; 8] {
    let mut out = [0; 8];
    // SAFETY: writes the 32 bytes of `out`, of any alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) };
    out
}
