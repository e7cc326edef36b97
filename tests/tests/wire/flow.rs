//! What clients do, through a coordinator whose shard is behind the wire.

use crate::deployment::{Deployment, PARTITIONS, open};
use crate::twin::Twin;
use async_trait::async_trait;
use sealdex_consensus::{Host, HostOptions, Space};
use sealdex_coordinator::adapters::CatalogHandle;
use sealdex_coordinator::adapters::kms::KeyRing;
use sealdex_coordinator::api::rest::{self, ServerOptions};
use sealdex_coordinator::auth::Authenticator;
use sealdex_coordinator::ports::{Lookout, NoFellows, Survey};
use sealdex_coordinator::service::{Service, Settings};
use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const DIMENSION: usize = 24;

/// Nobody asks here how the deployment is.
struct Nowhere;

#[async_trait]
impl Lookout for Nowhere {
    async fn survey(&self) -> Option<Survey> {
        None
    }
}

/// A coordinator that serves REST.
struct Coordinator {
    http: Arc<Http>,
    twin: Arc<Twin>,
    service: Arc<Service>,
    _stop: oneshot::Sender<()>,
}

async fn coordinator(catalog: &Path, twin: Twin) -> Coordinator {
    let twin = Arc::new(twin);
    let settings = Settings {
        partitions: PARTITIONS,
        reseal_bytes_per_second: 0,
        ..Settings::default()
    };
    let space = Arc::new(Space::open(catalog, Some(0)).unwrap());
    let log = HostOptions::alone(catalog.join("log"), space.clone());
    let me = log.node;
    let host = Host::open(log).unwrap();
    let catalog = CatalogHandle::open(&catalog.join("catalog"), space, &host, None)
        .await
        .unwrap();
    catalog.found(me).await.unwrap();
    let key_ring = Arc::new(KeyRing::new(Default::default()));
    let service = Service::start(
        settings,
        Arc::new(catalog),
        twin.clone(),
        Arc::new(NoFellows),
        Arc::new(Nowhere),
        key_ring,
    )
    .await
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = Arc::new(Http::new(listener.local_addr().unwrap()));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = rest::serve(
        listener,
        service.clone(),
        Authenticator::open(),
        ServerOptions::default(),
        async {
            let _ = stopped.await;
        },
    );
    tokio::spawn(serving);
    Coordinator {
        http,
        twin,
        service,
        _stop: stop,
    }
}

fn item(n: usize) -> Item {
    // No two alike: the modulus is a prime, and above every `n`.
    let value = |d: usize| ((n * 7_919 + d * 104_729 + n * d * 31) % 10_007) as f32 / 700.0;
    let vector = (0..DIMENSION).map(value).collect();
    Item::bare(format!("item-{n}"), vector)
        .with_metadata(json!({"n": n, "even": n.is_multiple_of(2), "tag": format!("t{}", n % 5)}))
        .with_contents(format!("contents of {n}"))
}

fn query(n: usize, filter: Value) -> Value {
    json!({"query_vectors": item(n).vector, "top_k": 10, "filters": filter, "include": ["distance", "metadata"]})
}

