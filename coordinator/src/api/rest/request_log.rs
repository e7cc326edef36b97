//! What surrounds every request: who sent it, an id to find it by, one line in the log, its figures and its span, and an
//! answer even if its handler panics.
//!
//! The line is a warning if the server failed or was slow, information if the client was refused, and else for debugging.
//! The line is built from a list of fields that can hold nothing of a client's: no names, ids, keys or values.

use super::edge::Edge;
use super::errors::ApiError;
use crate::auth::Caller;
use crate::service::ServiceError;
use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use sealdex_crypto::random_16;
use sealdex_telemetry::{RequestSpan, metrics};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The name by which the lines can be switched on and off.
const TARGET: &str = "sealdex::request";

/// A request that takes as long is told of even if it succeeds, except for the one that has to.
const SLOW: Duration = Duration::from_secs(2);
const TRAIN: &str = "/v1/indexes/train";

/// Where a connection comes from.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The outermost layer of the router.
pub(super) async fn observe(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let under_way = metrics().requests.begin();
    let request_id = format!("{:032x}", u128::from_be_bytes(random_16()));
    let method = known_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let bytes_in = request.body().size_hint().exact();
    let api_key = request
        .headers()
        .get(API_KEY)
        .and_then(|value| value.to_str().ok());
    let from = request.extensions().get::<Peer>().map(|peer| peer.0);
    let caller = edge.authenticator.authenticate(api_key, from);
    let caller_kind = caller.as_ref().map_or("none", Caller::kind);
    request.extensions_mut().insert(caller);

    let span = RequestSpan::new(&request_id, route, method);
    let mut response = span.around(answer(request, next)).await;
    let status = response.status();
    span.end(status.as_u16());
    under_way.end(route, method, status.as_u16());

    let line = Line {
        method,
        route,
        status,
        duration: started.elapsed(),
        request_id: &request_id,
        caller: caller_kind,
        bytes_in,
        bytes_out: response.body().size_hint().exact(),
    };
    line.log();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What the log tells of a request.
struct Line<'a> {
    method: &'static str,
    route: &'a str,
    status: StatusCode,
    duration: Duration,
    request_id: &'a str,
    caller: &'static str,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
}

impl Line<'_> {
    /// Every request would be a line too many on a busy server: those that succeed are told of only to who asks.
    fn log(&self) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: TARGET,
                    method = self.method,
                    route = self.route,
                    status = self.status.as_u16(),
                    duration_us = self.duration.as_micros() as u64,
                    request_id = self.request_id,
                    caller = self.caller,
                    bytes_in = self.bytes_in,
                    bytes_out = self.bytes_out,
                    "request"
                )
            };
        }
        let slow = self.duration >= SLOW && self.route != TRAIN;
        if self.status.is_server_error() || slow {
            line!(warn);
        } else if self.status.is_client_error() {
            line!(info);
        } else {
            line!(debug);
        }
    }
}

async fn answer(request: Request, next: Next) -> Response {
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| ApiError::from(ServiceError::internal("a handler panicked")).into_response())
}

/// A method may be any word a client likes.
fn known_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
