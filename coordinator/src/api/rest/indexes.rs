//! Handlers of the routes about indexes.

use super::call::{AdminCall, Call, Identified};
use super::dto::{
    CreateIndexRequest, IndexInfoResponseModel, IndexKeyResponse, IndexListResponseModel,
    IndexOperationRequest, IndexTrainingStatusResponseModel, RotateRequest, Rotation, RotationResponse,
    SuccessReply, TrainRequest,
};
use super::edge::Edge;
use super::errors::ApiError;
use super::openapi::Failures;
use super::reply;
use crate::service::{IndexRef, TrainOutcome};
use axum::extract::{Path, State};
use axum::response::Response;
use std::mem::take;

/// Lists the names of all indexes, in bytewise order.
#[utoipa::path(
    get,
    path = "/v1/indexes/list",
    operation_id = "list_indexes_v1_indexes_list_get",
    summary = "List indexes",
    responses((status = 200, description = "The names.", body = IndexListResponseModel), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn list(State(edge): State<Edge>, caller: Identified) -> Result<Response, ApiError> {
    let indexes = edge.service.list_indexes(&caller.0).await?;
    Ok(reply::ok(&IndexListResponseModel { indexes }))
}

/// Makes an index, with a key of its owner's (`index_key`) or one that a key registry wraps (`kms_name`).
#[utoipa::path(
    post,
    path = "/v1/indexes/create",
    operation_id = "create_index_v1_indexes_create_post",
    summary = "Create an index",
    request_body = CreateIndexRequest,
    responses((status = 200, description = "The index is made.", body = SuccessReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn create(
    State(edge): State<Edge>,
    AdminCall(call): AdminCall<CreateIndexRequest>,
) -> Result<Response, ApiError> {
    let request = call.payload.into_request()?;
    let message = format!("Index '{}' created successfully", request.index.name);
    edge.service.create_index(&call.caller, request).await?;
    Ok(reply::ok(&SuccessReply::new(message)))
}

/// Tells an index's dimension, metric and state of training.
#[utoipa::path(
    post,
    path = "/v1/indexes/describe",
    operation_id = "get_index_info_v1_indexes_describe_post",
    summary = "Describe an index",
    request_body = IndexOperationRequest,
    responses((status = 200, description = "What is known of the index.", body = IndexInfoResponseModel), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn describe(
    State(edge): State<Edge>,
    call: Call<IndexOperationRequest>,
) -> Result<Response, ApiError> {
    let index = edge
        .open(&call.caller, call.payload.index_name, call.payload.index_key)
        .await?;
    let description = edge.service.describe(&index).await?;
    Ok(reply::ok(&IndexInfoResponseModel::from(description)))
}

/// Deletes an index: its keys first, which makes its items unreadable, then the items.
#[utoipa::path(
    post,
    path = "/v1/indexes/delete",
    operation_id = "delete_index_v1_indexes_delete_post",
    summary = "Delete an index",
    request_body = IndexOperationRequest,
    responses((status = 200, description = "The index is gone.", body = SuccessReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn delete(
    State(edge): State<Edge>,
    AdminCall(call): AdminCall<IndexOperationRequest>,
) -> Result<Response, ApiError> {
    let message = format!("Index '{}' deleted successfully", call.payload.index_name);
    let index = IndexRef {
        name: call.payload.index_name,
        key: call.payload.index_key.into_input()?,
    };
    edge.service.delete_index(&call.caller, index).await?;
    Ok(reply::ok(&SuccessReply::new(message)))
}

/// Exchanges an index's key for another: one of its owner's, or a new one that a slot of the key registry wraps. No item is
/// touched and no request fails; the old key opens nothing afterwards.
///
/// With `epoch`, the keys below the index key are exchanged too, with or without a new index key. The answer comes when the new
/// epoch has begun; items are sealed again in the background while requests go on, at the pace that the server allows, and
/// `GET /v1/indexes/{index_name}/rotation` tells how far that is. When it is done, keys and grants of the epoch before open
/// nothing that the server keeps. Only one such rotation of an index goes on at a time.
#[utoipa::path(
    post,
    path = "/v1/indexes/{index_name}/rotate",
    operation_id = "rotate_index_key_v1_indexes__index_name__rotate_post",
    summary = "Exchange an index's key",
    params(("index_name" = String, Path, description = "The index's name.")),
    request_body = RotateRequest,
    responses((status = 200, description = "The new key is in force.", body = SuccessReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn rotate(
    State(edge): State<Edge>,
    Path(name): Path<String>,
    AdminCall(call): AdminCall<RotateRequest>,
) -> Result<Response, ApiError> {
    let (key, rotation) = call.payload.into_parts()?;
    let index = IndexRef {
        name: name.clone(),
        key,
    };
    let message = match rotation {
        Rotation::Key(new) => {
            edge.service.rewrap(&call.caller, index, new).await?;
            format!("Index '{name}' has a new key")
        }
        Rotation::Epoch(new) => {
            let epoch = edge.service.begin_epoch(&call.caller, index, new).await?;
            format!("Index '{name}' is on its way to key epoch {}", epoch.0)
        }
    };
    Ok(reply::ok(&SuccessReply::new(message)))
}

/// Tells how far an index is on its way to a new key epoch. Needs no index key.
#[utoipa::path(
    get,
    path = "/v1/indexes/{index_name}/rotation",
    operation_id = "get_rotation_v1_indexes__index_name__rotation_get",
    summary = "Tell how far a rotation is",
    params(("index_name" = String, Path, description = "The index's name.")),
    responses((status = 200, description = "How far it is.", body = RotationResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn rotation(
    State(edge): State<Edge>,
    caller: Identified,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let status = edge.service.rotation_status(&caller.0, &name).await?;
    Ok(reply::ok(&RotationResponse::from(status)))
}

/// Tells how an index's key is held, and which users the index has. Never the key.
#[utoipa::path(
    get,
    path = "/v1/indexes/{index_name}/key",
    operation_id = "get_index_key_v1_indexes__index_name__key_get",
    summary = "Tell how an index's key is held",
    params(("index_name" = String, Path, description = "The index's name.")),
    responses((status = 200, description = "How the key is held.", body = IndexKeyResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn key(
    State(edge): State<Edge>,
    caller: Identified,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let facts = edge.service.key_facts(&caller.0, &name).await?;
    Ok(reply::ok(&IndexKeyResponse::from(facts)))
}

/// Trains an index, and answers when that is done. Queries and upserts go on meanwhile.
#[utoipa::path(
    post,
    path = "/v1/indexes/train",
    operation_id = "train_index_v1_indexes_train_post",
    summary = "Train an index",
    request_body = TrainRequest,
    responses((status = 200, description = "The index is trained, or exact without; the message says which.", body = SuccessReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn train(
    State(edge): State<Edge>,
    AdminCall(mut call): AdminCall<TrainRequest>,
) -> Result<Response, ApiError> {
    let (name, key) = (
        take(&mut call.payload.index_name),
        take(&mut call.payload.index_key),
    );
    let index = edge.open(&call.caller, name, key).await?;
    let outcome = edge
        .service
        .train(&call.caller, &index, call.payload.into_request()?)
        .await?;
    let name = index.name();
    let message = match outcome {
        TrainOutcome::Trained => format!("Index '{name}' trained successfully"),
        TrainOutcome::Needless => {
            format!(
                "Index '{name}' needs no training yet: it is small, and every query looks at all its items"
            )
        }
        TrainOutcome::UnderWay => format!("Index '{name}' is being trained already"),
    };
    Ok(reply::ok(&SuccessReply::new(message)))
}

/// Tells which indexes are being trained or wait for it.
#[utoipa::path(
    get,
    path = "/v1/indexes/training-status",
    operation_id = "get_training_status_v1_indexes_training_status_get",
    summary = "Tell what is being trained",
    responses((status = 200, description = "What is being trained.", body = IndexTrainingStatusResponseModel), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn training_status(
    State(edge): State<Edge>,
    caller: Identified,
) -> Result<Response, ApiError> {
    let status = edge.service.training_status(&caller.0).await?;
    Ok(reply::ok(&IndexTrainingStatusResponseModel::from(status)))
}
