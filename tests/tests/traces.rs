//! Traces of a real server, as a collector of this test receives them over OTLP: spans nest as requests do, and carry nothing that
//! identifies anybody.
#![allow(clippy::unwrap_used)]

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use parking_lot::Mutex;
use prost::Message;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::random::Random;
use sealdex_tests::scanner::Scanner;
use sealdex_tests::server::Home;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

const ALLOWED: [&str; 3] = ["http.route", "http.request.method", "http.response.status_code"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_nest_as_requests_do_and_identify_nobody() {
    let collector = Collector::start().await;
    // Nor may what is logged at its most talkative get into a span.
    let home = collector
        .told_by(Home::new())
        .with_variable("SEALDEX_LOG", "trace");
    let server = home.start().await;
    let mut random = Random::from_clock("traces", "SEALDEX_TRACES_SEED");
    let mut scanner = Scanner::default();
    let (name, key, id) = (random.hex(12), random.hex(32), random.hex(12));
    for (what, secret) in [("index name", &name), ("index key", &key), ("id", &id)] {
        scanner.add_text(what, secret.as_bytes());
    }
    let index = Index::create(&server.http, &name, &key, json!({"dimension": 3})).await;
    index.upsert(&[Item::bare(id.clone(), vec![1.0, 2.0, 3.0])]).await;
    index.query(&[1.0, 2.0, 3.0], 1, json!({})).await;
    let missing = server
        .http
        .get(&format!("/v1/indexes/{name}/rotation?{id}"))
        .await
        .unwrap();
    scanner.add_text("request id", missing.headers["x-request-id"].as_bytes());
    server.stop().await;

    let spans = collector.spans();
    let query = spans.the("POST /v1/vectors/query");
    assert_eq!(query.kind, SpanKind::Server as i32);
    assert!(query.parent_span_id.is_empty());
    let scan = spans.child(query, "scan");
    spans.child(scan, "shard scan");
    let resolve = spans.child(query, "resolve");
    spans.child(resolve, "shard resolve");
    spans.child(query, "open_index");
    let upsert = spans.the("POST /v1/vectors/upsert");
    for stage in ["append", "commit"] {
        spans.child(spans.child(upsert, stage), "shard propose");
    }
    spans.the("GET /v1/indexes/{index_name}/rotation");

    let fields: BTreeSet<&str> = spans.fields();
    assert_eq!(fields, BTreeSet::from(ALLOWED));
    let received = collector.received();
    let finds = scanner.scan(&received, 10);
    assert!(finds.is_empty(), "{finds:?}");
    assert!(
        spans
            .0
            .iter()
            .all(|span| span.events.is_empty() && span.links.is_empty())
    );
}

/// What shard nodes do for a request is part of its trace, and no more identifies anybody than the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_goes_on_in_other_processes() {
    let collector = Collector::start().await;
    let mut nodes = Nodes::new(1, 1)
        .with_variable("SEALDEX_EXPECTED_SHARDS", "1")
        .with_variable("SEALDEX_OTLP_ENDPOINT", &collector.endpoint())
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "50");
    nodes.start_all().await;
    let http = nodes.http(nodes.all(Kind::Coordinator)[0]);
    let mut random = Random::from_clock("traces", "SEALDEX_TRACES_SEED");
    let mut scanner = Scanner::default();
    let (name, key, id) = (random.hex(12), random.hex(32), random.hex(12));
    for (what, secret) in [("index name", &name), ("index key", &key), ("id", &id)] {
        scanner.add_text(what, secret.as_bytes());
    }
    let index = Index::create(&http, &name, &key, json!({"dimension": 3})).await;
    index.upsert(&[Item::bare(id.clone(), vec![1.0, 2.0, 3.0])]).await;
    index.query(&[1.0, 2.0, 3.0], 1, json!({})).await;

    let paths = [
        [
            "POST /v1/vectors/upsert",
            "append",
            "serve propose",
            "shard propose",
        ],
        [
            "POST /v1/vectors/upsert",
            "commit",
            "serve propose",
            "shard propose",
        ],
        ["POST /v1/vectors/query", "scan", "serve scan", "shard scan"],
        [
            "POST /v1/vectors/query",
            "resolve",
            "serve resolve",
            "shard resolve",
        ],
    ];
    let given_up = Instant::now() + Duration::from_secs(60);
    while !paths.iter().all(|path| collector.spans().has_path(path)) {
        assert!(Instant::now() < given_up, "{:#?}", collector.spans().0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let spans = collector.spans();
    assert_eq!(spans.fields(), BTreeSet::from(ALLOWED));
    let served = spans.the("serve scan");
    assert_eq!(served.kind, SpanKind::Server as i32);
    let finds = scanner.scan(&collector.received(), 10);
    assert!(finds.is_empty(), "{finds:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_share_of_requests_is_no_span() {
    let collector = Collector::start().await;
    let home = collector
        .told_by(Home::new())
        .with_variable("SEALDEX_OTLP_RATIO", "0");
    let server = home.start().await;
    server.http.get("/v1/indexes/list").await.unwrap().ok();
    server.stop().await;
    assert!(collector.spans().0.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_is_told_of_once_and_holds_up_nobody() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let home = Home::new()
        .with_variable("SEALDEX_OTLP_ENDPOINT", &format!("http://{gone}"))
        // Delivered so often that it fails more than once.
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = home.start().await;
    let told = || {
        let log = std::fs::read_to_string(home.log()).unwrap();
        log.matches("traces are not delivered").count()
    };
    let given_up = Instant::now() + Duration::from_secs(60);
    let mut after = 0;
    while after < 60 {
        server.http.get("/v1/indexes/list").await.unwrap().ok();
        after += told();
        assert!(Instant::now() < given_up, "nobody was told");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
    assert_eq!(told(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_one_is_refused() {
    for endpoint in ["https://collector:4317", "collector:4317"] {
        let home = Home::new().with_variable("SEALDEX_OTLP_ENDPOINT", endpoint);
        let refused = home.try_start().await.err().unwrap();
        assert!(!refused.status.success());
        assert!(refused.said.contains("--otlp-endpoint"), "{}", refused.said);
    }
}

/// Takes whatever comes.
struct Collector {
    address: SocketAddr,
    exports: Exports,
}

type Exports = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

struct Spans(Vec<Span>);

struct Takes(Exports);

#[tonic::async_trait]
impl TraceService for Takes {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exports = Exports::default();
        let service = TraceServiceServer::new(Takes(exports.clone()));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(serving);
        Self { address, exports }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn told_by(&self, home: Home) -> Home {
        home.with_variable("SEALDEX_OTLP_ENDPOINT", &self.endpoint())
    }

    fn spans(&self) -> Spans {
        let exports = self.exports.lock();
        let resources = exports.iter().flat_map(|export| &export.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        Spans(scopes.flat_map(|scope| scope.spans.clone()).collect())
    }

    /// Everything that came, as it came.
    fn received(&self) -> Vec<u8> {
        let exports = self.exports.lock();
        exports.iter().flat_map(Message::encode_to_vec).collect()
    }
}

impl Spans {
    #[track_caller]
    fn the(&self, name: &str) -> &Span {
        let names: Vec<&str> = self.0.iter().map(|span| span.name.as_str()).collect();
        let found = self.0.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no {name} in {names:?}"))
    }

    #[track_caller]
    fn child(&self, parent: &Span, name: &str) -> &Span {
        let is_child = |span: &&Span| {
            span.name == name && span.parent_span_id == parent.span_id && span.trace_id == parent.trace_id
        };
        let found = self.0.iter().find(is_child);
        found.unwrap_or_else(|| panic!("no {name} under {}: {:#?}", parent.name, self.0))
    }

    /// Whether there is a span of the first name, under it one of the second, and so on.
    fn has_path(&self, names: &[&str]) -> bool {
        let named = |name: &str| {
            self.0
                .iter()
                .filter(move |span| span.name == name)
                .collect::<Vec<_>>()
        };
        let mut found = named(names[0]);
        for name in &names[1..] {
            let mut children = named(name);
            children.retain(|child| {
                let is_parent =
                    |span: &&Span| span.span_id == child.parent_span_id && span.trace_id == child.trace_id;
                found.iter().any(is_parent)
            });
            found = children;
        }
        !found.is_empty()
    }

    fn fields(&self) -> BTreeSet<&str> {
        let fields = self.0.iter().flat_map(|span| &span.attributes);
        fields.map(|field| field.key.as_str()).collect()
    }
}
