//! What is true of indexes and of the deployment, as pure state: no IO, no clock, no randomness, no async.

mod catalog;
mod command;
pub mod deployment;
mod epochs;
mod index_record;
mod key_envelope;
mod metadata;
mod provider;
mod user_record;

pub use catalog::Catalog;
pub use command::{Command, Rejection};
pub use index_record::{GenerationRecord, IndexRecord, ModelRef};
pub use key_envelope::{EpochKeys, EpochStage, Epochs, KeyEnvelope, KeySource, PublicKeys, WrappedKey};
pub use metadata::{Metadata, MetadataApplied, MetadataCommand, MetadataRejection};
pub use provider::{Provider, UnknownProvider};
pub use user_record::{Grants, UserRecord};
