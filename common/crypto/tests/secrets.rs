//! What secret types must not be able to do, checked by the compiler.

use sealdex_crypto::{
    BatchSigner, Bundle, Commitment, Credential, DataKeys, Fingerprint, Fingerprints, InboxOpener, IndexKey,
    LabelKeys, Lease, LeaseKeyPair, LocalWrapKey, ReadCap, ReadGrant, SessionKey, TokenAuthority,
    TokenFingerprint, UserToken, WriteCap, WriteGrant,
};
use serde::Serialize;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::ops::Deref;

macro_rules! secrets {
    ($($secret:ident),+ $(,)?) => {
        $(
            assert_not_impl_any!(
                $secret: Debug, Display, Clone, Copy, PartialEq, Deref, AsRef<[u8]>, AsRef<str>, Serialize, Default
            );
            assert_impl_all!($secret: Send, Sync);
        )+
        const SECRETS: &[&str] = &[$(stringify!($secret)),+];
    };
}

secrets!(
    BatchSigner,
    Bundle,
    Credential,
    DataKeys,
    Fingerprints,
    InboxOpener,
    IndexKey,
    LabelKeys,
    Lease,
    LeaseKeyPair,
    LocalWrapKey,
    ReadCap,
    SessionKey,
    TokenAuthority,
    UserToken,
    WriteCap,
);

/// All other types that the crate shows, each judged to hold no secret.
const NOT_SECRET: [&str; 33] = [
    "Aad",
    "AdminPublicKey",
    "BadSignature",
    "BadToken",
    "BatchContext",
    "BlockAddress",
    "BlockReader",
    "CallContext",
    "Commitment",
    "Direction",
    "Fingerprint",
    "GrantSignature",
    "InboxContext",
    "InboxPublicKey",
    "IndexPublicKeys",
    "KeyError",
    "LeaseContext",
    "LeasePublicKey",
    "OpenError",
    "ReadGrant",
    "RecordKind",
    "Scope",
    "Segment",
    "TokenFingerprint",
    "UserGrants",
    "UserPublicKey",
    "WriteGrant",
    "WritePublicKey",
    // Constants.
    "CALLS_PER_SESSION",
    "INBOX_OVERHEAD",
    "PAGE_ROWS_MIN",
    "SEALED_OVERHEAD",
    "SESSION_OVERHEAD",
];

// Public, but to be compared in constant time only.
assert_not_impl_any!(Commitment: PartialEq, PartialEq<[u8; 32]>, Deref);
// Neither secret nor to be shown: who sees it in two places knows that one user was there.
assert_not_impl_any!(Fingerprint: Debug, Display, Deref, AsRef<[u8]>, Serialize, PartialEq<[u8; 16]>);
assert_not_impl_any!(TokenFingerprint: Debug, Display, Deref, AsRef<[u8]>, Serialize, PartialEq<[u8; 32]>);
// Sealed, and shown by their length.
assert_not_impl_any!(ReadGrant: Display, Deref, AsRef<[u8]>, Serialize);
assert_not_impl_any!(WriteGrant: Display, Deref, AsRef<[u8]>, Serialize);

/// A type that is added is judged too.
#[test]
fn every_type_is_judged() {
    let exported: BTreeSet<&str> = include_str!("../src/lib.rs")
        .split("\npub use ")
        .skip(1)
        .filter_map(|list| list.split(';').next())
        .flat_map(|list| list.split(|character: char| !character.is_alphanumeric() && character != '_'))
        .filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase()))
        .collect();
    let judged: BTreeSet<&str> = SECRETS.iter().copied().chain(NOT_SECRET).collect();
    assert_eq!(exported, judged);
}

/// The programs that must not compile leave no secret out.
#[test]
fn every_secret_is_misused() {
    for program in [
        include_str!("compile_fail/debug_a_secret.rs"),
        include_str!("compile_fail/display_a_secret.rs"),
        include_str!("compile_fail/clone_a_secret.rs"),
        include_str!("compile_fail/serialize_a_secret.rs"),
        include_str!("compile_fail/compare_secrets.rs"),
    ] {
        let misused: BTreeSet<&str> = program
            .lines()
            .filter_map(|line| line.trim().strip_prefix("of::<")?.strip_suffix(">();"))
            .collect();
        assert_eq!(misused, SECRETS.iter().copied().collect());
    }
}

/// The same from a user's side: each of these programs is refused for the reason beside it.
#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
