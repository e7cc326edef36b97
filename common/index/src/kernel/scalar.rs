//! The definition of every kernel, in portable code.

use super::BLOCK_ROWS;

pub(super) fn squared(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn dots(query: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        *out = dot(query, row);
    }
}

pub(super) fn exact_squared(a: &[f32], b: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    };
    a.iter().zip(b).map(square).sum()
}

pub(super) fn exact_products(a: &[f32], b: &[f32]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        sums[0] += a * b;
        sums[1] += a * a;
        sums[2] += b * b;
    }
    sums
}

pub(super) fn int8_dots(
    query: &[i16],
    rows: &[u8],
    row_bytes: usize,
    offset: usize,
    each: &mut impl FnMut(usize, i32),
) {
    for (row, code) in rows.chunks_exact(row_bytes).enumerate() {
        let products = query
            .iter()
            .zip(&code[offset..])
            .map(|(q, code)| i32::from(*q) * i32::from(*code as i8));
        each(row, products.sum());
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
                *sum += u32::from(table[usize::from(code & 15)])
                    + u32::from(table[usize::from(16 + (code >> 4))]);
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
    let mut distances = [[0.0; 16]; 2];
    for ((books, row), out) in books.chunks(2).zip(row.chunks(4)).zip(out) {
        pq4_distances(books, row, &mut distances);
        *out = books
            .iter()
            .zip(&distances)
            .rev()
            .fold(0, |byte, (_, table)| byte << 4 | least(table));
    }
}

#[inline(always)]
pub(super) fn pq4_distances(books: &[[f32; 32]], row: &[f32], out: &mut [[f32; 16]]) {
    for ((book, row), out) in books.iter().zip(row.chunks(2)).zip(out) {
        let (x, y) = (row[0], row.get(1).copied().unwrap_or(0.0));
        for k in 0..16 {
            let (x, y) = (book[k] - x, book[16 + k] - y);
            out[k] = x * x + y * y;
        }
    }
}

/// The position of the least of 16 non-negative values. Such floats order as their bits do, so the position can ride
/// in the four lowest ones; what differs by less than that is as near for every purpose.
#[inline(always)]
fn least(distances: &[f32; 16]) -> u8 {
    let mut keys = [0; 16];
    for k in 0..16 {
        keys[k] = distances[k].to_bits() & !15 | k as u32;
    }
    for width in [8, 4, 2, 1] {
        for k in 0..width {
            keys[k] = keys[k].min(keys[k + width]);
        }
    }
    (keys[0] & 15) as u8
}
