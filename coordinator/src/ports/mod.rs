//! What the service needs of others, named by the service.

mod fellows;
mod key_provider;
mod lookout;
mod shard_client;

pub use fellows::{Fellows, NoFellows, Unsettled};
pub use key_provider::{KeyContext, KeyProvider, KmsError, KmsFault};
pub use lookout::{Lookout, Survey};
pub use shard_client::ShardClient;
