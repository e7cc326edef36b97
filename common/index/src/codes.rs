//! The plaintext layout of a block's codes.
//!
//! ```text
//! codes  = version, codec, 2 zero bytes, rows u32, data
//! data   = row-major codes, or for 16 and more rows of Pq4:
//! blocks = 32 rows each, the last padded with zeros: byte 0 of all 32 codes, byte 1 of all 32 codes, ...
//! ```
//!
//! In a block, one 32-byte load (two of 16 with NEON) brings the same two sub-quantisers of all 32 rows, and their
//! 16-byte tables fill every lane alike, whatever the width of the registers.

use crate::kernel::BLOCK_ROWS;
use crate::layout::{LayoutError, Reader};
use crate::quantiser::Codec;
use sealdex_core::Dimension;

const LAYOUT: &str = "a block's codes";
const VERSION: u8 = 1;
/// Below this many rows a block would be mostly padding.
const BLOCKS_FROM: usize = 16;

/// Lays out `rows`, which are row-major codes of `codec` for vectors of `dimension`.
pub fn pack(codec: Codec, dimension: Dimension, rows: &[u8]) -> Vec<u8> {
    let row_bytes = codec.row_bytes(dimension);
    let count = rows.len() / row_bytes;
    let mut out = vec![VERSION, codec.to_byte(), 0, 0];
    out.extend_from_slice(&(count as u32).to_le_bytes());
    match Layout::of(codec, count) {
        Layout::Rows => out.extend_from_slice(&rows[..count * row_bytes]),
        Layout::Blocks => {
            for rows in rows[..count * row_bytes].chunks(BLOCK_ROWS * row_bytes) {
                let start = out.len();
                out.resize(start + BLOCK_ROWS * row_bytes, 0);
                for (row, code) in rows.chunks_exact(row_bytes).enumerate() {
                    for (position, byte) in code.iter().enumerate() {
                        out[start + position * BLOCK_ROWS + row] = *byte;
                    }
                }
            }
        }
    }
    out
}

/// How rows lie in the data.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Layout {
    Rows,
    Blocks,
}

impl Layout {
    fn of(codec: Codec, rows: usize) -> Self {
        if codec == Codec::Pq4 && rows >= BLOCKS_FROM {
            Layout::Blocks
        } else {
            Layout::Rows
        }
    }
}

/// The codes of a block, where they were opened.
#[derive(Clone, Copy)]
pub struct CodesView<'a> {
    codec: Codec,
    dimension: Dimension,
    rows: u32,
    data: &'a [u8],
}

impl<'a> CodesView<'a> {
    /// Reads what [`pack`] wrote with the same `codec` and `dimension`.
    pub fn parse(codec: Codec, dimension: Dimension, bytes: &'a [u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader::new(bytes, LAYOUT);
        reader.version(VERSION)?;
        if reader.array()? != [codec.to_byte(), 0, 0] {
            return Err(reader.damaged());
        }
        let rows = reader.u32()?;
        let stored = match Layout::of(codec, rows as usize) {
            Layout::Rows => rows as usize,
            Layout::Blocks => (rows as usize).next_multiple_of(BLOCK_ROWS),
        };
        let length = stored
            .checked_mul(codec.row_bytes(dimension))
            .ok_or(reader.damaged())?;
        let data = reader.bytes(length)?;
        reader.finish()?;
        Ok(Self {
            codec,
            dimension,
            rows,
            data,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Replaces what is in `out` by the row-major code of `row`, which [`pack`] takes again.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_code(&self, row: u32, out: &mut Vec<u8>) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let (row, row_bytes) = (row as usize, self.codec.row_bytes(self.dimension));
        out.clear();
        match self.layout() {
            Layout::Rows => out.extend_from_slice(&self.data[row * row_bytes..][..row_bytes]),
            Layout::Blocks => {
                let block = &self.data[row / BLOCK_ROWS * BLOCK_ROWS * row_bytes..][..BLOCK_ROWS * row_bytes];
                out.extend(block.iter().skip(row % BLOCK_ROWS).step_by(BLOCK_ROWS));
            }
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension.get()
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::of(self.codec, self.rows as usize)
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codec() -> impl Strategy<Value = Codec> {
        prop_oneof![Just(Codec::Flat), Just(Codec::Int8), Just(Codec::Pq4)]
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were(
            codec in codec(), dimension in 1u64..150, count in 0usize..100,
            bytes in prop::collection::vec(any::<u8>(), 100 * 700),
        ) {
            let dimension = Dimension::new(dimension).unwrap();
            let row_bytes = codec.row_bytes(dimension);
            let rows = &bytes[..count * row_bytes];
            let packed = pack(codec, dimension, rows);
            let view = CodesView::parse(codec, dimension, &packed).unwrap();
            let mut code = vec![1, 2, 3];
            let mut back = Vec::new();
            for row in 0..view.rows() {
                view.row_code(row, &mut code);
                back.extend_from_slice(&code);
            }
            prop_assert_eq!(back, rows);
        }

        #[test]
        fn bytes_that_nobody_packed_are_refused_or_read_within_bounds(
            codec in codec(), dimension in 1u64..150, mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            header: bool, rows in 0u8..40,
        ) {
            if header && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&[VERSION, codec.to_byte(), 0, 0, rows, 0, 0, 0]);
            }
            if let Ok(view) = CodesView::parse(codec, Dimension::new(dimension).unwrap(), &bytes) {
                (0..view.rows()).for_each(|row| view.row_code(row, &mut Vec::new()));
            }
        }
    }

    #[test]
    fn other_lengths_codecs_and_versions_are_refused() {
        let dimension = Dimension::new(64).unwrap();
        let packed = pack(Codec::Pq4, dimension, &[7; 20 * 16]);
        let damaged = Some(LayoutError::Damaged(LAYOUT));
        let parse = |codec, bytes: &[u8]| CodesView::parse(codec, dimension, bytes).err();
        assert_eq!(parse(Codec::Pq4, &packed), None);
        assert_eq!(parse(Codec::Pq4, &packed[..packed.len() - 1]), damaged);
        assert_eq!(parse(Codec::Pq4, &[&packed[..], &[0]].concat()), damaged);
        assert_eq!(parse(Codec::Int8, &packed), damaged);
        assert_eq!(
            parse(Codec::Pq4, &[&[2], &packed[1..]].concat()),
            Some(LayoutError::Version(LAYOUT))
        );
        let mut endless = packed.clone();
        endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse(Codec::Pq4, &endless), damaged);
    }

    #[test]
    fn the_layout_never_changes() {
        let dimension = Dimension::new(8).unwrap();
        let rows: Vec<u8> = (0..32).collect();
        let packed = pack(Codec::Pq4, dimension, &rows);
        let firsts = (0..16).map(|row| 2 * row).chain([0; 16]);
        let seconds = (0..16).map(|row| 2 * row + 1).chain([0; 16]);
        let expected: Vec<u8> = [1, 2, 0, 0, 16, 0, 0, 0]
            .into_iter()
            .chain(firsts)
            .chain(seconds)
            .collect();
        assert_eq!(packed, expected);
        assert_eq!(
            pack(Codec::Pq4, dimension, &rows[..4]),
            [1, 2, 0, 0, 2, 0, 0, 0, 0, 1, 2, 3]
        );
    }
}
