//! The three ways to write a vector as a code, and how many bytes each takes.

use sealdex_core::Dimension;

/// Up to this dimension a code is the vector itself.
const FLAT_MAX: usize = 16;
/// From this dimension on, 4-bit codes rank well enough to find the rows worth refining.
const PQ4_MIN: usize = 64;

/// How a generation's rows are coded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Codec {
    /// The prepared vector: one little-endian f32 per dimension.
    Flat,
    /// The residual to the row's centroid, one signed byte per dimension, with two f32 factors per row.
    Int8,
    /// Product quantisation of the prepared vector: 4 bits for every two dimensions.
    Pq4,
}

impl Codec {
    /// The codec for vectors of `dimension`, in a trained generation or an untrained one.
    pub fn of(dimension: Dimension, trained: bool) -> Self {
        match dimension.get() {
            0..=FLAT_MAX => Codec::Flat,
            PQ4_MIN.. if trained => Codec::Pq4,
            _ => Codec::Int8,
        }
    }

    /// Bytes of one row-major code.
    pub fn row_bytes(self, dimension: Dimension) -> usize {
        match self {
            Codec::Flat => 4 * dimension.get(),
            Codec::Int8 => super::int8::HEADER_BYTES + dimension.get(),
            Codec::Pq4 => dimension.get().div_ceil(4),
        }
    }

    /// The codec's number in stored layouts.
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Codec::Flat => 0,
            Codec::Int8 => 1,
            Codec::Pq4 => 2,
        }
    }

    /// The codec of a number in a stored layout.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Codec::Flat, Codec::Int8, Codec::Pq4]
            .into_iter()
            .find(|codec| codec.to_byte() == byte)
    }
}
