//! Which path leads to which handler.

use super::body::linger;
use super::edge::Edge;
use super::errors::ApiError;
use super::{cluster, docs, health, indexes, request_log, users, vectors};
use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, any, delete, get, post};

/// All routes, over `edge`.
pub(super) fn router(edge: Edge) -> Router {
    let routes: [(&str, MethodRouter<Edge>); 29] = [
        ("/v1/health", get(health::health)),
        ("/v1/openapi.json", get(docs::document)),
        ("/v1/docs", get(docs::page)),
        ("/v1/docs/{file}", get(docs::asset)),
        ("/v1/redoc", get(docs::redoc)),
        ("/v1/indexes/list", get(indexes::list)),
        ("/v1/indexes/training-status", get(indexes::training_status)),
        ("/v1/indexes/create", post(indexes::create)),
        ("/v1/indexes/describe", post(indexes::describe)),
        ("/v1/indexes/delete", post(indexes::delete)),
        ("/v1/indexes/train", post(indexes::train)),
        ("/v1/indexes/{index_name}/rotate", post(indexes::rotate)),
        ("/v1/indexes/{index_name}/rotation", get(indexes::rotation)),
        ("/v1/indexes/{index_name}/key", get(indexes::key)),
        (
            "/v1/indexes/{index_name}/users",
            post(users::create).get(users::list),
        ),
        ("/v1/indexes/{index_name}/users/{user_id}", delete(users::delete)),
        ("/v1/cluster/status", get(cluster::status)),
        ("/v1/cluster/nodes", get(cluster::nodes)),
        ("/v1/cluster/partitions", get(cluster::partitions)),
        (
            "/v1/cluster/nodes/{name}/decommission",
            post(cluster::decommission),
        ),
        (
            "/v1/cluster/nodes/{name}/recommission",
            post(cluster::recommission),
        ),
        ("/v1/vectors/upsert", post(vectors::upsert)),
        ("/v1/vectors/upsert_binary", post(vectors::upsert_binary)),
        ("/v1/vectors/query", post(vectors::query)),
        ("/v1/vectors/query_binary", post(vectors::query_binary)),
        ("/v1/vectors/get", post(vectors::get)),
        ("/v1/vectors/list_ids", post(vectors::list_ids)),
        ("/v1/vectors/num_vectors", post(vectors::num_vectors)),
        ("/v1/vectors/delete", post(vectors::delete)),
    ];
    let mut router = Router::new();
    for (path, methods) in routes {
        router = router
            .route(path, methods)
            .route(&format!("{path}/"), any(without_slash));
    }
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(
            edge.clone(),
            request_log::observe,
        ))
        .with_state(edge)
}

/// From a path with a slash at its end to the same without it.
async fn without_slash(request: Request) -> Response {
    let uri = request.uri();
    let path = uri.path().trim_end_matches('/');
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    unread(request, Redirect::temporary(&target))
}

async fn no_such_route(request: Request) -> Response {
    unread(request, ApiError::NoSuchRoute)
}

async fn wrong_method(request: Request) -> Response {
    unread(request, ApiError::WrongMethod)
}

/// Answers a request whose body nobody reads.
fn unread(request: Request, answer: impl IntoResponse) -> Response {
    if !request.headers().contains_key(header::EXPECT) {
        linger(request.into_body());
    }
    answer.into_response()
}
