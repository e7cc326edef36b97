//! A trace from one process to the next: W3C's `traceparent` goes with a call, and the spans of whoever answers it become children of
//! whoever asked. It holds random numbers and whether the trace is kept, nothing else.
//!
//! How the text is made of a span is the library's affair, which the binary hands over when it exports traces. Where it does not, no call
//! carries anything, and that costs one look at a flag.

use crate::SPAN_TARGET;
use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{Instrument, Span, trace_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that carries the context.
pub const TRACEPARENT: &str = "traceparent";

/// Whether calls carry a context.
static PROPAGATING: AtomicBool = AtomicBool::new(false);

/// From here on, calls carry the context of their trace in the form that `propagator` gives it.
pub fn propagate(propagator: impl TextMapPropagator + Send + Sync + 'static) {
    global::set_text_map_propagator(propagator);
    PROPAGATING.store(true, Ordering::Relaxed);
}

/// What a call has to carry so that its answer belongs to the trace of the current span; `None` if nothing is traced.
pub fn traceparent() -> Option<String> {
    if !PROPAGATING.load(Ordering::Relaxed) {
        return None;
    }
    let context = Span::current().context();
    let mut header = Header(None);
    if context.span().span_context().is_valid() {
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut header));
    }
    header.0
}

/// Answers another process's call, in a span that belongs to the trace that it came with.
pub async fn serve<T>(method: &'static str, traceparent: Option<&str>, work: impl Future<Output = T>) -> T {
    let span = trace_span!(
        target: SPAN_TARGET,
        "serve",
        otel.name = format_args!("serve {method}"),
        otel.kind = "server"
    );
    if let (true, Some(traceparent)) = (PROPAGATING.load(Ordering::Relaxed), traceparent) {
        let header = Header(Some(traceparent.to_owned()));
        let parent = global::get_text_map_propagator(|propagator| propagator.extract(&header));
        // Without it, the span begins a trace of its own.
        let _ = span.set_parent(parent);
    }
    work.instrument(span).await
}

/// The one header.
struct Header(Option<String>);

impl Injector for Header {
    fn set(&mut self, name: &str, value: String) {
        if name == TRACEPARENT {
            self.0 = Some(value);
        }
    }
}

impl Extractor for Header {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| name == TRACEPARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}
