//! A key envelope that was replaced or deleted is in no file: once the server has started again, at whatever moment around the
//! commit it was killed, and soon on every coordinator of a deployment. `SEALDEX_ERASURE_ROUNDS` sets how often it is killed.

use crate::deployment::{KEY, OTHER_KEY, ROOT};
use crate::files::Files;
use sealdex_consensus::{Host, HostOptions, Space};
use sealdex_coordinator::adapters::CatalogHandle;
use sealdex_coordinator::domain::IndexRecord;
use sealdex_tests::folder::copy_of;
use sealdex_tests::index::Index;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::random::Random;
use sealdex_tests::scanner::Scanner;
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REWRAPPED: &str = "rewrapped";

/// The indexes of a stopped server, read from a copy so that its own files stay as the kill left them.
async fn records(data: &Path) -> Vec<Arc<IndexRecord>> {
    let copy = copy_of(data);
    let catalog = Files::open(copy.path()).await;
    let records = catalog.all();
    catalog.stop().await;
    records
}

fn named<'a>(records: &'a [Arc<IndexRecord>], name: &str) -> Option<&'a Arc<IndexRecord>> {
    records.iter().find(|record| record.name == name)
}

/// Where any piece of an index's envelope stands: its bundle, or what recognises its key.
fn places_of(record: &IndexRecord, home: &Home) -> Vec<String> {
    places_in(record, &home.data(), &home.log())
}

fn places_in(record: &IndexRecord, data: &Path, log: &Path) -> Vec<String> {
    let mut scanner = Scanner::default();
    scanner.add_text("the bundle", &record.key.bundle);
    scanner.add_text("the commitment", &record.key.commitment);
    let mut report = scanner.scan_folder(data).unwrap();
    scanner.scan_file(log, &mut report).unwrap();
    assert!(report.files > 5, "{}", report.files);
    report.finds.iter().map(|find| format!("{find:?}")).collect()
}

/// Sends a request and kills the server as soon as the catalogue's log has grown, or a moment after.
async fn killed_at_the_commit(server: Server, home: &Home, path: String, body: Value, pause: Duration) {
    let root = server.http.with_header("x-api-key", ROOT);
    let log = home.data().join("log/log/db");
    let before = log_bytes(&log);
    let request = tokio::spawn(async move { root.post(&path, &body).await.map(|reply| reply.status) });
    let given_up = Instant::now() + Duration::from_secs(20);
    while log_bytes(&log) == before && Instant::now() < given_up {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(pause).await;
    server.kill();
    // Answered before the kill or not: both are right.
    if let Ok(status) = request.await.unwrap() {
        assert_eq!(status, 200);
    }
}

/// The bytes in RocksDB's logs, by file.
fn log_bytes(folder: &Path) -> Vec<(std::ffi::OsString, u64)> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let mut logs: Vec<_> = files
        .filter(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "log")
        })
        .filter_map(|file| Some((file.file_name(), file.metadata().ok()?.len())))
        .collect();
    logs.sort();
    logs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_is_gone_is_in_no_file_after_a_crash() {
    let rounds: usize = std::env::var("SEALDEX_ERASURE_ROUNDS").map_or(12, |given| given.parse().unwrap());
    let mut random = Random::from_clock("erasure rounds", "SEALDEX_ERASURE_SEED");
    let home = Home::new().with_variable("SEALDEX_ROOT_KEY", ROOT);
    let server = home.start().await;
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    for name in (0..rounds).map(deleted).chain([REWRAPPED.to_owned()]) {
        Index::create(&root, &name, KEY, json!({"dimension": 2})).await;
    }
    server.stop().await;
    let mut before = records(&home.data()).await;
    for record in &before {
        assert!(!places_of(record, &home).is_empty(), "what is there is found");
    }

    let mut keys = [KEY, OTHER_KEY];
    let (mut committed, mut left) = (0, 0);
    for round in 0..rounds {
        let (name, path, body) = if round % 2 == 0 {
            let body = json!({"index_key": keys[0], "new_index_key": keys[1]});
            (
                REWRAPPED.to_owned(),
                format!("/v1/indexes/{REWRAPPED}/rotate"),
                body,
            )
        } else {
            let body = json!({"index_name": deleted(round), "index_key": KEY});
            (deleted(round), "/v1/indexes/delete".to_owned(), body)
        };
        let server = home.start().await;
        let pause = Duration::from_micros(random.below(6_000) as u64);
        killed_at_the_commit(server, &home, path, body, pause).await;

        let after = records(&home.data()).await;
        let (old, new) = (named(&before, &name).unwrap(), named(&after, &name));
        let is_gone = new.is_none_or(|new| new.key.commitment != old.key.commitment);
        left += usize::from(is_gone && !places_of(old, &home).is_empty());
        committed += usize::from(is_gone);
        let server = home.start().await;
        if is_gone {
            let found = places_of(old, &home);
            assert!(found.is_empty(), "round {round}, {name}, {pause:?}: {found:?}");
        }
        if is_gone && new.is_some() {
            keys.swap(0, 1);
        }
        let root = Arc::new(server.http.with_header("x-api-key", ROOT));
        let rewrapped = Index::new(&root, REWRAPPED, keys[0]);
        assert_eq!(rewrapped.count().await, 0, "the key of its envelope opens it");
        server.stop().await;
        before = after;
    }
    println!("{rounds} kills, {committed} behind the commit, {left} of them before its erasure");
    assert!(
        left > 0 || rounds < 12,
        "no kill fell between a commit and its erasure, so that nothing was shown"
    );
}

