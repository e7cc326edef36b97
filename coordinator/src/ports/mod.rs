//! What the service needs of others, named by the service.

mod fellows;
mod key_provider;
mod shard_client;

pub use fellows::{Fellows, NoFellows, Unsettled};
pub use key_provider::{KeyContext, KeyProvider, KmsError, KmsFault};
pub use shard_client::ShardClient;
