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

    /// Whether a generation may have this codec: its usual one, or bytes where codebooks did not serve.
    pub(crate) fn serves(self, dimension: Dimension, trained: bool) -> bool {
        let usual = Self::of(dimension, trained);
        self == usual || (self == Codec::Int8 && usual == Codec::Pq4)
    }

    /// Bytes of one row-major code.
    pub fn row_bytes(self, dimension: Dimension) -> usize {
        match self {
            Codec::Flat => 4 * dimension.get(),
            Codec::Int8 => super::int8::HEADER_BYTES + dimension.get(),
            Codec::Pq4 => dimension.get().div_ceil(4),
        }
    }

    /// How well estimates and exact distances of a query's best candidates agree in order (see [`crate::agreement`])
    /// where codes fit the data. Less than this means that they do not, and that what is nearest may not be among the
    /// candidates. Measured: 8-bit codes that fit agree to 0.97 and more; 4-bit codes to 0.26 and more in 99 of 100
    /// queries, and to 0.6 in the middle; codes that do not fit to 0.0, give or take 0.2.
    pub fn agreement_min(self) -> f64 {
        match self {
            Codec::Flat | Codec::Int8 => 0.8,
            Codec::Pq4 => 0.25,
        }
    }

    /// The codec's number in stored layouts.
    pub fn to_byte(self) -> u8 {
        match self {
            Codec::Flat => 0,
            Codec::Int8 => 1,
            Codec::Pq4 => 2,
        }
    }

    /// The codec of a number in a stored layout.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Codec::Flat, Codec::Int8, Codec::Pq4]
            .into_iter()
            .find(|codec| codec.to_byte() == byte)
    }
}
