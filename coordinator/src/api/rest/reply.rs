//! Answers as JSON. Unlike axum's own `Json`, there is no way to an answer in plain text.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer with `body` as JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let json =
        serde_json::to_vec(body).expect("replies are made of structs, lists and objects with text keys");
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, [content_type], json).into_response()
}

/// As [`json`], for what was asked for.
pub(super) fn ok<T: Serialize>(body: &T) -> Response {
    json(StatusCode::OK, body)
}
