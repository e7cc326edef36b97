//! Identifiers. None has a `Default`: an id comes from whoever is entitled to make one.

use std::fmt;
use std::str::FromStr;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// The label's bytes, as they stand in keys and entries.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads a label back; `None` if `bytes` is not 16 bytes long.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }
    };
}

number_id!(
    /// An index for its whole life; random, and never used again after the index is deleted.
    IndexId(u64)
);
number_id!(
    /// One of the fixed number of partitions of a deployment.
    PartitionId(u16)
);
number_id!(
    /// One trained (or untrained) set of centroids and codes of an index. Grows by one with each training.
    Generation(u32)
);
number_id!(
    /// The epoch of an index's key bundle.
    KeyEpoch(u32)
);
number_id!(
    /// The position of a cluster in its generation's centroid table. Never stored in the clear.
    ClusterNo(u32)
);

number_id!(
    /// A member of the deployment, coordinator or shard node. Allocated once by the metadata group and never used again:
    /// an empty disk joins under a new one.
    NodeId(u64)
);

number_id!(
    /// How much of a partition's log a read has to take in: confirmed once, it holds for every read that began before it was.
    ReadIndex(u64)
);

label!(
    /// An item's name in storage: a PRF of its id under a key only the index's owner holds.
    ItemLabel
);
label!(
    /// A cluster's name in storage: a PRF of generation and cluster number.
    ClusterLabel
);
label!(
    /// The name of one piece of a generation's sealed model.
    BlobLabel
);
label!(
    /// One write of one item: 16 random bytes. A row is visible if and only if its `Op` is its item's current one.
    Op
);
label!(
    /// One sealed block of rows of a cluster: 16 random bytes.
    BlockId
);
label!(
    /// A user of indexes, as tokens and grants name it: 16 random bytes. Not secret.
    UserId
);

label!(
    /// A deployment, for its whole life: 16 random bytes, drawn when it is bootstrapped.
    DeploymentId
);

macro_rules! hex_text {
    ($name:ident, $error:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        #[doc = concat!("A text that is not a [`", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
        #[error("{} is written as 32 hexadecimal digits", $what)]
        pub struct $error;

        impl FromStr for $name {
            type Err = $error;

            /// Reads 32 hexadecimal digits of either case.
            fn from_str(text: &str) -> Result<Self, $error> {
                from_hex(text).map(Self).ok_or($error)
            }
        }
    };
}

hex_text!(UserId, UserIdError, "a user id");
hex_text!(DeploymentId, DeploymentIdError, "a deployment id");

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let digit = |character: u8| char::from(character).to_digit(16);
    let pairs: &[[u8; 2]; 16] = match text.as_bytes().as_chunks() {
        (pairs, []) => pairs.try_into().ok()?,
        _ => return None,
    };
    let mut bytes = [0; 16];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn user_ids_are_read_as_they_are_written(bytes: [u8; 16]) {
            let id = UserId(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.len(), 32);
            prop_assert_eq!(text.parse(), Ok(id));
            prop_assert_eq!(text.to_uppercase().parse(), Ok(id));
        }

        #[test]
        fn other_texts_are_no_user_ids(text in "[0-9a-g\u{e9} +]{28,36}") {
            let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<UserId>().is_ok(), hex);
        }
    }
}
