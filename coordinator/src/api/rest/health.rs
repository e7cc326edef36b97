//! Whether the server is up.

use super::dto::HealthReply;
use super::reply;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

/// Our own version; the body tells the one that clients look for.
const SERVER_VERSION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-sealdex-version"),
    HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
);

/// Tells whether the server is up.
#[utoipa::path(
    get,
    path = "/v1/health",
    operation_id = "health_check_v1_health_get",
    summary = "Health check",
    responses((status = 200, description = "The server is up.", body = std::collections::BTreeMap<String, String>))
)]
pub(super) async fn health() -> Response {
    let mut response = reply::ok(&HealthReply::HEALTHY);
    let (name, value) = SERVER_VERSION;
    response.headers_mut().insert(name, value);
    response
}
