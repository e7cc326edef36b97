//! AVX2 and FMA: 8 floats or 32 bytes at a time.

use super::{BLOCK_ROWS, CHUNK_TABLES, lanes};
use std::arch::x86_64::*;

#[target_feature(enable = "avx2,fma")]
pub(super) fn squared(a: &[f32], b: &[f32]) -> f32 {
    lanes::squared::<32, true>(a, b)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes::dot::<32, true>(a, b)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn dots(query: &[f32], rows: &[f32], out: &mut [f32]) {
    lanes::dots::<16, true>(query, rows, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn exact_squared(a: &[f32], b: &[f32]) -> f64 {
    lanes::exact_squared::<16, true>(a, b)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn exact_products(a: &[f32], b: &[f32]) -> [f64; 3] {
    lanes::exact_products::<8, true>(a, b)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn int8_dots(
    query: &[i16],
    rows: &[u8],
    row_bytes: usize,
    offset: usize,
    each: &mut impl FnMut(usize, i32),
) {
    for (row, code) in rows.chunks_exact(row_bytes).enumerate() {
        each(row, lanes::int8_dot::<32>(query, &code[offset..]));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn pq4_encode(books: &[[f32; 32]], row: &[f32], out: &mut [u8]) {
    lanes::pq4_encode(books, row, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn pq4_distances(books: &[[f32; 32]], row: &[f32], out: &mut [[f32; 16]]) {
    lanes::pq4_distances(books, row, out);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn pq4_scan(
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
pub(super) fn pq4_scan_from(
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
pub(super) type Sums16 = [__m256i; 2];

/// Sums of a block's 32 rows.
pub(super) enum Sums {
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
pub(super) fn widen(wide: &mut [__m256i; 4], [even, odd]: Sums16) {
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
pub(super) fn report(
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
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: reads the 32 bytes of the reference, of any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn halves(bytes: &[u8; 32]) -> (__m128i, __m128i) {
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
