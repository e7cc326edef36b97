//! A query made ready to be compared with codes, and how it travels to where the codes are.
//!
//! ```text
//! version 1, codec 1, dimension u32, then
//!   Flat   f32 x dimension
//!   Int8   step f32, i16 x dimension
//!   Pq4    bias f32, step f32, 32 bytes for every four dimensions
//! ```

use super::codec::Codec;
use super::{int8, pq4};
use crate::codes::{CodesView, Layout};
use crate::columns::RowSet;
use crate::kernel::Isa;
use crate::layout::{LayoutError, Reader};
use sealdex_core::Dimension;

/// What a query needs for scoring codes of one generation. Made by [`super::Quantiser::scorer`].
#[derive(Clone)]
pub struct Scorer {
    dimension: Dimension,
    query: Query,
}

#[derive(Clone)]
pub(super) enum Query {
    Flat(Vec<f32>),
    Int8(int8::Query),
    Pq4(pq4::Tables),
}

impl Scorer {
    pub(super) fn new(dimension: Dimension, query: Query) -> Self {
        Self { dimension, query }
    }

    /// Values per vector.
    pub fn dimension(&self) -> Dimension {
        self.dimension
    }

    /// Calls `out` with every row whose estimated squared distance (in prepared space) is below `threshold`, and with
    /// that estimate; in ascending order of rows. Only rows in `selected`, if given. `base` is the probe's
    /// [`crate::model::Probe::base`].
    ///
    /// # Panics
    /// If `codes` are of another codec or dimension than the quantiser that made this scorer.
    pub fn scan(
        &self,
        codes: &CodesView<'_>,
        base: f32,
        selected: Option<&RowSet>,
        threshold: f32,
        out: &mut impl FnMut(u32, f32),
    ) {
        self.scan_with(Isa::best(), codes, base, selected, threshold, out);
    }

    /// [`Scorer::scan`] with a given instruction set: for benchmarks and for tests that all give the same.
    pub fn scan_with(
        &self,
        isa: Isa,
        codes: &CodesView<'_>,
        base: f32,
        selected: Option<&RowSet>,
        threshold: f32,
        out: &mut impl FnMut(u32, f32),
    ) {
        assert!(
            codes.codec() == self.codec() && codes.dimension() == self.dimension.get(),
            "codes and scorer are of one generation"
        );
        let rows = codes.rows();
        let mut report = |row: u32, estimate: f32| {
            if row < rows && estimate < threshold && selected.is_none_or(|set| set.contains(row)) {
                out(row, estimate);
            }
        };
        match (&self.query, codes.layout()) {
            (Query::Flat(query), _) => scan_flat(query, codes.bytes(), base, report),
            (Query::Int8(query), _) => query.scan(isa, codes.bytes(), base, report),
            (Query::Pq4(tables), Layout::Rows) => tables.scan_rows(codes.bytes(), base, threshold, report),
            (Query::Pq4(tables), Layout::Blocks) => {
                tables.scan_blocks(isa, codes.bytes(), base, threshold, &mut report);
            }
        }
    }

    /// The codec of the codes it scores.
    pub fn codec(&self) -> Codec {
        match self.query {
            Query::Flat(_) => Codec::Flat,
            Query::Int8(_) => Codec::Int8,
            Query::Pq4(_) => Codec::Pq4,
        }
    }
}

const LAYOUT: &str = "a scorer";
const VERSION: u8 = 1;

impl Scorer {
    /// The scorer in bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 8 * self.dimension.get());
        out.extend([VERSION, self.codec().to_byte()]);
        out.extend((self.dimension.get() as u32).to_le_bytes());
        match &self.query {
            Query::Flat(query) => out.extend(query.iter().flat_map(|value| value.to_le_bytes())),
            Query::Int8(query) => {
                out.extend(query.step().to_le_bytes());
                out.extend(query.values().iter().flat_map(|value| value.to_le_bytes()));
            }
            Query::Pq4(tables) => {
                out.extend(tables.bias().to_le_bytes());
                out.extend(tables.step().to_le_bytes());
                out.extend_from_slice(tables.entries().as_flattened());
            }
        }
        out
    }

    /// Takes back what [`Scorer::to_bytes`] gave, and refuses what no kernel may see.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        reader.version(VERSION)?;
        let codec = Codec::from_byte(reader.u8()?).ok_or(reader.damaged())?;
        let dimension = Dimension::new(u64::from(reader.u32()?)).map_err(|_| reader.damaged())?;
        let float = |reader: &mut Reader<'_>| reader.array().map(f32::from_le_bytes);
        let query = match codec {
            Codec::Flat => {
                let values = reader.bytes(4 * dimension.get())?.as_chunks().0;
                Query::Flat(values.iter().copied().map(f32::from_le_bytes).collect())
            }
            Codec::Int8 => {
                let step = float(&mut reader)?;
                let values = reader.bytes(2 * dimension.get())?.as_chunks().0;
                let values = values.iter().copied().map(i16::from_le_bytes).collect();
                Query::Int8(int8::Query::from_parts(values, step).ok_or(reader.damaged())?)
            }
            Codec::Pq4 => {
                let (bias, step) = (float(&mut reader)?, float(&mut reader)?);
                let bytes = pq4::SUB_VALUES * codec.row_bytes(dimension);
                let entries = reader.bytes(bytes)?.as_chunks().0.to_vec();
                Query::Pq4(pq4::Tables::from_parts(entries, bias, step).ok_or(reader.damaged())?)
            }
        };
        reader.finish()?;
        Ok(Self { dimension, query })
    }
}

/// At most 16 dimensions: nothing that is worth a kernel.
fn scan_flat(query: &[f32], rows: &[u8], base: f32, mut each: impl FnMut(u32, f32)) {
    for (row, values) in rows.chunks_exact(4 * query.len()).enumerate() {
        let squares = values.as_chunks().0.iter().zip(query).map(|(bytes, q)| {
            let difference = f32::from_le_bytes(*bytes) - q;
            difference * difference
        });
        each(row as u32, base + squares.sum::<f32>());
    }
}
