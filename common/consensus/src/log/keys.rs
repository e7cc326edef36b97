//! Keys of the log database. Big-endian, so that a group's entries lie together and in order.
//!
//! ```text
//! raft_log    group u64 BE | index u64 BE     an entry
//! raft_meta   group u64 BE | tag u8           one of `Meta`
//! raft_meta   "writes"                        how many writes the database has seen
//! ```

use crate::GroupId;

/// Not as long as any other key.
pub(super) const WRITES: &[u8] = b"writes";

/// What is kept of a group beside its entries. Numbers are never given twice.
#[derive(Clone, Copy)]
pub(super) enum Meta {
    /// Its vote.
    Vote = 1,
    /// The id of the last entry that was purged.
    Purged = 2,
    /// The id of the last entry the group had when it was forgotten.
    Forgotten = 3,
}

pub(super) fn entry(group: GroupId, index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&group.0.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The index in an entry's key, if it is one of that group.
pub(super) fn index_in(group: GroupId, key: &[u8]) -> Option<u64> {
    let (prefix, index) = key.split_first_chunk::<8>()?;
    let index = u64::from_be_bytes(index.try_into().ok()?);
    (*prefix == group.0.to_be_bytes()).then_some(index)
}

/// The first key behind all entries of the group; `None` if no key is.
pub(super) fn end(group: GroupId) -> Option<[u8; 16]> {
    Some(entry(GroupId(group.0.checked_add(1)?), 0))
}

pub(super) fn meta(group: GroupId, meta: Meta) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&group.0.to_be_bytes());
    key[8] = meta as u8;
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_groups_and_indices(a: (u64, u64), b: (u64, u64)) {
            let key = |(group, index)| entry(GroupId(group), index);
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert_eq!(index_in(GroupId(a.0), &key(a)), Some(a.1));
            prop_assert_eq!(index_in(GroupId(b.0), &key(a)).is_some(), a.0 == b.0);
            if let Some(end) = end(GroupId(a.0)) {
                prop_assert!(key(a) < end);
                prop_assert_eq!(key(b) < end, b.0 <= a.0);
            }
        }
    }
}
