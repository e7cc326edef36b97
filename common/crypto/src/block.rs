//! Sealed blocks of rows: three opaque segments that are written together and opened apart. What is in a segment is
//! the index crate's business.
//!
//! ```text
//! delta  [1] record: rows, then each segment behind its length
//! page   [2] record: header │ record: codes │ record: identities │ record: metadata │ random filler
//! ```
//!
//! Integers are four bytes, little-endian. A page's header holds layout version, rows, the three segments' lengths and
//! the length of the whole block with its filler, so that a scan opens only the segments it needs.

use crate::aad::{Aad, RecordKind};
use crate::data_keys::{DataKeys, SEALED_OVERHEAD};
use crate::error::OpenError;
use crate::random;
use crate::size_class::size_class;
use sealdex_core::{BlockId, ClusterLabel, Generation};
use std::ops::Range;

/// Blocks of at least this many rows are pages. A smaller one is not worth opening in parts.
pub const PAGE_ROWS_MIN: u32 = 32;

const DELTA: u8 = 1;
const PAGE: u8 = 2;
const PAGE_LAYOUT: u32 = 1;
const HEADER_BYTES: usize = 24;
const SEALED_HEADER_BYTES: usize = HEADER_BYTES + SEALED_OVERHEAD;

/// Where a block belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BlockAddress {
    /// The cluster whose rows it holds.
    pub label: ClusterLabel,
    /// The cluster's generation.
    pub generation: Generation,
    /// The block's own id.
    pub block: BlockId,
}

/// One of a block's three segments.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Segment {
    /// What is scanned.
    Codes,
    /// Which item and write each row is.
    Identities,
    /// What is filtered by.
    Metadata,
}

/// Seals a block of `rows` rows, its segments in the order of [`Segment`].
///
/// # Panics
///
/// If the block would be 4 GiB or more. Whoever builds blocks keeps them far below that.
pub fn seal_block(keys: &DataKeys, at: &BlockAddress, rows: u32, segments: [&[u8]; 3]) -> Vec<u8> {
    if rows < PAGE_ROWS_MIN {
        seal_delta(keys, at, rows, segments)
    } else {
        seal_page(keys, at, rows, segments)
    }
}

fn seal_delta(keys: &DataKeys, at: &BlockAddress, rows: u32, segments: [&[u8]; 3]) -> Vec<u8> {
    let mut plaintext = Vec::with_capacity(16 + segments.iter().map(|segment| segment.len()).sum::<usize>());
    plaintext.extend_from_slice(&rows.to_le_bytes());
    for segment in segments {
        plaintext.extend_from_slice(&length(segment.len()).to_le_bytes());
        plaintext.extend_from_slice(segment);
    }
    let mut sealed = Vec::with_capacity(1 + plaintext.len() + SEALED_OVERHEAD);
    sealed.push(DELTA);
    keys.seal_into(&at.aad(RecordKind::Delta, 0), &plaintext, &mut sealed);
    sealed
}

fn seal_page(keys: &DataKeys, at: &BlockAddress, rows: u32, segments: [&[u8]; 3]) -> Vec<u8> {
    let sealed_segments: usize = segments
        .iter()
        .map(|segment| segment.len() + SEALED_OVERHEAD)
        .sum();
    let total = size_class(1 + SEALED_HEADER_BYTES + sealed_segments);
    let [codes, identities, metadata] = segments.map(|segment| length(segment.len()));
    let header = [PAGE_LAYOUT, rows, codes, identities, metadata, length(total)].map(u32::to_le_bytes);

    let mut sealed = Vec::with_capacity(total);
    sealed.push(PAGE);
    keys.seal_into(&at.aad(RecordKind::Page, 0), header.as_flattened(), &mut sealed);
    for (segment, part) in segments.into_iter().zip(1..) {
        keys.seal_into(&at.aad(RecordKind::Page, part), segment, &mut sealed);
    }
    let filler = sealed.len();
    sealed.resize(total, 0);
    random::fill(&mut sealed[filler..]);
    sealed
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a block is below 4 GiB")
}

impl BlockAddress {
    fn aad(&self, kind: RecordKind, part: u8) -> Aad<'_> {
        Aad {
            kind,
            part,
            label: self.label.as_bytes(),
            generation: self.generation,
            op: self.block.as_bytes(),
        }
    }
}

