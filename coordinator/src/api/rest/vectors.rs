//! Handlers of the routes about the items of an index.

use super::call::Call;
use super::dto::{
    BinaryQueryRequest, BinaryUpsertRequest, CountReply, DeleteRequest, GetRequest, GetResponseModel,
    IndexOperationRequest, ListIDsRequest, ListIDsResponse, QueryRequest, QueryResponse, UpsertRequest,
    WriteReply,
};
use super::edge::Edge;
use super::errors::ApiError;
use super::openapi::Failures;
use super::reply;
use axum::extract::State;
use axum::response::Response;
use std::mem::take;

/// Writes items. An item that exists is replaced as a whole; nothing is written if any item is refused.
#[utoipa::path(
    post,
    path = "/v1/vectors/upsert",
    operation_id = "upsert_vectors_v1_vectors_upsert_post",
    summary = "Write items",
    request_body = UpsertRequest,
    responses((status = 200, description = "The items are written.", body = WriteReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn upsert(
    State(edge): State<Edge>,
    mut call: Call<UpsertRequest>,
) -> Result<Response, ApiError> {
    let (name, key) = (
        take(&mut call.payload.index_name),
        take(&mut call.payload.index_key),
    );
    let index = edge.open(&call.caller, name, key).await?;
    let request = edge.compute(call.bytes, || call.payload.into_request()).await??;
    let upserted = edge.service.upsert(&index, request).await?;
    Ok(reply::ok(&WriteReply::from(upserted)))
}

/// Writes items whose vectors are sent as base64, which is shorter and faster to read than JSON.
#[utoipa::path(
    post,
    path = "/v1/vectors/upsert_binary",
    operation_id = "upsert_vectors_binary_v1_vectors_upsert_binary_post",
    summary = "Write items, vectors as base64",
    request_body = BinaryUpsertRequest,
    responses((status = 200, description = "The items are written.", body = WriteReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn upsert_binary(
    State(edge): State<Edge>,
    mut call: Call<BinaryUpsertRequest>,
) -> Result<Response, ApiError> {
    let (name, key) = (
        take(&mut call.payload.index_name),
        take(&mut call.payload.index_key),
    );
    let index = edge.open(&call.caller, name, key).await?;
    let request = edge.compute(call.bytes, || call.payload.into_request()).await??;
    let upserted = edge.service.upsert(&index, request).await?;
    Ok(reply::ok(&WriteReply::from(upserted)))
}

/// Finds the nearest items of a vector, or of each of several.
#[utoipa::path(
    post,
    path = "/v1/vectors/query",
    operation_id = "query_vectors_v1_vectors_query_post",
    summary = "Find nearest items",
    request_body = QueryRequest,
    responses((status = 200, description = "The nearest items.", body = QueryResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn query(
    State(edge): State<Edge>,
    mut call: Call<QueryRequest>,
) -> Result<Response, ApiError> {
    let (name, key) = (
        take(&mut call.payload.index_name),
        take(&mut call.payload.index_key),
    );
    let index = edge.open(&call.caller, name, key).await?;
    let request = edge.compute(call.bytes, || call.payload.into_request()).await??;
    let hits = edge.service.query(&index, request).await?;
    let reply = QueryResponse::from(hits);
    Ok(edge.reply(reply.bytes(), reply).await?)
}

/// Finds the nearest items of vectors that are sent as base64.
#[utoipa::path(
    post,
    path = "/v1/vectors/query_binary",
    operation_id = "query_vectors_binary_v1_vectors_query_binary_post",
    summary = "Find nearest items, vectors as base64",
    request_body = BinaryQueryRequest,
    responses((status = 200, description = "The nearest items.", body = QueryResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn query_binary(
    State(edge): State<Edge>,
    mut call: Call<BinaryQueryRequest>,
) -> Result<Response, ApiError> {
    let (name, key) = (
        take(&mut call.payload.index_name),
        take(&mut call.payload.index_key),
    );
    let index = edge.open(&call.caller, name, key).await?;
    let request = edge.compute(call.bytes, || call.payload.into_request()).await??;
    let hits = edge.service.query(&index, request).await?;
    let reply = QueryResponse::from(hits);
    Ok(edge.reply(reply.bytes(), reply).await?)
}

/// Returns items by their ids, in the order of the ids; ids of items that do not exist are left out.
#[utoipa::path(
    post,
    path = "/v1/vectors/get",
    operation_id = "get_vectors_v1_vectors_get_post",
    summary = "Return items",
    request_body = GetRequest,
    responses((status = 200, description = "The items.", body = GetResponseModel), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn get(State(edge): State<Edge>, call: Call<GetRequest>) -> Result<Response, ApiError> {
    let fields = call.payload.fields();
    let index = edge
        .open(&call.caller, call.payload.index_name, call.payload.index_key)
        .await?;
    let items = edge.service.get(&index, call.payload.ids, fields).await?;
    let reply = GetResponseModel::from(items);
    Ok(edge.reply(reply.bytes(), reply).await?)
}

/// Lists the ids of all items, in no particular order.
#[utoipa::path(
    post,
    path = "/v1/vectors/list_ids",
    operation_id = "list_ids_v1_vectors_list_ids_post",
    summary = "List ids",
    request_body = ListIDsRequest,
    responses((status = 200, description = "The ids.", body = ListIDsResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn list_ids(
    State(edge): State<Edge>,
    call: Call<ListIDsRequest>,
) -> Result<Response, ApiError> {
    let index = edge
        .open(&call.caller, call.payload.index_name, call.payload.index_key)
        .await?;
    let reply = ListIDsResponse::from(edge.service.list_ids(&index).await?);
    Ok(edge.reply(reply.bytes(), reply).await?)
}

/// Tells how many items an index has.
#[utoipa::path(
    post,
    path = "/v1/vectors/num_vectors",
    operation_id = "get_index_size_v1_vectors_num_vectors_post",
    summary = "Count items",
    request_body = IndexOperationRequest,
    responses((status = 200, description = "Their number.", body = CountReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn num_vectors(
    State(edge): State<Edge>,
    call: Call<IndexOperationRequest>,
) -> Result<Response, ApiError> {
    let index = edge
        .open(&call.caller, call.payload.index_name, call.payload.index_key)
        .await?;
    let result = edge.service.num_vectors(&index).await?;
    Ok(reply::ok(&CountReply { result }))
}

/// Deletes items by their ids.
#[utoipa::path(
    post,
    path = "/v1/vectors/delete",
    operation_id = "delete_vectors_v1_vectors_delete_post",
    summary = "Delete items",
    request_body = DeleteRequest,
    responses((status = 200, description = "The items are gone.", body = WriteReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn delete(
    State(edge): State<Edge>,
    call: Call<DeleteRequest>,
) -> Result<Response, ApiError> {
    let index = edge
        .open(&call.caller, call.payload.index_name, call.payload.index_key)
        .await?;
    let deleted = edge.service.delete_items(&index, call.payload.ids).await?;
    Ok(reply::ok(&WriteReply::deleted(deleted)))
}
