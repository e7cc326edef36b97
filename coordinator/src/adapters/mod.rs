//! Where the catalogue meets storage and its log format, where keys meet those who wrap them, and where shards are reached in other
//! processes.

mod backoff;
mod catalog_codec;
mod deployment_codec;
mod deployment_command_codec;
mod eraser;
mod fellows_grpc;
mod key_codec;
pub mod kms;
mod lookout_grpc;
mod metadata_codec;
mod metadata_forward;
mod metadata_handle;
mod metadata_purpose;
mod metadata_store;
pub mod registry;
mod report_codec;
pub mod shard_grpc;

pub use fellows_grpc::FellowsGrpc;
pub use lookout_grpc::LookoutGrpc;
pub(crate) use metadata_forward::reply_of;
pub use metadata_handle::{CatalogError, CatalogHandle};
pub use report_codec::report_of;
pub(crate) use report_codec::{group_report, node_report, said, sightings_to_wire};
