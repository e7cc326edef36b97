//! One block of rows in plaintext: three segments, sealed apart by whoever holds the keys.
//!
//! ```text
//! codes      = every row's code, packed for scanning                       (crate::codes)
//! identities = (item label, op)*, 16 bytes each
//! metadata   = every row's metadata, by columns                            (crate::columns)
//! ```

use crate::codes;
use crate::columns::ColumnsBuilder;
use crate::layout::LayoutError;
use crate::metadata::Metadata;
use crate::quantiser::Codec;
use sealdex_core::{Dimension, ItemLabel, Op};

const IDENTITY_BYTES: usize = 32;

/// Bytes of codes that a well-filled block holds: large enough that opening it costs little per byte, small enough
/// that a few rows of a cluster do not drag many others along.
const BLOCK_CODE_BYTES: usize = 48 << 10;

/// Rows of a well-filled block at least, however long their codes are, and at most, however short.
const BLOCK_ROWS_MIN: usize = 256;
const BLOCK_ROWS_MAX: usize = 2048;

/// Rows of a well-filled block whose codes take `row_bytes` each.
pub fn rows_per_block(row_bytes: usize) -> usize {
    (BLOCK_CODE_BYTES / row_bytes.max(1)).clamp(BLOCK_ROWS_MIN, BLOCK_ROWS_MAX)
}

/// Collects the rows of a block.
pub struct BlockBuilder {
    codec: Codec,
    dimension: Dimension,
    codes: Vec<u8>,
    identities: Vec<u8>,
    metadata: ColumnsBuilder,
}

/// A block, ready to be sealed.
pub struct BlockSegments {
    /// Number of rows, the same in all three segments.
    pub rows: u32,
    /// As [`codes::CodesView`] reads it.
    pub codes: Vec<u8>,
    /// As [`Identities`] reads it.
    pub identities: Vec<u8>,
    /// As [`crate::columns::Columns`] reads it.
    pub metadata: Vec<u8>,
}

impl BlockBuilder {
    /// Starts a block of rows that are coded as `codec` says, for vectors of `dimension`.
    pub fn new(codec: Codec, dimension: Dimension) -> Self {
        let (codes, identities) = (Vec::new(), Vec::new());
        Self {
            codec,
            dimension,
            codes,
            identities,
            metadata: ColumnsBuilder::default(),
        }
    }

    /// Adds a row: whose it is, its row-major code and its metadata.
    pub fn push(&mut self, label: ItemLabel, op: Op, code: &[u8], metadata: &Metadata) {
        self.codes.extend_from_slice(code);
        self.identities.extend_from_slice(label.as_bytes());
        self.identities.extend_from_slice(op.as_bytes());
        self.metadata.push(metadata);
    }

    /// Rows so far.
    pub fn rows(&self) -> u32 {
        self.metadata.rows()
    }

    /// About how many bytes the block would have now.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.identities.len() + self.metadata.bytes()
    }

    /// The block.
    pub fn finish(self) -> BlockSegments {
        BlockSegments {
            rows: self.rows(),
            codes: codes::pack(self.codec, self.dimension, &self.codes),
            identities: self.identities,
            metadata: self.metadata.finish(),
        }
    }
}

/// The identities segment of a block.
#[derive(Clone, Copy)]
pub struct Identities<'a>(&'a [[u8; IDENTITY_BYTES]]);

impl<'a> Identities<'a> {
    /// Reads an identities segment.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, LayoutError> {
        match bytes.as_chunks() {
            (rows, []) => Ok(Self(rows)),
            _ => Err(LayoutError::Damaged("a block's identities")),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose `row` is, and which write it belongs to; `None` if there is no such row.
    pub fn get(&self, row: u32) -> Option<(ItemLabel, Op)> {
        self.0.get(row as usize).map(split)
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ItemLabel, Op)> + use<'a> {
        self.0.iter().map(split)
    }
}

fn split(identity: &[u8; IDENTITY_BYTES]) -> (ItemLabel, Op) {
    let (label, op) = identity.split_at(16);
    let bytes = |half: &[u8]| half.try_into().expect("half of 32 bytes");
    (ItemLabel(bytes(label)), Op(bytes(op)))
}
