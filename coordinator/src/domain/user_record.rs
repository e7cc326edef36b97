//! What the catalogue keeps of a user of an index: sealed grants, signed by whoever holds the index's admin root.

use sealdex_core::UserId;

/// A user of one index. Which grants are there is what they may do; there is no other policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserRecord {
    /// Who it is.
    pub id: UserId,
    /// What the grants are sealed to.
    pub public_key: [u8; 32],
    /// The read root, sealed to the user; absent for whoever may not read.
    pub read_grant: Option<Vec<u8>>,
    /// The write root, sealed to the user; absent for whoever may not write.
    pub write_grant: Option<Vec<u8>>,
    /// Over all of the above, by the index's admin root.
    pub signature: [u8; 64],
}
