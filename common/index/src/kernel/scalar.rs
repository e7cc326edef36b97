//! The definition of every kernel, in portable code.

use super::BLOCK_ROWS;

/// Sums under way at once: without them each addition would wait for the one before.
const SUMS: usize = 8;

pub(super) fn squared(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |a, b| (a - b) * (a - b))
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum(a, b, |a, b| a * b)
}

pub(super) fn dots(query: &[f32], rows: &[f32], out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        *out = dot(query, row);
    }
}

pub(super) fn products(dimension: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    for (row, out) in a
        .chunks_exact(dimension)
        .zip(out.chunks_exact_mut(b.len() / dimension))
    {
        dots(row, b, out);
    }
}

pub(super) fn exact_squared(a: &[f32], b: &[f32]) -> f64 {
    exact_sum(a, b, |a, b| (a - b) * (a - b))
}

pub(super) fn exact_products(a: &[f32], b: &[f32]) -> [f64; 3] {
    [
        exact_sum(a, b, |a, b| a * b),
        exact_sum(a, a, |a, b| a * b),
        exact_sum(b, b, |a, b| a * b),
    ]
}

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    let mut sums = [0.0; SUMS];
    for (a, b) in a.iter().zip(b) {
        for i in 0..SUMS {
            sums[i] += term(a[i], b[i]);
        }
    }
    sums.into_iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| term(*a, *b)).sum::<f32>()
}

#[inline(always)]
fn exact_sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    let mut sums = [0.0; SUMS];
    for (a, b) in a.iter().zip(b) {
        for i in 0..SUMS {
            sums[i] += term(a[i].into(), b[i].into());
        }
    }
    let rest = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| term((*a).into(), (*b).into()));
    sums.into_iter().sum::<f64>() + rest.sum::<f64>()
}

pub(super) fn int8_dots(
    query: &[i16],
    rows: &[u8],
    row_bytes: usize,
    offset: usize,
    each: &mut impl FnMut(usize, i32),
) {
    for (row, code) in rows.chunks_exact(row_bytes).enumerate() {
        each(row, int8_dot(query, &code[offset..]));
    }
}

/// No sum leaves 32 bits, as the caller has seen to; wrapping only spares the check.
#[inline(always)]
pub(super) fn int8_dot(query: &[i16], code: &[u8]) -> i32 {
    let products = query
        .iter()
        .zip(code)
        .map(|(q, code)| i32::from(*q).wrapping_mul(i32::from(*code as i8)));
    products.fold(0, i32::wrapping_add)
}

pub(super) fn byte_dots(query: &[i8], rows: &[i8], out: &mut [i32]) {
    for (row, out) in rows.chunks_exact(query.len()).zip(out) {
        *out = byte_dot(query, row);
    }
}

/// At most 16,384 products of 127 by 127: far from leaving 32 bits.
#[inline(always)]
pub(super) fn byte_dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(0i32, |sum, (a, b)| {
        sum.wrapping_add(i32::from(*a) * i32::from(*b))
    })
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
    for ((books, row), out) in books.chunks(2).zip(row.chunks(4)).zip(out) {
        let codes = books
            .iter()
            .zip(row.chunks(2))
            .map(|(book, row)| least_position(&squares(book, row)));
        *out = codes.rev().fold(0, |byte, code| byte << 4 | code);
    }
}

/// The least ones are added in four sums, so that no form has to wait for each addition.
pub(super) fn pq4_distances(books: &[[f32; 32]], row: &[f32], out: &mut [[f32; 16]]) -> (f32, f32) {
    let (mut leasts, mut most) = ([0.0; 4], 0.0);
    for (sub, ((book, row), out)) in books.iter().zip(row.chunks(2)).zip(out).enumerate() {
        let squares = squares(book, row);
        let least = halving(squares, |a, b| if a < b { a } else { b });
        *out = squares.map(|square| square - least);
        let largest = halving(*out, |a, b| if a > b { a } else { b });
        most = if largest > most { largest } else { most };
        leasts[sub % 4] += least;
    }
    ((leasts[0] + leasts[1]) + (leasts[2] + leasts[3]), most)
}

/// Squared distances of a pair of values to 16 centroids. An odd last value is paired with 0.
#[inline(always)]
fn squares(book: &[f32; 32], row: &[f32]) -> [f32; 16] {
    let (x, y) = (row[0], row.get(1).copied().unwrap_or(0.0));
    let mut out = [0.0; 16];
    for k in 0..16 {
        let (x, y) = (book[k] - x, book[16 + k] - y);
        out[k] = x * x + y * y;
    }
    out
}

/// The position of the least of 16 non-negative values. Such floats order as their bits do, so the position can ride in
/// the four lowest ones; what differs by less than that is as near for every purpose.
#[inline(always)]
fn least_position(squares: &[f32; 16]) -> u8 {
    let mut keys = [0; 16];
    for k in 0..16 {
        keys[k] = squares[k].to_bits() & !15 | k as u32;
    }
    (halving(keys, |a, b| if a < b { a } else { b }) & 15) as u8
}

/// Folds the upper half into the lower one until one value is left.
#[inline(always)]
fn halving<T: Copy>(mut values: [T; 16], fold: impl Fn(T, T) -> T) -> T {
    for width in [8, 4, 2, 1] {
        for k in 0..width {
            values[k] = fold(values[k], values[k + width]);
        }
    }
    values[0]
}
