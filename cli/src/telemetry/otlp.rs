//! The export of traces to a collector, OTLP over gRPC. Whatever made a span, what leaves the process is its name, its times and the
//! fields that may: that is seen to here, at the door.

use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry::{KeyValue, Value};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use sealdex_telemetry::{METHOD, REQUEST_SPAN, ROUTE, SPAN_FIELDS, SPAN_TARGET, STATUS};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// How long one delivery may take, and the last one when the process ends.
const DELIVERY_TIME_MAX: Duration = Duration::from_secs(5);

/// Where a collector listens.
#[derive(Clone)]
pub(crate) struct Endpoint(String);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: hyper::Uri = text.parse().map_err(|_| "not a URL".to_owned())?;
        match uri.scheme_str() {
            Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(Self(text.to_owned())),
            Some("https") => {
                Err("TLS is not supported; let a collector on this machine pass traces on".to_owned())
            }
            _ => Err("not of the form http://host:4317".to_owned()),
        }
    }
}

/// Traces that are being exported.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// The export of this share of all requests, and the layer that feeds it. Connects when there is something to deliver.
    pub(super) fn to<S>(endpoint: &Endpoint, ratio: f64) -> Result<(Self, impl Layer<S> + use<S>), String>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let otlp = OtlpExporter::builder()
            .with_tonic()
            .with_endpoint(&endpoint.0)
            .with_timeout(DELIVERY_TIME_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        let about = [
            KeyValue::new("service.name", "sealdex"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ];
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Guarded {
                otlp,
                failing: AtomicBool::new(false),
            })
            .with_sampler(sampler)
            .with_resource(Resource::builder_empty().with_attributes(about).build())
            .build();
        sealdex_telemetry::propagate(TraceContextPropagator::new());
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("sealdex"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| {
                metadata.is_span() && metadata.target() == SPAN_TARGET
            }));
        Ok((Self(provider), spans))
    }

    /// Delivers what is left, if the collector takes it in time.
    pub(crate) async fn stop(self) {
        let delivered = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(DELIVERY_TIME_MAX));
        if let Ok(Err(error)) = delivered.await {
            tracing::warn!(%error, "the last traces were not delivered");
        }
    }
}

/// The exporter behind a guard: takes away what must not leave, and tells when the collector is out of reach.
#[derive(Debug)]
struct Guarded {
    otlp: OtlpExporter,
    failing: AtomicBool,
}

impl SpanExporter for Guarded {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let outcome = self.otlp.export(batch.into_iter().map(guarded).collect()).await;
        let failing = outcome.is_err();
        match (&outcome, self.failing.swap(failing, Ordering::Relaxed)) {
            (Err(error), false) => {
                tracing::warn!(%error, "traces are not delivered; check --otlp-endpoint and the collector")
            }
            (Ok(()), true) => tracing::info!("traces are delivered again"),
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

/// A span without what may not leave. That of a request is named and rated by the conventions of OpenTelemetry.
fn guarded(mut span: SpanData) -> SpanData {
    span.attributes
        .retain(|field| SPAN_FIELDS.contains(&field.key.as_str()));
    span.events = Default::default();
    span.links = Default::default();
    span.status = Status::Unset;
    if span.name == REQUEST_SPAN {
        let field = |name| span.attributes.iter().find(|field| field.key.as_str() == name);
        let text = |name| field(name).map_or("".into(), |field| field.value.as_str());
        let failed = matches!(field(STATUS).map(|field| &field.value), Some(Value::I64(500..)));
        span.name = format!("{} {}", text(METHOD), text(ROUTE)).into();
        span.span_kind = SpanKind::Server;
        if failed {
            span.status = Status::error("");
        }
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{Event, SpanContext, SpanId};
    use opentelemetry_sdk::trace::SpanEvents;
    use std::time::SystemTime;

    fn span(attributes: Vec<KeyValue>) -> SpanData {
        let mut events = SpanEvents::default();
        events
            .events
            .push(Event::new("a secret", SystemTime::UNIX_EPOCH, vec![], 0));
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: REQUEST_SPAN.into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes,
            dropped_attributes_count: 0,
            events,
            links: Default::default(),
            status: Status::error("a secret"),
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    #[test]
    fn what_is_not_allowed_stays() {
        let guarded = guarded(span(vec![
            KeyValue::new(METHOD, "POST"),
            KeyValue::new(ROUTE, "/v1/vectors/query"),
            KeyValue::new("request_id", "a secret"),
        ]));
        assert!(!format!("{guarded:?}").contains("secret"), "{guarded:?}");
        assert_eq!(guarded.attributes.len(), 2);
        assert_eq!(guarded.name, "POST /v1/vectors/query");
    }

    #[test]
    fn a_request_failed_if_its_status_says_that_we_did() {
        for (status, failed) in [(404, false), (500, true), (503, true)] {
            let guarded = guarded(span(vec![KeyValue::new(STATUS, status)]));
            assert_eq!(guarded.status != Status::Unset, failed, "{status}");
        }
    }

    #[test]
    fn an_endpoint_is_plain_http() {
        for good in ["http://127.0.0.1:4317", "http://collector:4317/"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1:4317",
            "https://collector:4317",
            "http://",
            "grpc://x:1",
            "",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
