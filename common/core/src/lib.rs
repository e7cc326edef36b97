//! The vocabulary that every part of Sealdex shares: ids and units as newtypes, limits, error codes, placement.
//!
//! This crate knows nothing of storage, networks, keys or clocks, and depends on none of our other crates.
//! Everything may depend on it.

mod error;
mod ids;
pub mod limits;
mod placement;
mod secret_text;
mod units;

pub use error::ErrorCode;
pub use ids::{
    BlobLabel, BlockId, ClusterLabel, ClusterNo, DeploymentId, Generation, IndexId, ItemLabel, KeyEpoch,
    NodeId, Op, PartitionId, ReadIndex, UserId, UserIdError,
};
pub use placement::Placement;
pub use secret_text::SecretText;
pub use units::{Dimension, Metric, Precision, UnitError};
