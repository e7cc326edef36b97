//! Keys of records: big-endian numbers and labels, so that everything of a partition, of an index in it, and of a
//! generation of that is one range. Nothing in a key is readable without the index's keys.
//!
//! ```text
//! partition 2                                                    the partition's applied log index
//! partition 2 | index 8                                          IndexState
//! partition 2 | index 8 | item label 16                          records of an item
//! partition 2 | index 8 | generation 4 | cluster 16 | block 16   a block and its directory entry
//! partition 2 | index 8 | generation 4 | blob label 16           a piece of a model
//! ```

use sealdex_core::{BlobLabel, BlockId, ClusterLabel, Generation, IndexId, ItemLabel, PartitionId};

/// The record of the node itself. No other key has one byte.
pub(crate) const NODE_KEY: [u8; 1] = [0];

const INDEX_BYTES: usize = 10;
const ITEM_BYTES: usize = 26;
const GENERATION_BYTES: usize = 14;
const BLOB_BYTES: usize = 30;
const CLUSTER_BYTES: usize = 30;
const BLOCK_BYTES: usize = 46;

/// The keys of one index in one partition.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    prefix: [u8; INDEX_BYTES],
}

impl Keys {
    pub(crate) fn new(partition: PartitionId, index: IndexId) -> Self {
        Self {
            prefix: join(&partition_key(partition), &[&index.0.to_be_bytes()]),
        }
    }

    /// The index's state; also what all its other keys begin with.
    pub(crate) fn index(&self) -> [u8; INDEX_BYTES] {
        self.prefix
    }

    pub(crate) fn item(&self, label: &ItemLabel) -> [u8; ITEM_BYTES] {
        join(&self.prefix, &[&label.0])
    }

    /// What all keys of a generation begin with.
    pub(crate) fn generation(&self, generation: Generation) -> [u8; GENERATION_BYTES] {
        join(&self.prefix, &[&generation.0.to_be_bytes()])
    }

    pub(crate) fn blob(&self, generation: Generation, label: &BlobLabel) -> [u8; BLOB_BYTES] {
        join(&self.prefix, &[&generation.0.to_be_bytes(), &label.0])
    }

    pub(crate) fn block(
        &self,
        generation: Generation,
        cluster: &ClusterLabel,
        block: &BlockId,
    ) -> [u8; BLOCK_BYTES] {
        join(&self.prefix, &[&generation.0.to_be_bytes(), &cluster.0, &block.0])
    }
}

/// The partition's own state; also what all its other keys begin with.
pub(crate) fn partition_key(partition: PartitionId) -> [u8; 2] {
    partition.0.to_be_bytes()
}

/// The index whose state a key of `Family::State` names, if it does.
pub(crate) fn index_of(key: &[u8]) -> Option<IndexId> {
    let key: &[u8; INDEX_BYTES] = key.try_into().ok()?;
    Some(IndexId(u64::from_be_bytes(key[2..].try_into().ok()?)))
}

/// The item that a key of an item's record names.
pub(crate) fn item_of(key: &[u8]) -> Option<ItemLabel> {
    let key: &[u8; ITEM_BYTES] = key.try_into().ok()?;
    ItemLabel::from_slice(&key[INDEX_BYTES..])
}

/// The index and the item that a key of an item's record names.
pub(crate) fn inbox_of(key: &[u8]) -> Option<(IndexId, ItemLabel)> {
    Some((index_of(key.get(..INDEX_BYTES)?)?, item_of(key)?))
}

/// The block that a key of `Family::Directory` names.
pub(crate) fn block_of(key: &[u8]) -> Option<(IndexId, Generation, ClusterLabel, BlockId)> {
    let key: &[u8; BLOCK_BYTES] = key.try_into().ok()?;
    Some((
        index_of(&key[..INDEX_BYTES])?,
        Generation(u32::from_be_bytes(
            key[INDEX_BYTES..GENERATION_BYTES].try_into().ok()?,
        )),
        ClusterLabel::from_slice(&key[GENERATION_BYTES..CLUSTER_BYTES])?,
        BlockId::from_slice(&key[CLUSTER_BYTES..])?,
    ))
}

/// The first key behind all that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    unreachable!("a partition's number is below 65535, so no prefix is all ones")
}

fn join<const N: usize>(head: &[u8], tail: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    let mut at = 0;
    for part in std::iter::once(&head).chain(tail) {
        key[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert_eq!(at, N, "a key is as long as its parts");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: (PartitionId, IndexId) = (PartitionId(0x0102), IndexId(0x0304_0506_0708_090a));

    #[test]
    fn the_format_never_changes() {
        let keys = Keys::new(KEYS.0, KEYS.1);
        let key = keys.block(
            Generation(0x0b0c_0d0e),
            &ClusterLabel([0x11; 16]),
            &BlockId([0x22; 16]),
        );
        let mut expected: Vec<u8> = (1..=14).collect();
        expected.extend([0x11; 16]);
        expected.extend([0x22; 16]);
        assert_eq!(key.as_slice(), expected);
        assert_eq!(keys.item(&ItemLabel([0x33; 16]))[10..], [0x33; 16]);
        assert_eq!(
            keys.blob(Generation(1), &BlobLabel([0x44; 16]))[10..],
            [[0, 0, 0, 1].as_slice(), &[0x44; 16]].concat()
        );
        assert_eq!(partition_key(KEYS.0), [1, 2]);
    }

    #[test]
    fn keys_read_back() {
        let keys = Keys::new(KEYS.0, KEYS.1);
        let (cluster, block) = (ClusterLabel([7; 16]), BlockId([8; 16]));
        assert_eq!(index_of(&keys.index()), Some(KEYS.1));
        assert_eq!(index_of(&partition_key(KEYS.0)), None);
        assert_eq!(item_of(&keys.item(&ItemLabel([9; 16]))), Some(ItemLabel([9; 16])));
        assert_eq!(
            block_of(&keys.block(Generation(5), &cluster, &block)),
            Some((KEYS.1, Generation(5), cluster, block))
        );
        assert_eq!(block_of(&keys.index()), None);
    }

    #[test]
    fn a_prefix_ends_behind_all_it_begins() {
        assert_eq!(prefix_end(&[1, 2]), [1, 3]);
        assert_eq!(prefix_end(&[1, 0xff, 0xff]), [2]);
    }
}
