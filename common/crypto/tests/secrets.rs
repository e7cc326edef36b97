//! What secret types must not be able to do, checked by the compiler.

use sealdex_crypto::{Bundle, Commitment, DataKeys, IndexKey, LabelKeys};
use serde::Serialize;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use std::fmt::{Debug, Display};
use std::ops::Deref;

assert_not_impl_any!(IndexKey: Debug, Display, Clone, Copy, PartialEq, Deref, AsRef<[u8]>, Serialize);
assert_not_impl_any!(Bundle: Debug, Display, Clone, Copy, PartialEq, Deref, AsRef<[u8]>, Serialize);
assert_not_impl_any!(LabelKeys: Debug, Display, Clone, Copy, PartialEq, Deref, AsRef<[u8]>, Serialize);
assert_not_impl_any!(DataKeys: Debug, Display, Clone, Copy, PartialEq, Deref, AsRef<[u8]>, Serialize);

// Public, but to be compared in constant time only.
assert_not_impl_any!(Commitment: PartialEq, PartialEq<[u8; 32]>, Deref);

assert_impl_all!(IndexKey: Send, Sync);
assert_impl_all!(Bundle: Send, Sync);
assert_impl_all!(LabelKeys: Send, Sync);
assert_impl_all!(DataKeys: Send, Sync);

/// The same from a user's side: each of these programs is refused for the reason beside it.
#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
