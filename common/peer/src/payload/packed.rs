//! Rows of a fixed length in one piece of memory, and what stands in them. Numbers are little-endian.

use super::MALFORMED;
use bytes::Bytes;
use sealdex_core::{ItemLabel, Op};
use sealdex_index::dataplane::ShardError;

/// Packs what `write` writes for each row, `N` bytes each.
pub(super) fn pack<T, const N: usize>(
    rows: impl ExactSizeIterator<Item = T>,
    write: impl Fn(T) -> [u8; N],
) -> Bytes {
    let mut out = Vec::with_capacity(rows.len() * N);
    for row in rows {
        out.extend_from_slice(&write(row));
    }
    out.into()
}

/// Reads rows of `N` bytes, and refuses what is left over.
pub(super) fn unpack<T, const N: usize>(
    packed: &[u8],
    read: impl Fn(&[u8; N]) -> Result<T, ShardError>,
) -> Result<Vec<T>, ShardError> {
    let (rows, []) = packed.as_chunks::<N>() else {
        return Err(MALFORMED);
    };
    rows.iter().map(read).collect()
}

pub(super) fn pack_floats(values: &[f32]) -> Bytes {
    pack(values.iter(), |value| value.to_le_bytes())
}

pub(super) fn unpack_floats(packed: &[u8]) -> Result<Vec<f32>, ShardError> {
    unpack(packed, |bytes| Ok(f32::from_le_bytes(*bytes)))
}

pub(super) fn pack_writes(rows: &[(ItemLabel, Op)]) -> Bytes {
    pack(rows.iter(), |(label, op)| join::<16, 16, 32>(label.0, op.0))
}

pub(super) fn unpack_writes(packed: &[u8]) -> Result<Vec<(ItemLabel, Op)>, ShardError> {
    unpack(packed, |row: &[u8; 32]| {
        let (label, op) = split::<16, 16, 32>(row);
        Ok((ItemLabel(label), Op(op)))
    })
}

/// One array behind another; `N` is `A + B`.
pub(super) fn join<const A: usize, const B: usize, const N: usize>(a: [u8; A], b: [u8; B]) -> [u8; N] {
    const { assert!(A + B == N) };
    let mut out = [0; N];
    out[..A].copy_from_slice(&a);
    out[A..].copy_from_slice(&b);
    out
}

/// What [`join`] joined.
pub(super) fn split<const A: usize, const B: usize, const N: usize>(row: &[u8; N]) -> ([u8; A], [u8; B]) {
    const { assert!(A + B == N) };
    let (mut a, mut b) = ([0; A], [0; B]);
    a.copy_from_slice(&row[..A]);
    b.copy_from_slice(&row[A..]);
    (a, b)
}
