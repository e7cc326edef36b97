//! Handlers of the routes about users of an index.

use super::call::{Identified, RootCall};
use super::dto::{CreateUserRequest, CreateUserResponse, ListUsersResponse, user_id};
use super::edge::Edge;
use super::errors::ApiError;
use super::openapi::Failures;
use super::reply;
use crate::service::{CreateUser, IndexRef, KeyInput, ServiceError};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};

const INDEX_KEY: HeaderName = HeaderName::from_static("x-index-key");

/// Makes a user of an index. The answer shows the user's API key, this once and never again.
#[utoipa::path(
    post,
    path = "/v1/indexes/{index_name}/users",
    operation_id = "create_user_v1_indexes__index_name__users_post",
    summary = "Make a user of an index",
    params(("index_name" = String, Path, description = "The index's name.")),
    request_body = CreateUserRequest,
    responses((status = 200, description = "The user is made.", body = CreateUserResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn create(
    State(edge): State<Edge>,
    Path(name): Path<String>,
    RootCall(call): RootCall<CreateUserRequest>,
) -> Result<Response, ApiError> {
    let (rights, key) = call.payload.into_parts()?;
    let index = IndexRef { name, key };
    let made = edge
        .service
        .create_user(&call.caller, &edge.authenticator, CreateUser { index, rights })
        .await?;
    Ok(reply::ok(&CreateUserResponse::from(made)))
}

/// Lists the users of an index with their permissions.
#[utoipa::path(
    get,
    path = "/v1/indexes/{index_name}/users",
    operation_id = "list_users_v1_indexes__index_name__users_get",
    summary = "List the users of an index",
    params(
        ("index_name" = String, Path, description = "The index's name."),
        ("X-Index-Key" = Option<String>, Header, description = "The index's key, unless a KMS keeps it."),
    ),
    responses((status = 200, description = "The users.", body = ListUsersResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn list(
    State(edge): State<Edge>,
    caller: Identified,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.0.require_root().map_err(ServiceError::from)?;
    let index = index(name, &headers)?;
    let users = edge.service.list_users(&caller.0, index).await?;
    Ok(reply::ok(&ListUsersResponse::from(users)))
}

/// Revokes a user: their API key opens nothing from the next request on.
#[utoipa::path(
    delete,
    path = "/v1/indexes/{index_name}/users/{user_id}",
    operation_id = "delete_user_v1_indexes__index_name__users__user_id__delete",
    summary = "Revoke a user of an index",
    params(
        ("index_name" = String, Path, description = "The index's name."),
        ("user_id" = String, Path, description = "The user, 32 hexadecimal digits."),
        ("X-Index-Key" = Option<String>, Header, description = "The index's key, unless a KMS keeps it."),
    ),
    responses((status = 204, description = "The user is revoked."), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn delete(
    State(edge): State<Edge>,
    caller: Identified,
    Path((name, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.0.require_root().map_err(ServiceError::from)?;
    let user = user_id(&user)?;
    let index = index(name, &headers)?;
    edge.service.delete_user(&caller.0, index, user).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Where there is no body, the index's key comes in a header.
fn index(name: String, headers: &HeaderMap) -> Result<IndexRef, ServiceError> {
    // What is no text is no hexadecimal either.
    let sent = headers.get(INDEX_KEY).map(|value| value.to_str().unwrap_or("?"));
    Ok(IndexRef {
        name,
        key: KeyInput::parse(sent)?,
    })
}
