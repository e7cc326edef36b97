//! Refusals as HTTP: `{"status_code", "detail"}`, and for a body of the wrong shape the list that FastAPI's clients
//! know. The one place where our errors meet status codes.

use super::json::Malformed;
use super::reply;
use crate::service::ServiceError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sealdex_core::{ErrorCode, limits};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Why a request was not carried out.
pub(super) enum ApiError {
    /// A use case, or the reading of the request on the way to it, refused.
    Refused(ServiceError),
    /// The body does not hold what the route takes.
    Malformed(Malformed),
    /// There is nothing at this path.
    NoSuchRoute,
    /// The path takes other methods.
    WrongMethod,
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        ApiError::Refused(error)
    }
}

impl From<Malformed> for ApiError {
    fn from(malformed: Malformed) -> Self {
        ApiError::Malformed(malformed)
    }
}

/// Any error but a body of the wrong shape.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorResponseModel {
    /// The HTTP status again.
    status_code: u16,
    /// What is wrong and how to put it right.
    detail: String,
}

/// A body of the wrong shape.
#[derive(Serialize, ToSchema)]
pub(super) struct HTTPValidationError {
    detail: Vec<ValidationError>,
}

/// One value that is not what its field takes. Never says what the value was.
#[derive(Serialize, ToSchema)]
pub(super) struct ValidationError {
    /// The kind of error, as pydantic names it.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The way to the value: `body`, then names of fields and positions in lists.
    #[schema(value_type = Vec<Value>)]
    loc: Value,
    msg: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            ApiError::Refused(error) => refused(&error),
            ApiError::Malformed(malformed) => malformed_body(malformed),
            ApiError::NoSuchRoute => plain(StatusCode::NOT_FOUND, "Not Found".into()),
            ApiError::WrongMethod => plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".into()),
        }
    }
}

fn refused(error: &ServiceError) -> Response {
    log(error);
    let status =
        StatusCode::from_u16(error.code().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status, error.detail().to_owned());
    if let Some(seconds) = error.code().retry_after_seconds() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What the caller is not told goes to the log, here where the error ends.
fn log(error: &ServiceError) {
    let context = error.context().unwrap_or_default();
    match error.code() {
        ErrorCode::Internal | ErrorCode::Corrupt => {
            tracing::error!(code = ?error.code(), context, "request failed")
        }
        _ if !context.is_empty() => tracing::warn!(code = ?error.code(), context, "request refused"),
        _ => {}
    }
}

fn malformed_body(malformed: Malformed) -> Response {
    match malformed {
        // What such a body is to FastAPI.
        Malformed::NotSentAsJson => unprocessable(
            "model_attributes_type",
            json!(["body"]),
            "Input should be a JSON object, sent with Content-Type: application/json".into(),
        ),
        Malformed::NotUtf8 => bad_request("The request body must be JSON in UTF-8.".into()),
        Malformed::TooDeep => bad_request(format!(
            "The request body is nested too deeply; metadata and filters may be nested at most {} levels deep.",
            limits::NESTING_MAX
        )),
        Malformed::NotFinite(place) => bad_request(format!(
            "{place} holds a number that is not finite or too large; send finite numbers only."
        )),
        Malformed::NotJson { at, reason } => unprocessable(
            "json_invalid",
            json!(["body", at]),
            format!("JSON decode error: {reason}"),
        ),
        Malformed::Mismatch(fault, place) => {
            unprocessable(fault.code(), json!(place), fault.message().into())
        }
    }
}

fn bad_request(detail: String) -> Response {
    plain(StatusCode::BAD_REQUEST, detail)
}

fn plain(status: StatusCode, detail: String) -> Response {
    reply::json(
        status,
        &ErrorResponseModel {
            status_code: status.as_u16(),
            detail,
        },
    )
}

fn unprocessable(kind: &'static str, loc: Value, msg: String) -> Response {
    let detail = vec![ValidationError { kind, loc, msg }];
    reply::json(StatusCode::UNPROCESSABLE_ENTITY, &HTTPValidationError { detail })
}

#[cfg(test)]
mod tests {
    use super::super::json::Place;
    use super::super::json::{Fault, parse};
    use super::*;
    use http_body_util::BodyExt;

    async fn sent(error: impl Into<ApiError>) -> (u16, String, Option<String>) {
        let response = error.into().into_response();
        let status = response.status().as_u16();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .map(|v| v.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap(), retry_after)
    }

    #[tokio::test]
    async fn refusals_say_their_status_twice() {
        let (status, body, retry_after) = sent(ServiceError::new(ErrorCode::Conflict, "taken")).await;
        assert_eq!(
            (status, body.as_str(), retry_after),
            (409, r#"{"status_code":409,"detail":"taken"}"#, None)
        );
        let (status, _, retry_after) = sent(ServiceError::new(ErrorCode::Busy, "busy")).await;
        assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
        let (status, body, _) = sent(ServiceError::internal("the secret reason")).await;
        assert_eq!(status, 500);
        assert!(!body.contains("secret"));
        let (status, body, _) = sent(ApiError::NoSuchRoute).await;
        assert_eq!(
            (status, body.as_str()),
            (404, r#"{"status_code":404,"detail":"Not Found"}"#)
        );
        let (status, _, _) = sent(ApiError::WrongMethod).await;
        assert_eq!(status, 405);
    }

    #[tokio::test]
    async fn a_body_of_the_wrong_shape_is_told_as_fastapi_tells_it() {
        let (status, body, _) = sent(Malformed::Mismatch(Fault::Missing, Place::default())).await;
        assert_eq!(status, 422);
        assert_eq!(
            body,
            r#"{"detail":[{"type":"missing","loc":["body"],"msg":"Field required"}]}"#
        );
        let (status, body, _) = sent(parse::<()>(b"{").unwrap_err()).await;
        assert_eq!(status, 422);
        assert!(
            body.starts_with(
                r#"{"detail":[{"type":"json_invalid","loc":["body",0],"msg":"JSON decode error: "#
            ),
            "{body}"
        );
    }

    #[tokio::test]
    async fn what_is_no_matter_of_shape_is_a_400() {
        for malformed in [
            Malformed::NotUtf8,
            Malformed::TooDeep,
            Malformed::NotFinite(Place::default()),
        ] {
            let (status, body, _) = sent(malformed).await;
            assert_eq!(status, 400);
            assert!(body.starts_with(r#"{"status_code":400,"detail":""#));
        }
    }
}
