//! Every domain-separation label, one per purpose. A label is part of the stored format: what was sealed or named
//! under it can no longer be read once it changes, and a retired one must not be used again.

/// The salt of every HKDF-Extract: derivations of this system meet no other system's.
pub(crate) const SALT: &[u8] = b"sealdex v1";

/// Index key → commitment.
pub(crate) const COMMITMENT: &[u8] = b"index commitment";
/// Index key → key that seals the bundle.
pub(crate) const WRAP: &[u8] = b"bundle wrap";

/// Read root → root of one scope's data keys.
pub(crate) const DATA_SCOPE: &[u8] = b"data scope";
/// Scope root → key of one kind of record.
pub(crate) const RECORD_KIND: &[u8] = b"record kind";
/// Kind key → key of one sub-epoch, the only keys that records are sealed under.
pub(crate) const SUB_EPOCH: &[u8] = b"sub-epoch";

/// Label root → PRF key of item labels.
pub(crate) const ITEM_LABEL: &[u8] = b"item label";
/// Label root → PRF key of cluster labels.
pub(crate) const CLUSTER_LABEL: &[u8] = b"cluster label";
/// Label root → PRF key of blob labels.
pub(crate) const BLOB_LABEL: &[u8] = b"blob label";

/// All of them, for the test that no two are alike.
#[cfg(test)]
const ALL: [&[u8]; 9] = [
    SALT,
    COMMITMENT,
    WRAP,
    DATA_SCOPE,
    RECORD_KIND,
    SUB_EPOCH,
    ITEM_LABEL,
    CLUSTER_LABEL,
    BLOB_LABEL,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_are_alike() {
        assert_eq!(ALL.iter().collect::<BTreeSet<_>>().len(), ALL.len());
    }
}
