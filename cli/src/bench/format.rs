//! What can be wrong with a data file, in words that name the cure. It knows no path: who opened the file adds it.

use std::io;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// The file could not be opened or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The name ends in nothing we know.
    #[error("the name must end in {wanted}; convert the file, in Python for instance with numpy.save")]
    Extension { wanted: &'static str },
    /// The magic bytes are missing.
    #[error("this is not a .npy file; write it with numpy.save, not savez, savetxt or pickle")]
    NotNpy,
    /// The header cannot be understood.
    #[error("the .npy header has no usable {0}; write the file again with numpy.save")]
    Header(&'static str),
    /// An element type we do not take.
    #[error("elements are {found:?}, wanted {wanted}; convert with array.astype")]
    Element { found: String, wanted: &'static str },
    /// Column-major.
    #[error("the array is in Fortran order; save numpy.ascontiguousarray(array)")]
    Fortran,
    /// Not two-dimensional.
    #[error("the array has {0} dimensions, wanted 2: one row per vector")]
    Shape(usize),
    /// No rows, or rows without numbers.
    #[error("the file holds no vectors")]
    Empty,
    /// The file ends early.
    #[error("the file ends early: {expected} bytes announced, {found} there; copy it again")]
    Truncated { expected: u128, found: u64 },
    /// Rows of unequal width.
    #[error("row {row} has {found} numbers, the first row has {expected}; all must agree")]
    Ragged { row: usize, expected: usize, found: i64 },
    /// NaN or infinity.
    #[error("row {row} holds NaN or infinity, which no metric can order; drop it or clean it")]
    NotFinite { row: usize },
    /// A neighbour number that is no row.
    #[error("row {row} names neighbour {found}, which is not a row number below 2^32")]
    Neighbour { row: usize, found: i64 },
}
