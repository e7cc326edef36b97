//! The use cases. Transports parse, call one of these, and encode; nothing below knows HTTP or gRPC.
//!
//! Plaintext lives here for one request: vectors, ids and metadata are sealed before anything leaves for a shard's
//! storage, and what comes back is opened for the answer only.

mod bundles;
mod census;
mod coded_rows;
mod cpu;
mod custodian;
mod deployment;
mod deployment_status;
mod error;
mod fanout;
mod fitness;
mod inbox;
mod inbox_write;
mod index_keys;
mod indexes;
mod items;
mod key_cache;
mod key_facts;
mod maintenance;
mod open_items;
mod promotion;
mod query;
mod requests;
mod reseal;
mod revision;
mod rotation;
mod session;
mod startup;
mod trainer;
mod training;
mod training_plan;
mod under_way;
mod upsert;
mod users;
mod write_plan;

pub use bundles::Rights;
pub use deployment::Page;
pub use deployment_status::{
    DeploymentStatus, GroupStatus, JobPhase, JobStatus, NodeNamed, NodePhase, NodeStatus, PartitionCounts,
    PartitionStatus, ReplicaStatus,
};
pub use error::ServiceError;
pub use index_keys::NewKey;
pub use key_cache::KeyCache;
pub use key_facts::{KeyFacts, SlotHeld};
pub use requests::{
    CreateIndex, Description, Hit, Include, IndexRef, ItemFields, KeyInput, Query, StoredItem, TrainOutcome,
    TrainRequest, TrainingStatus, Upsert, Upserted, Vectors, VectorsError,
};
pub use rotation::{RotationPhase, RotationStatus};
pub use session::OpenIndex;
pub use startup::{Service, Settings};
pub use users::{CreateUser, CreatedUser, UserListed};
