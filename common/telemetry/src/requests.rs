//! Requests of clients: how many, how they ended, how long they took.

use crate::metrics::latency;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::time::Instant;

/// Observes requests.
pub struct Requests {
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    under_way: Gauge,
}

/// The method is in small a set as the route: whoever observes maps what clients make up to one word.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    route: String,
    method: &'static str,
    status: &'static str,
}

impl Requests {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Self {
            duration: Family::new_with_constructor(latency),
            under_way: Gauge::default(),
        };
        registry.register_with_unit(
            "http_request_duration",
            "Requests by pattern of the route, method and class of the status",
            Unit::Seconds,
            requests.duration.clone(),
        );
        registry.register(
            "http_requests_under_way",
            "Requests that have no answer yet",
            requests.under_way.clone(),
        );
        requests
    }

    /// A request begins.
    pub fn begin(&self) -> UnderWay<'_> {
        self.under_way.inc();
        UnderWay {
            requests: self,
            begun: Instant::now(),
        }
    }
}

/// A request under way. Dropping it without [`end`](Self::end) means that its client went away.
pub struct UnderWay<'a> {
    requests: &'a Requests,
    begun: Instant,
}

impl UnderWay<'_> {
    /// It has an answer. `route` is the pattern, never the path.
    pub fn end(self, route: &str, method: &'static str, status: u16) {
        let labels = Labels {
            route: route.to_owned(),
            method,
            status: class(status),
        };
        let duration = self.requests.duration.get_or_create(&labels);
        duration.observe(self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.requests.under_way.dec();
    }
}

fn class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