/// Seals a block of the other epoch again under the one that `keys` seal under, without looking at what is in it;
/// `None` if it is there already. Returns its rows too; its id and its length stay.
pub fn reseal_block(
    keys: &DataKeys,
    at: &BlockAddress,
    sealed: &[u8],
) -> Result<Option<(u32, Vec<u8>)>, OpenError> {
    // All records of a block are sealed together, so that the first tells of all.
    let first = match sealed.split_first() {
        Some((&DELTA, record)) => keys.is_resealed(&at.aad(RecordKind::Delta, 0), record)?,
        Some((&PAGE, records)) => {
            let header = records.get(..SEALED_HEADER_BYTES).ok_or(OpenError)?;
            keys.is_resealed(&at.aad(RecordKind::Page, 0), header)?
        }
        _ => return Err(OpenError),
    };
    if first {
        return Ok(None);
    }
    let block = BlockReader::open(keys, at, sealed)?;
    let [mut codes, mut identities, mut metadata] = [const { Vec::new() }; 3];
    block.segment(Segment::Codes, &mut codes)?;
    block.segment(Segment::Identities, &mut identities)?;
    block.segment(Segment::Metadata, &mut metadata)?;
    let rows = block.rows();
    let sealed = seal_block(keys, at, rows, [&codes, &identities, &metadata]);
    Ok(Some((rows, sealed)))
}

/// A block whose header is open.
pub struct BlockReader<'a> {
    keys: &'a DataKeys,
    at: BlockAddress,
    rows: u32,
    body: Body<'a>,
}

enum Body<'a> {
    /// Open already.
    Delta {
        plaintext: Vec<u8>,
        segments: [Range<usize>; 3],
    },
    /// Still sealed.
    Page { segments: [&'a [u8]; 3] },
}

impl<'a> BlockReader<'a> {
    /// Opens a page's header, or the whole of a delta.
    pub fn open(keys: &'a DataKeys, at: &BlockAddress, sealed: &'a [u8]) -> Result<Self, OpenError> {
        let (rows, body) = match sealed.split_first() {
            Some((&DELTA, record)) => open_delta(keys, at, record)?,
            Some((&PAGE, records)) => open_header(keys, at, records)?,
            _ => return Err(OpenError),
        };
        Ok(Self {
            keys,
            at: *at,
            rows,
            body,
        })
    }

    /// How many rows the block holds.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Replaces what `out` holds by a segment's plaintext. `out` is empty after an error.
    pub fn segment(&self, which: Segment, out: &mut Vec<u8>) -> Result<(), OpenError> {
        match &self.body {
            Body::Delta { plaintext, segments } => {
                out.clear();
                out.extend_from_slice(&plaintext[segments[which as usize].clone()]);
                Ok(())
            }
            Body::Page { segments } => {
                let aad = self.at.aad(RecordKind::Page, which as u8 + 1);
                self.keys.open_into(&aad, segments[which as usize], out)
            }
        }
    }
}

fn open_delta<'a>(keys: &DataKeys, at: &BlockAddress, record: &[u8]) -> Result<(u32, Body<'a>), OpenError> {
    let plaintext = keys.open(&at.aad(RecordKind::Delta, 0), record)?;
    let (rows, mut rest) = take_u32(&plaintext)?;
    let mut segments = [0..0, 0..0, 0..0];
    for segment in &mut segments {
        let (length, behind) = take_u32(rest)?;
        let start = plaintext.len() - behind.len();
        rest = behind.get(length as usize..).ok_or(OpenError)?;
        *segment = start..start + length as usize;
    }
    if rest.is_empty() {
        Ok((rows, Body::Delta { plaintext, segments }))
    } else {
        Err(OpenError)
    }
}

fn open_header<'a>(
    keys: &DataKeys,
    at: &BlockAddress,
    records: &'a [u8],
) -> Result<(u32, Body<'a>), OpenError> {
    let (sealed_header, mut rest) = records.split_at_checked(SEALED_HEADER_BYTES).ok_or(OpenError)?;
    let header = keys.open(&at.aad(RecordKind::Page, 0), sealed_header)?;
    let fields: &[[u8; 4]; 6] = header.as_chunks().0.try_into().map_err(|_| OpenError)?;
    let [layout, rows, codes, identities, metadata, total] = fields.map(u32::from_le_bytes);
    if layout != PAGE_LAYOUT || total as usize != 1 + records.len() {
        return Err(OpenError);
    }
    let mut segments: [&[u8]; 3] = [&[]; 3];
    for (segment, length) in segments.iter_mut().zip([codes, identities, metadata]) {
        *segment = rest
            .split_off(..length as usize + SEALED_OVERHEAD)
            .ok_or(OpenError)?;
    }
    Ok((rows, Body::Page { segments }))
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), OpenError> {
    let (number, rest) = bytes.split_first_chunk().ok_or(OpenError)?;
    Ok((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests;
