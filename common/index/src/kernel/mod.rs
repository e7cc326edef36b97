//! The inner loops, once for every instruction set, chosen at run time.
//!
//! The scalar form of each is its definition; the others must give the same (integers to the bit, floats up to the
//! order of summation). Only the files below this one contain `unsafe` code.

mod scalar;

/// Rows of a fast-scan block.
pub(crate) const BLOCK_ROWS: usize = 32;

/// An instruction set that this machine has. There is no other way to get one than from here, which is what makes it
/// sound to call the kernels that were compiled for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Scalar,
}

impl Isa {
    /// The fastest that this machine has.
    pub fn best() -> Self {
        Self(Level::Scalar)
    }

    /// All that this machine has, the slowest first.
    pub fn available() -> Vec<Self> {
        vec![Self(Level::Scalar)]
    }

    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
        }
    }
}

/// Sum of squared differences.
pub fn squared(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    match isa.0 {
        Level::Scalar => scalar::squared(a, b),
    }
}

/// Sum of products.
pub fn dot(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    match isa.0 {
        Level::Scalar => scalar::dot(a, b),
    }
}

/// The sum of products of `query` with each of `rows`, which are as long as it is.
pub fn dots(isa: Isa, query: &[f32], rows: &[f32], out: &mut [f32]) {
    match isa.0 {
        Level::Scalar => scalar::dots(query, rows, out),
    }
}

/// All sums of products of `a`'s rows with `b`'s rows, each of `dimension` values: row after row of `a` in `out`.
pub(crate) fn products(dimension: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    let width = b.len() / dimension;
    for (row, out) in a.chunks_exact(dimension).zip(out.chunks_exact_mut(width)) {
        dots(Isa::best(), row, b, out);
    }
}

/// Sum of squared differences, each computed and added in double precision.
pub fn exact_squared(isa: Isa, a: &[f32], b: &[f32]) -> f64 {
    match isa.0 {
        Level::Scalar => scalar::exact_squared(a, b),
    }
}

/// `[a.b, a.a, b.b]` in double precision.
pub fn exact_products(isa: Isa, a: &[f32], b: &[f32]) -> [f64; 3] {
    match isa.0 {
        Level::Scalar => scalar::exact_products(a, b),
    }
}

/// Calls `each` with every row of `rows` (each `row_bytes` long) and the product of `query` with its bytes from
/// `offset` on, taken as signed. The caller has seen to it that no such sum leaves 32 bits.
pub(crate) fn int8_dots(
    isa: Isa,
    query: &[i16],
    rows: &[u8],
    row_bytes: usize,
    offset: usize,
    each: &mut impl FnMut(usize, i32),
) {
    match isa.0 {
        Level::Scalar => scalar::int8_dots(query, rows, row_bytes, offset, each),
    }
}

/// Calls `each` with every block that has a row whose sum of table entries is at most `limit`: its number, those rows
/// as bits, and the sums of all 32 rows. Entries have 7 bits.
pub(crate) fn pq4_scan(
    isa: Isa,
    tables: &[[u8; 32]],
    blocks: &[u8],
    limit: u32,
    each: &mut impl FnMut(usize, u32, &[u32; BLOCK_ROWS]),
) {
    match isa.0 {
        Level::Scalar => scalar::pq4_scan(tables, blocks, limit, each),
    }
}

/// Writes the 4-bit codes of `row`, two to a byte.
pub(crate) fn pq4_encode(isa: Isa, books: &[[f32; 32]], row: &[f32], out: &mut [u8]) {
    match isa.0 {
        Level::Scalar => scalar::pq4_encode(books, row, out),
    }
}

/// The squared distances of `row` to the 16 centroids of each sub-quantiser.
pub(crate) fn pq4_distances(isa: Isa, books: &[[f32; 32]], row: &[f32], out: &mut [[f32; 16]]) {
    match isa.0 {
        Level::Scalar => scalar::pq4_distances(books, row, out),
    }
}