fn deleted(round: usize) -> String {
    format!("deleted{round}")
}

/// The indexes that a stopped coordinator of several knows of.
async fn records_of_one_of_several(data: &Path) -> Vec<Arc<IndexRecord>> {
    let copy = copy_of(data);
    let space = Arc::new(Space::open(copy.path(), Some(0)).unwrap());
    let host = Host::open(HostOptions::alone(copy.path().join("log"), space.clone())).unwrap();
    let catalog = CatalogHandle::open(&copy.path().join("catalog"), space, &host, None).await;
    let records = catalog.unwrap().all();
    host.stop().await;
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_is_gone_is_soon_in_no_file_of_any_coordinator() {
    let mut nodes = Nodes::new(3, 1).with_variable("SEALDEX_ROOT_KEY", ROOT);
    nodes.start_all().await;
    let coordinators = nodes.all(Kind::Coordinator);
    Index::create(&nodes.http(0), REWRAPPED, KEY, json!({"dimension": 2})).await;
    let deleted = Index::create(&nodes.http(1), "deleted", KEY, json!({"dimension": 2})).await;
    for n in &coordinators {
        nodes.stop(*n).await;
    }
    let before = records_of_one_of_several(&nodes.data(0)).await;
    assert_eq!(before.len(), 2);
    for n in &coordinators {
        nodes.start(*n);
    }
    for n in &coordinators {
        nodes.usable(*n).await;
    }
    let everywhere = |record: &IndexRecord| -> Vec<String> {
        let each = coordinators
            .iter()
            .map(|n| places_in(record, &nodes.data(*n), &nodes.log(*n)));
        each.flatten().collect()
    };
    for record in &before {
        assert!(everywhere(record).len() >= 3, "what is there is found on each");
    }

    let path = format!("/v1/indexes/{REWRAPPED}/rotate");
    let body = json!({"index_key": KEY, "new_index_key": OTHER_KEY});
    nodes.http(2).post(&path, &body).await.unwrap().ok();
    deleted
        .through(&nodes.http(1))
        .must("indexes/delete", json!({}))
        .await;
    let given_up = Instant::now() + Duration::from_secs(120);
    for record in &before {
        loop {
            let left = everywhere(record);
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < given_up, "{}: {left:?}", record.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
