//! The definition of every kernel, in portable code.

use super::{BLOCK_ROWS, lanes};

pub(super) fn squared(a: &[f32], b: &[f32]) -> f32 {
    lanes::squared::<8, false>(a, b)
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes::dot::<8, false>(a, b)
}

pub(super) fn dots(query: &[f32], rows: &[f32], out: &mut [f32]) {
    lanes::dots::<4, false>(query, rows, out);
}

pub(super) fn exact_squared(a: &[f32], b: &[f32]) -> f64 {
    lanes::exact_squared::<4, false>(a, b)
}

pub(super) fn exact_products(a: &[f32], b: &[f32]) -> [f64; 3] {
    lanes::exact_products::<2, false>(a, b)
}

pub(super) fn int8_dots(
    query: &[i16],
    rows: &[u8],
    row_bytes: usize,
    offset: usize,
    each: &mut impl FnMut(usize, i32),
) {
    for (row, code) in rows.chunks_exact(row_bytes).enumerate() {
        each(row, lanes::int8_dot::<8>(query, &code[offset..]));
    }
}

pub(super) fn pq4_scan(
    tables: &[[u8; 32]],
    blocks: &[u8],
    limit: u32,
    each: &mut impl FnMut(usize, u32, &[u32; BLOCK_ROWS]),
) {
    for (number, block) in blocks.chunks_exact(BLOCK_ROWS * tables.len()).enumerate() {
        let mut sums = [0; BLOCK_ROWS];
        for (table, codes) in tables.iter().zip(block.as_chunks::<BLOCK_ROWS>().0) {
            for (sum, code) in sums.iter_mut().zip(codes) {
                let (low, high) = (
                    table[usize::from(code & 15)],
                    table[usize::from(16 + (code >> 4))],
                );
                *sum += u32::from(low) + u32::from(high);
            }
        }
        let hits = sums
            .iter()
            .rev()
            .fold(0, |hits, sum| hits << 1 | u32::from(*sum <= limit));
        if hits != 0 {
            each(number, hits, &sums);
        }
    }
}

pub(super) fn pq4_encode(books: &[[f32; 32]], row: &[f32], out: &mut [u8]) {
    lanes::pq4_encode(books, row, out);
}

pub(super) fn pq4_distances(books: &[[f32; 32]], row: &[f32], out: &mut [[f32; 16]]) {
    lanes::pq4_distances(books, row, out);
}
