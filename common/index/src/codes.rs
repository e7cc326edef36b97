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
