//! What travels in bodies: each request as it is sent, with its way into the service's words, and each reply.
//!
//! A request here has passed the grammar and its fields' types. What a value may be is checked on the way into the
//! service's request, in functions without IO.

mod binary;
mod cluster;
mod index;
mod items;
mod key_facts;
mod numbers;
mod query;
mod replies;
mod results;
mod rotation;
mod sent_key;
mod upsert;
mod users;

pub(crate) use cluster::{ClusterNodesResponse, ClusterPartitionsResponse, ClusterStatusResponse, PageQuery};
pub(crate) use index::{CreateIndexRequest, IndexOperationRequest, RotateRequest, Rotation, TrainRequest};
pub(crate) use items::{DeleteRequest, GetRequest, ListIDsRequest};
pub(crate) use key_facts::IndexKeyResponse;
pub(crate) use query::{BinaryQueryRequest, QueryRequest};
pub(crate) use replies::{
    CountReply, HealthReply, IndexInfoResponseModel, IndexListResponseModel,
    IndexTrainingStatusResponseModel, ListIDsResponse, SuccessReply, WriteReply,
};
pub(crate) use results::{GetResponseModel, QueryResponse, QueryResultItem};
pub(crate) use rotation::RotationResponse;
pub(crate) use sent_key::SentKey;
pub(crate) use upsert::{BinaryUpsertRequest, UpsertRequest};
pub(crate) use users::{CreateUserRequest, CreateUserResponse, ListUsersResponse, user_id};
