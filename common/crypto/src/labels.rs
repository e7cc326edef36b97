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

/// Server's root key → key of the tags of users' tokens.
pub(crate) const TOKEN_TAG: &[u8] = b"token tag";
/// User secret → what a token is found by in a cache.
pub(crate) const TOKEN_FINGERPRINT: &[u8] = b"token fingerprint";
/// User secret → key pair that grants are sealed to.
pub(crate) const USER_KEY_PAIR: &[u8] = b"user key pair";

/// What a read grant is bound to.
pub(crate) const READ_GRANT: &[u8] = b"read grant";
/// What a write grant is bound to.
pub(crate) const WRITE_GRANT: &[u8] = b"write grant";
/// Admin root → key that signs users.
pub(crate) const ADMIN_SIGNING_KEY: &[u8] = b"admin signing key";
/// What the signature of a user is over.
pub(crate) const USER_SIGNATURE: &[u8] = b"user signature";

/// Write root → key that signs batches.
pub(crate) const WRITE_SIGNING_KEY: &[u8] = b"write signing key";
/// What the signature of a batch is over.
pub(crate) const BATCH_SIGNATURE: &[u8] = b"batch signature";

/// Read root → key pair that write-only users seal to.
pub(crate) const INBOX_KEY_PAIR: &[u8] = b"inbox key pair";
/// What a record sealed to the inbox is bound to.
pub(crate) const INBOX_RECORD: &[u8] = b"inbox record";

/// Local wrapping secret → key that index keys are wrapped under.
pub(crate) const LOCAL_WRAP_KEY: &[u8] = b"local wrap key";
/// What a locally wrapped index key is bound to.
pub(crate) const LOCAL_WRAP: &[u8] = b"local wrap";

/// What a lease for a shard node is bound to.
pub(crate) const LEASE: &[u8] = b"lease";
/// Session secret → key that one direction of a session is sealed under.
pub(crate) const SESSION_KEY: &[u8] = b"session key";
/// What a call or a reply of a session is bound to.
pub(crate) const SESSION_CALL: &[u8] = b"session call";

/// All of them, for the test that no two are alike.
#[cfg(test)]
const ALL: [&[u8]; 25] = [
    SALT,
    COMMITMENT,
    WRAP,
    DATA_SCOPE,
    RECORD_KIND,
    SUB_EPOCH,
    ITEM_LABEL,
    CLUSTER_LABEL,
    BLOB_LABEL,
    TOKEN_TAG,
    TOKEN_FINGERPRINT,
    USER_KEY_PAIR,
    READ_GRANT,
    WRITE_GRANT,
    ADMIN_SIGNING_KEY,
    USER_SIGNATURE,
    WRITE_SIGNING_KEY,
    BATCH_SIGNATURE,
    INBOX_KEY_PAIR,
    INBOX_RECORD,
    LOCAL_WRAP_KEY,
    LOCAL_WRAP,
    LEASE,
    SESSION_KEY,
    SESSION_CALL,
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
