//! Spans: a request, the stages it goes through, the calls of shards within. They have a target of their own, so that whoever exports
//! them sees these and no others. That of a request is also what log lines say they belong to; the rest have a level that no log
//! shows unless it is asked for everything.

use crate::{Call, Stage, metrics};
use std::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span, trace_span};

/// The target of all spans that may leave the process.
pub const SPAN_TARGET: &str = "sealdex::trace";

/// The name of the span of a request.
pub const REQUEST_SPAN: &str = "request";

/// The pattern of a request's route.
pub const ROUTE: &str = "http.route";
/// Its method.
pub const METHOD: &str = "http.request.method";
/// The status of its answer.
pub const STATUS: &str = "http.response.status_code";

/// The only fields that may leave the process with a span.
pub const SPAN_FIELDS: [&str; 3] = [ROUTE, METHOD, STATUS];

/// The span of a request.
pub struct RequestSpan(Span);

impl RequestSpan {
    /// `route` is the pattern, never the path. The id is for the log alone.
    pub fn new(request_id: &str, route: &str, method: &'static str) -> Self {
        Self(info_span!(
            target: SPAN_TARGET,
            "request",
            request_id,
            http.route = route,
            http.request.method = method,
            http.response.status_code = Empty,
        ))
    }

    /// Does `work` within the span.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        work.instrument(self.0.clone()).await
    }

    /// How it ended.
    pub fn end(self, status: u16) {
        self.0.record(STATUS, i64::from(status));
    }
}

/// Does a stage of a use case; its time is observed unless it is given up.
pub async fn stage<T>(stage: Stage, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let span = trace_span!(target: SPAN_TARGET, "stage", otel.name = stage.as_str());
    let outcome = work.instrument(span).await;
    metrics().stages.observe(stage, begun.elapsed());
    outcome
}

/// Answers a call as a shard; its time is observed unless it is given up.
pub async fn call<T>(call: Call, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let span = trace_span!(target: SPAN_TARGET, "call", otel.name = format_args!("shard {}", call.as_str()));
    let outcome = work.instrument(span).await;
    metrics().shard.observe(call, begun.elapsed());
    outcome
}