/// Writes, queries, reads, folds, trains, rotates and deletes; every answer of the shard is compared with the node's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_life_of_an_index_is_the_same_over_the_wire() {
    let (deployment, home) = (Deployment::new(), tempfile::tempdir().unwrap());
    let listening = deployment
        .serve(open(&home.path().join("shard")).await, None)
        .await;
    let twin = Twin::new(deployment.shard_client(), listening.node.clone());
    let coordinator = coordinator(&home.path().join("catalog"), twin).await;
    let index = Index::create(&coordinator.http, "life", KEY, json!({"dimension": DIMENSION})).await;
    let items: Vec<Item> = (0..600).map(item).collect();
    for batch in items.chunks(200) {
        index.upsert(batch).await;
    }
    let nearest = |answer: &Value| answer["results"][0]["id"].as_str().unwrap().to_owned();
    for n in [0, 7, 599] {
        assert_eq!(
            nearest(&index.must("vectors/query", query(n, json!({}))).await),
            format!("item-{n}")
        );
    }
    let filtered = index
        .must(
            "vectors/query",
            query(7, json!({"even": true, "tag": {"$in": ["t1", "t2"]}})),
        )
        .await;
    assert!(
        filtered["results"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["metadata"]["even"] == true)
    );
    assert_eq!(
        index.get(&["item-3".into(), "item-4".into()]).await,
        [item(3), item(4)]
    );
    index.must("indexes/train", json!({"n_lists": 16})).await;
    for n in [0, 7, 599] {
        assert_eq!(
            nearest(&index.must("vectors/query", query(n, json!({}))).await),
            format!("item-{n}")
        );
    }
    // Every row becomes one of an older write, in many small blocks: folds are due.
    for batch in items.chunks(30) {
        index.upsert(batch).await;
    }
    folded(&coordinator.twin).await;
    index.delete(&["item-0".into(), "item-7".into()]).await;
    assert_eq!(index.count().await, 598);
    assert_ne!(
        nearest(&index.must("vectors/query", query(7, json!({}))).await),
        "item-7"
    );
    index.upsert(&[item(7)]).await;
    assert_eq!(
        nearest(&index.must("vectors/query", query(7, json!({}))).await),
        "item-7"
    );
    rotate(&index).await;
    assert_eq!(
        nearest(&index.must("vectors/query", query(8, json!({}))).await),
        "item-8"
    );
    index.must("indexes/delete", json!({})).await;
    let calls = coordinator.twin.calls.lock().clone();
    let every = [
        "grant",
        "propose",
        "scan",
        "resolve",
        "fetch",
        "walk",
        "blob",
        "cluster_rows",
        "current",
        "fold",
        "reseal",
        "purge",
        "count",
        "inbox",
        "block_bytes",
        "check_room",
        "indexes",
    ];
    for method in every {
        assert!(calls.contains_key(method), "{method} was not called: {calls:?}");
    }
    coordinator.twin.set_node(None);
    coordinator.service.stop().await;
    listening.stop().await;
}

async fn folded(twin: &Twin) {
    for _ in 0..600 {
        if twin.calls.lock().contains_key("fold") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing was folded within 30 s");
}

/// Seals everything again under another key epoch.
async fn rotate(index: &Index) {
    let body = json!({"index_key": KEY, "epoch": true});
    let begun = index.http.post("/v1/indexes/life/rotate", &body).await.unwrap();
    assert_eq!(begun.status, 200, "{}", begun.text());
    for _ in 0..600 {
        let status = index.http.get("/v1/indexes/life/rotation").await.unwrap().json();
        if status["rotating"] == false {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the rotation did not end within 30 s");
}

/// A node that comes back has forgotten all keys, and has a new lease key. Whoever queries gets the same answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_again_is_lent_its_keys_again() {
    let (deployment, home) = (Deployment::new(), tempfile::tempdir().unwrap());
    let path = home.path().join("shard");
    let listening = deployment.serve(open(&path).await, None).await;
    let twin = Twin::new(deployment.shard_client(), listening.node.clone());
    let coordinator = coordinator(&home.path().join("catalog"), twin).await;
    let index = Index::create(&coordinator.http, "again", KEY, json!({"dimension": DIMENSION})).await;
    index.upsert(&(0..50).map(item).collect::<Vec<_>>()).await;
    let before = index.must("vectors/query", query(7, json!({}))).await;
    let grants = coordinator.twin.calls.lock()["grant"];

    let address = listening.address;
    coordinator.twin.set_node(None);
    listening.stop().await;
    let down = index.call("vectors/query", query(7, json!({}))).await.unwrap();
    assert_eq!(down.status, 503, "{}", down.text());
    assert!(down.headers.contains_key("retry-after"));

    let listening = deployment.serve(open(&path).await, Some(address)).await;
    coordinator.twin.set_node(Some(listening.node.clone()));
    assert_eq!(index.must("vectors/query", query(7, json!({}))).await, before);
    assert!(coordinator.twin.calls.lock()["grant"] > grants);
    coordinator.service.stop().await;
    coordinator.twin.set_node(None);
    listening.stop().await;
}
