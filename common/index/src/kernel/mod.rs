//! The inner loops, once for every instruction set, chosen at run time.
//!
//! The scalar form of each is its definition; the others must give the same (integers to the bit, floats up to the
//! order of summation). Only the files below this one contain `unsafe` code.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

/// Rows of a fast-scan block.
pub const BLOCK_ROWS: usize = 32;
/// Tables whose entries, two of at most 127 for each, add up within 16 bits.
#[cfg(target_arch = "x86_64")]
const CHUNK_TABLES: usize = 256;

/// An instruction set that this machine has. There is no other way to get one than from here, which is what makes it
/// sound to call the kernels that were compiled for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512 {
        vnni: bool,
    },
}

impl Isa {
    /// The fastest that this machine has.
    pub fn best() -> Self {
        static BEST: LazyLock<Isa> = LazyLock::new(|| {
            *Isa::available()
                .last()
                .expect("portable code runs on every machine")
        });
        *BEST
    }

    /// All that this machine has, the slowest first.
    pub fn available() -> Vec<Self> {
        let mut levels = vec![Level::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("fma") {
                levels.push(Level::Avx2);
                if has!("avx512f") && has!("avx512bw") && has!("avx512vl") {
                    levels.push(Level::Avx512 { vnni: false });
                    if has!("avx512vnni") {
                        levels.push(Level::Avx512 { vnni: true });
                    }
                }
            }
        }
        levels.into_iter().map(Self).collect()
    }

    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 { vnni: false } => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 { vnni: true } => "avx512-vnni",
        }
    }
}

/// Calls a kernel in the form for an instruction set.
macro_rules! dispatch {
    ($isa:ident, $kernel:ident, $($argument:expr),*) => {
        match $isa.0 {
            Level::Scalar => scalar::$kernel($($argument),*),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this level exists only where AVX2 and FMA were detected.
            Level::Avx2 => unsafe { avx2::$kernel($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Isa` of this level exists only where AVX-512 F, BW and VL were detected.
            Level::Avx512 { .. } => unsafe { avx512::$kernel($($argument),*) },
        }
    };
}

/// Sum of squared differences.
pub fn squared(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(isa, squared, a, b)
}

/// Sum of products.
pub fn dot(isa: Isa, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(isa, dot, a, b)
}

/// The sum of products of `query` with each of `rows`, which are as long as it is.
pub fn dots(isa: Isa, query: &[f32], rows: &[f32], out: &mut [f32]) {
    dispatch!(isa, dots, query, rows, out)
}

/// All sums of products of `a`'s rows with `b`'s rows, each of `dimension` values: row after row of `a` in `out`.
///
/// # Panics
/// If `out` has another length than there are pairs of rows, or a last row is not complete.
pub fn products(isa: Isa, dimension: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    let (rows, columns) = (a.len() / dimension, b.len() / dimension);
    assert!(a.len() == rows * dimension && b.len() == columns * dimension && out.len() == rows * columns);
    if !out.is_empty() {
        dispatch!(isa, products, dimension, a, b, out)
    }
}

/// Sum of squared differences, each computed and added in double precision.
pub fn exact_squared(isa: Isa, a: &[f32], b: &[f32]) -> f64 {
    dispatch!(isa, exact_squared, a, b)
}

/// `[a.b, a.a, b.b]` in double precision.
pub fn exact_products(isa: Isa, a: &[f32], b: &[f32]) -> [f64; 3] {
    dispatch!(isa, exact_products, a, b)
}

/// Calls `each` with every row of `rows` (each `row_bytes` long) and the product of `query` with its bytes from
/// `offset` on, taken as signed. The caller has seen to it that no such sum leaves 32 bits.
pub fn int8_dots(
    isa: Isa,
    query: &[i16],
    rows: &[u8],
    row_bytes: usize,
    offset: usize,
    each: &mut impl FnMut(usize, i32),
) {
    #[cfg(target_arch = "x86_64")]
    if let Level::Avx512 { vnni: true } = isa.0 {
        // SAFETY: an `Isa` of this level exists only where VNNI was detected besides AVX-512 F, BW and VL.
        return unsafe { avx512::int8_dots_vnni(query, rows, row_bytes, offset, each) };
    }
    dispatch!(isa, int8_dots, query, rows, row_bytes, offset, each)
}

/// The sums of products of `query` with each of `rows`, which are as long as it is. No value is -128.
pub fn byte_dots(isa: Isa, query: &[i8], rows: &[i8], out: &mut [i32]) {
    dispatch!(isa, byte_dots, query, rows, out)
}

/// Calls `each` with every block that has a row whose sum of table entries is at most `limit`: its number, those rows
/// as bits, and the sums of all 32 rows. Entries have 7 bits.
pub fn pq4_scan(
    isa: Isa,
    tables: &[[u8; 32]],
    blocks: &[u8],
    limit: u32,
    each: &mut impl FnMut(usize, u32, &[u32; BLOCK_ROWS]),
) {
    dispatch!(isa, pq4_scan, tables, blocks, limit, each)
}

/// Writes the 4-bit codes of `row`, two to a byte.
pub fn pq4_encode(isa: Isa, books: &[[f32; 32]], row: &[f32], out: &mut [u8]) {
    dispatch!(isa, pq4_encode, books, row, out)
}

/// How much larger the squared distances of `row` to the 16 centroids of each sub-quantiser are than the least of the
/// 16. Gives the sum of the least ones, and the largest of what was written.
pub fn pq4_distances(isa: Isa, books: &[[f32; 32]], row: &[f32], out: &mut [[f32; 16]]) -> (f32, f32) {
    dispatch!(isa, pq4_distances, books, row, out)
}
