//! What the catalogue keeps of a user of an index: sealed grants, signed by whoever holds the index's admin root.

use sealdex_core::UserId;

/// A user of one index. Which grants are there is what they may do; there is no other policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserRecord {
    /// Who it is.
    pub id: UserId,
    /// What the grants are sealed to.
    pub public_key: [u8; 32],
    /// What the user may do, with the keys of the epoch that is sealed under.
    pub grants: Grants,
    /// The same with the keys of the other epoch, while the index is between two.
    pub other: Option<Grants>,
}

/// What a user was handed of one bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grants {
    /// The read root, sealed to the user; absent for whoever may not read.
    pub read: Option<Vec<u8>>,
    /// The write root, sealed to the user; absent for whoever may not write.
    pub write: Option<Vec<u8>>,
    /// Over user, public key and both grants, by the bundle's admin root.
    pub signature: [u8; 64],
}
