//! Handlers of the routes about the deployment. (The path says `cluster`, as operators expect; everywhere else that word is for lists of
//! rows.)

use super::call::Identified;
use super::dto::{
    ClusterNodesResponse, ClusterPartitionsResponse, ClusterStatusResponse, PageQuery, SuccessReply,
};
use super::edge::Edge;
use super::errors::ApiError;
use super::openapi::Failures;
use super::reply;
use crate::service::ServiceError;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;

/// Tells at a glance how the deployment is: who leads, which nodes are there, whether all partitions are in good health, how much room
/// the disks have, how many key leases there are, and what is being done in the background.
///
/// Any coordinator answers: it asks the one that leads, to which all nodes report twice a second.
#[utoipa::path(
    get,
    path = "/v1/cluster/status",
    operation_id = "get_cluster_status_v1_cluster_status_get",
    summary = "Tell how the deployment is",
    responses((status = 200, description = "How it is.", body = ClusterStatusResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn status(State(edge): State<Edge>, caller: Identified) -> Result<Response, ApiError> {
    let status = edge.service.deployment_status(&caller.0).await?;
    Ok(reply::ok(&ClusterStatusResponse::from(status)))
}

/// Lists nodes by id, also those that are gone.
#[utoipa::path(
    get,
    path = "/v1/cluster/nodes",
    operation_id = "list_cluster_nodes_v1_cluster_nodes_get",
    summary = "List nodes",
    params(PageQuery),
    responses((status = 200, description = "Nodes.", body = ClusterNodesResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn nodes(
    State(edge): State<Edge>,
    caller: Identified,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.0.require_admin().map_err(ServiceError::from)?;
    let (limit, after) = page(query)?.of_nodes()?;
    let page = edge.service.deployment_nodes(&caller.0, after, limit).await?;
    Ok(reply::ok(&ClusterNodesResponse::from(page)))
}

/// Lists partitions in order, each with its leader and its replicas.
#[utoipa::path(
    get,
    path = "/v1/cluster/partitions",
    operation_id = "list_cluster_partitions_v1_cluster_partitions_get",
    summary = "List partitions",
    params(PageQuery),
    responses((status = 200, description = "Partitions.", body = ClusterPartitionsResponse), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn partitions(
    State(edge): State<Edge>,
    caller: Identified,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.0.require_admin().map_err(ServiceError::from)?;
    let (limit, after) = page(query)?.of_partitions()?;
    let page = edge
        .service
        .deployment_partitions(&caller.0, after, limit)
        .await?;
    Ok(reply::ok(&ClusterPartitionsResponse::from(page)))
}

/// Lets a node go for good. Its replicas move to other nodes while requests go on; then it is removed, and its id is never given again.
/// The answer comes when that is decided, and `GET /v1/cluster/nodes` tells how far it is. Refused if too few nodes would be left.
#[utoipa::path(
    post,
    path = "/v1/cluster/nodes/{name}/decommission",
    operation_id = "decommission_node_v1_cluster_nodes__name__decommission_post",
    summary = "Let a node go for good",
    params(("name" = String, Path, description = "The node's name.")),
    responses((status = 200, description = "It is decided.", body = SuccessReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn decommission(
    State(edge): State<Edge>,
    caller: Identified,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    edge.service.decommission(&caller.0, &name).await?;
    let message = format!("Node '{name}' is being decommissioned");
    Ok(reply::ok(&SuccessReply::new(message)))
}

/// Keeps a node that was to go, if it is not gone yet. Replicas that have moved away stay where they are until nodes are evened out.
#[utoipa::path(
    post,
    path = "/v1/cluster/nodes/{name}/recommission",
    operation_id = "recommission_node_v1_cluster_nodes__name__recommission_post",
    summary = "Keep a node that was to go",
    params(("name" = String, Path, description = "The node's name.")),
    responses((status = 200, description = "It is decided.", body = SuccessReply), Failures),
    security(("APIKeyHeader" = []))
)]
pub(super) async fn recommission(
    State(edge): State<Edge>,
    caller: Identified,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    edge.service.recommission(&caller.0, &name).await?;
    let message = format!("Node '{name}' stays");
    Ok(reply::ok(&SuccessReply::new(message)))
}

fn page(query: Result<Query<PageQuery>, QueryRejection>) -> Result<PageQuery, ServiceError> {
    let Query(page) = query.map_err(|_| {
        ServiceError::invalid("The query string cannot be read; send limit and after, each once.")
    })?;
    Ok(page)
}
