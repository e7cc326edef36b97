//! All figures of a process, and their exposition. Knows the subjects, not what they mean.

use crate::{
    Certificates, Connections, Disk, Fanout, Kms, Leases, Log, Queues, Raft, Recall, Requests, Shard, Stages,
};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::{Arc, LazyLock};

/// The media type of [`Metrics::expose`].
pub const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures of this process. There is one set, as there is one process that is scraped.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

/// Handles to observe with, by subject.
pub struct Metrics {
    /// Requests of clients.
    pub requests: Requests,
    /// Connections of clients.
    pub connections: Connections,
    /// What the time of requests goes into.
    pub stages: Stages,
    /// Calls that coordinators make to shards in other processes.
    pub fanout: Fanout,
    /// Calls that shards answer.
    pub shard: Shard,
    /// Key leases of shards.
    pub leases: Leases,
    /// Calls to key providers.
    pub kms: Kms,
    /// How well codes serve queries.
    pub recall: Recall,
    /// Bounded queues.
    pub queues: Queues,
    /// Syncs of logs.
    pub log: Log,
    /// Replicas of groups.
    pub raft: Raft,
    /// Disks.
    pub disk: Disk,
    /// Certificates between nodes.
    pub certificates: Certificates,
    registry: Registry,
    looks: Mutex<Vec<Look>>,
}

/// Sets gauges before a scrape. Tells whether what it looks at is still there.
type Look = Box<dyn Fn() -> bool + Send + Sync>;

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("sealdex");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version that runs", version);
        Self {
            requests: Requests::register(&mut registry),
            connections: Connections::register(&mut registry),
            stages: Stages::register(&mut registry),
            fanout: Fanout::register(&mut registry),
            shard: Shard::register(&mut registry),
            leases: Leases::register(&mut registry),
            kms: Kms::register(&mut registry),
            recall: Recall::register(&mut registry),
            queues: Queues::register(&mut registry),
            log: Log::register(&mut registry),
            raft: Raft::register(&mut registry),
            disk: Disk::register(&mut registry),
            certificates: Certificates::register(&mut registry),
            registry,
            looks: Mutex::default(),
        }
    }

    /// Calls `look` before each scrape as long as `subject` is kept by somebody else: for figures that are looked up rather than
    /// counted.
    pub fn at_scrape<T: Send + Sync + 'static>(
        &self,
        subject: &Arc<T>,
        look: impl Fn(&T) + Send + Sync + 'static,
    ) {
        let subject = Arc::downgrade(subject);
        self.looks.lock().push(Box::new(move || match subject.upgrade() {
            Some(subject) => {
                look(&subject);
                true
            }
            None => false,
        }));
    }

    /// Everything as text of [`EXPOSITION_TYPE`].
    pub fn expose(&self) -> String {
        self.looks.lock().retain(|look| look());
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a text takes what is written to it");
        text
    }
}

/// For latencies: 0.1 ms to 13 s, each bound twice the one before.
pub(crate) fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

/// For numbers: 1 to 262,144, each bound four times the one before.
pub(crate) fn numbers() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Certificate, KmsOperation, KmsOutcome, KmsProvider, Queue, RaftFigures, Replicated, Stage, Store,
        Urgency,
    };
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_is_observed_is_exposed() {
        let metrics = Metrics::new();
        let second = Duration::from_secs(1);
        metrics.requests.begin().end("/v1/health", "GET", 200);
        metrics.stages.observe(Stage::Scan, second);
        metrics.kms.observe(
            KmsProvider::AwsKms,
            KmsOperation::Unwrap,
            KmsOutcome::Throttled,
            second,
        );
        metrics.disk.set(Store::Shard, 7, 5);
        metrics.disk.refused(Urgency::Grow);
        metrics.recall.queries(3, 1);
        metrics
            .certificates
            .ends(Certificate::Node, SystemTime::UNIX_EPOCH + 9 * second);
        let figures = RaftFigures {
            leaders: 2,
            behind_max: 9,
            ..RaftFigures::default()
        };
        metrics.raft.set(Replicated::Partition, figures);
        let waiting = metrics.queues.enter(Queue::Scan);
        let text = metrics.expose();
        for line in [
            r#"sealdex_http_request_duration_seconds_count{route="/v1/health",method="GET",status="2xx"} 1"#,
            r#"sealdex_stage_duration_seconds_sum{stage="scan"} 1.0"#,
            r#"sealdex_kms_call_duration_seconds_count{provider="aws-kms",operation="unwrap",outcome="throttled"} 1"#,
            r#"sealdex_disk_free_bytes{store="shard"} 7"#,
            r#"sealdex_disk_refusals_total{urgency="grow"} 1"#,
            r#"sealdex_raft_replicas{of="partition",role="leader"} 2"#,
            r#"sealdex_raft_behind_entries_max{of="partition"} 9"#,
            "sealdex_queries_total 3",
            r#"sealdex_certificate_expiration_timestamp_seconds{certificate="node"} 9"#,
            "sealdex_queries_misled_total 1",
            r#"sealdex_queue_depth{queue="scan"} 1"#,
            "# EOF",
        ] {
            assert!(
                text.lines().any(|exposed| exposed == line),
                "{line} is not in\n{text}"
            );
        }
        drop(waiting);
        assert!(
            metrics
                .expose()
                .contains("sealdex_queue_depth{queue=\"scan\"} 0\n")
        );
    }

    #[test]
    fn what_is_gone_is_looked_at_no_longer() {
        let metrics = Metrics::new();
        let subject = Arc::new(3_u64);
        let looked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&looked);
        metrics.at_scrape(&subject, move |number| seen.lock().push(*number));
        metrics.expose();
        drop(subject);
        metrics.expose();
        assert_eq!(*looked.lock(), [3]);
        assert_eq!(Arc::strong_count(&looked), 1);
    }
}
