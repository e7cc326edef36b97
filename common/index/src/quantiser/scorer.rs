//! A query made ready to be compared with codes.

use super::codec::Codec;
use super::{int8, pq4};
use crate::codes::{CodesView, Layout};
use crate::columns::RowSet;
use crate::kernel::Isa;
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
