//! The kernels on floats and bytes, written once for any number of lanes. The compiler makes vector code of them in the
//! instruction set of whoever inlines them; only what it cannot find by itself is written by hand elsewhere.
//!
//! `FUSED` says that multiplication and addition are one instruction there. Without it they would be a function call.

/// `a * b + c`, rounded once or twice.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn multiply_add_f64<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Sum of squared differences; `L` is lanes times the additions under way.
#[inline(always)]
pub(super) fn squared<const L: usize, const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<L>(), b.as_chunks::<L>());
    let mut sums = [0.0; L];
    for (a, b) in a.iter().zip(b) {
        for i in 0..L {
            let difference = a[i] - b[i];
            sums[i] = multiply_add::<FUSED>(difference, difference, sums[i]);
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| (a - b) * (a - b)).sum();
    total(sums) + tail
}

/// Sum of products.
#[inline(always)]
pub(super) fn dot<const L: usize, const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<L>(), b.as_chunks::<L>());
    let mut sums = [0.0; L];
    for (a, b) in a.iter().zip(b) {
        for i in 0..L {
            sums[i] = multiply_add::<FUSED>(a[i], b[i], sums[i]);
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    total(sums) + tail
}

/// Products of `query` with each of `rows`, four rows at a time so that they share its loads. Each is summed in the same
/// order wherever it lies.
#[inline(always)]
pub(super) fn dots<const L: usize, const FUSED: bool>(query: &[f32], rows: &[f32], out: &mut [f32]) {
    let n = query.len();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let (four_rows, rest_rows) = rows.split_at(fours.len() * 4 * n);
    for (rows, out) in four_rows.chunks_exact(4 * n).zip(fours) {
        let (first, rows) = rows.split_at(n);
        let (second, rows) = rows.split_at(n);
        let (third, fourth) = rows.split_at(n);
        *out = dot_by_four::<L, FUSED>(query, [first, second, third, fourth]);
    }
    for (row, out) in rest_rows.chunks_exact(n).zip(rest) {
        *out = dot_by_four::<L, FUSED>(query, [row; 4])[0];
    }
}

#[inline(always)]
fn dot_by_four<const L: usize, const FUSED: bool>(query: &[f32], rows: [&[f32]; 4]) -> [f32; 4] {
    let (query, query_tail) = query.as_chunks::<L>();
    let (rows, tails) = (
        rows.map(|row| row.as_chunks::<L>().0),
        rows.map(|row| row.as_chunks::<L>().1),
    );
    let mut sums = [[0.0; L]; 4];
    for (chunk, query) in query.iter().enumerate() {
        for row in 0..4 {
            for i in 0..L {
                sums[row][i] = multiply_add::<FUSED>(query[i], rows[row][chunk][i], sums[row][i]);
            }
        }
    }
    let tails = tails.map(|tail| query_tail.iter().zip(tail).map(|(a, b)| a * b).sum::<f32>());
    [0, 1, 2, 3].map(|row| total(sums[row]) + tails[row])
}

/// Sum of squared differences in double precision.
#[inline(always)]
pub(super) fn exact_squared<const L: usize, const FUSED: bool>(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<L>(), b.as_chunks::<L>());
    let mut sums = [0.0; L];
    for (a, b) in a.iter().zip(b) {
        for i in 0..L {
            let difference = f64::from(a[i]) - f64::from(b[i]);
            sums[i] = multiply_add_f64::<FUSED>(difference, difference, sums[i]);
        }
    }
    let square = |(a, b): (&f32, &f32)| {
        let difference = f64::from(*a) - f64::from(*b);
        difference * difference
    };
    total_f64(sums) + a_tail.iter().zip(b_tail).map(square).sum::<f64>()
}

/// `[a.b, a.a, b.b]` in double precision.
#[inline(always)]
pub(super) fn exact_products<const L: usize, const FUSED: bool>(a: &[f32], b: &[f32]) -> [f64; 3] {
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<L>(), b.as_chunks::<L>());
    let mut sums = [[0.0; L]; 3];
    for (a, b) in a.iter().zip(b) {
        for i in 0..L {
            let (a, b) = (f64::from(a[i]), f64::from(b[i]));
            sums[0][i] = multiply_add_f64::<FUSED>(a, b, sums[0][i]);
            sums[1][i] = multiply_add_f64::<FUSED>(a, a, sums[1][i]);
            sums[2][i] = multiply_add_f64::<FUSED>(b, b, sums[2][i]);
        }
    }
    let mut totals = sums.map(total_f64);
    for (a, b) in a_tail.iter().zip(b_tail) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        totals[0] += a * b;
        totals[1] += a * a;
        totals[2] += b * b;
    }
    totals
}

/// Products of 16-bit integers with signed bytes. No sum leaves 32 bits, so any order gives the same.
#[inline(always)]
pub(super) fn int8_dot<const L: usize>(query: &[i16], code: &[u8]) -> i32 {
    let ((query, query_tail), (code, code_tail)) = (query.as_chunks::<L>(), code.as_chunks::<L>());
    let product = |q: i16, code: u8| i32::from(q).wrapping_mul(i32::from(code as i8));
    let mut sums = [0i32; L];
    for (query, code) in query.iter().zip(code) {
        for i in 0..L {
            sums[i] = sums[i].wrapping_add(product(query[i], code[i]));
        }
    }
    let sums = sums.into_iter().fold(0i32, i32::wrapping_add);
    query_tail
        .iter()
        .zip(code_tail)
        .fold(sums, |sum, (q, code)| sum.wrapping_add(product(*q, *code)))
}

/// The 4-bit codes of `row`, two to a byte.
#[inline(always)]
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

/// Squared distances of `row` to the 16 centroids of each sub-quantiser. Never fused, so that all sets give the same.
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

/// The position of the least of 16 non-negative values. Such floats order as their bits do, so the position can ride in
/// the four lowest ones; what differs by less than that is as near for every purpose.
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

/// Adds lanes pairwise, halving until one is left: `L` is a power of two.
#[inline(always)]
fn total<const L: usize>(mut sums: [f32; L]) -> f32 {
    let mut width = L / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

#[inline(always)]
fn total_f64<const L: usize>(mut sums: [f64; L]) -> f64 {
    let mut width = L / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}
