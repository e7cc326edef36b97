//! A body that does not hold what its route takes.

use super::{Fault, Place};

/// Why a body was refused. Tells where and what, never the value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Malformed {
    /// Sent as another type of content.
    NotSentAsJson,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// Not JSON, from this byte on.
    NotJson {
        /// The byte's offset.
        at: usize,
        /// What the grammar has to say.
        reason: String,
    },
    /// Nested deeper than any request has reason to be.
    TooDeep,
    /// NaN or infinity as Python writes them, or a number beyond every format.
    NotFinite(Place),
    /// JSON, but a value is not what its field takes.
    Mismatch(Fault, Place),
}

impl Malformed {
    /// Whether this is said even to callers who have not shown who they are.
    pub(crate) fn precedes_authentication(&self) -> bool {
        matches!(
            self,
            Malformed::NotUtf8 | Malformed::NotJson { .. } | Malformed::TooDeep
        )
    }
}
