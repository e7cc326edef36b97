//! Identifiers. None has a `Default`: an id comes from whoever is entitled to make one.

use std::fmt;

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
