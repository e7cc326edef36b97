//! The admin port of a real server: figures move with what happens and identify nobody, probes tell whether it lives and is ready.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::admin::{Admin, with_admin};
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::random::Random;
use sealdex_tests::scanner::Scanner;
use sealdex_tests::server::{Home, Server};
use sealdex_tests::small_disk::{SmallDisk, may_mount};
use sealdex_tests::users::{ROOT, as_user, caller, make_user, with_users};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DIMENSION: usize = 24;
const ITEMS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_move_with_what_happens_and_identify_nobody() {
    let slots = tempfile::tempdir().unwrap();
    let home = with_admin(with_users(with_a_local_slot(Home::new(), slots.path())));
    let server = home.start().await;
    let admin = Admin::of(&home, &server);
    let before = admin.figures().await;
    assert_eq!(before.sum("sealdex_build_info", &[]), 1.0);

    let mut random = Random::from_clock("figures", "SEALDEX_METRICS_SEED");
    let mut scanner = Scanner::default();
    scanner.add_text("root key", ROOT.as_bytes());
    let root = caller(&server, ROOT);
    let (name, key) = (format!("index {}", random.hex(12)), random.hex(32));
    scanner.add_text("index name", name.as_bytes());
    scanner.add_text("index key", key.as_bytes());
    let index = Index::create(&root, &name, &key, json!({"dimension": DIMENSION})).await;
    let items: Vec<Item> = (0..ITEMS)
        .map(|_| secret_item(&mut random, &mut scanner))
        .collect();
    index.upsert(&items).await;
    for item in &items[..10] {
        index.query(&item.vector, 5, json!({})).await;
    }
    index.get(&[items[0].id.clone()]).await;
    index.delete(&[items[1].id.clone()]).await;
    let token = make_user(&index, &["read"]).await;
    scanner.add_text("token", token.as_bytes());
    as_user(&server, &name, &token)
        .query(&items[2].vector, 1, json!({}))
        .await;
    let unknown = format!("/v1/indexes/{}/users", random.hex(12));
    root.get(&unknown).await.unwrap();
    root.get("/v1/nothing").await.unwrap();
    kept_by_kms(&root, &mut scanner, &mut random).await;

    let after = admin.figures().await;
    let moved = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let requests = "sealdex_http_request_duration_seconds_count";
    let query = [
        ("route", "/v1/vectors/query"),
        ("method", "POST"),
        ("status", "2xx"),
    ];
    assert_eq!(moved(requests, &query), 11.0);
    let users = [("route", "/v1/indexes/{index_name}/users"), ("status", "4xx")];
    assert_eq!(moved(requests, &users), 1.0);
    assert_eq!(moved(requests, &[("route", "none"), ("status", "4xx")]), 1.0);
    assert_eq!(moved("sealdex_queries_total", &[]), 11.0);
    assert_eq!(moved("sealdex_query_probes_count", &[]), 11.0);
    assert!(moved("sealdex_rows_scored_total", &[]) >= 11.0 * (ITEMS - 2) as f64);
    assert!(moved("sealdex_candidates_resolved_total", &[]) > 0.0);
    for stage in [
        "open_index",
        "inbox",
        "model",
        "scan",
        "resolve",
        "answer",
        "seal",
        "append",
        "commit",
    ] {
        assert!(
            moved("sealdex_stage_duration_seconds_count", &[("stage", stage)]) > 0.0,
            "{stage}"
        );
    }
    for call in ["propose", "scan", "resolve", "fetch", "blob"] {
        assert!(
            moved("sealdex_shard_call_duration_seconds_count", &[("call", call)]) > 0.0,
            "{call}"
        );
    }
    let wrapped = [("provider", "local"), ("operation", "wrap"), ("outcome", "done")];
    assert!(moved("sealdex_kms_call_duration_seconds_count", &wrapped) > 0.0);
    for counter in [
        "sealdex_leases_granted_total",
        "sealdex_leases_required_total",
        "sealdex_log_sync_duration_seconds_count",
        "sealdex_connections_opened_total",
    ] {
        assert!(moved(counter, &[]) > 0.0, "{counter}");
    }
    assert!(after.sum("sealdex_leases", &[]) > 0.0);
    assert!(after.sum("sealdex_connections", &[]) > 0.0);
    for store in ["shard", "catalog"] {
        assert!(after.sum("sealdex_disk_free_bytes", &[("store", store)]) > 0.0);
        assert!(after.sum("sealdex_disk_needed_bytes", &[("store", store)]) > 0.0);
    }
    for (of, groups) in [("partition", 4.0), ("metadata", 1.0)] {
        let leaders = [("of", of), ("role", "leader")];
        assert_eq!(after.sum("sealdex_raft_replicas", &[("of", of)]), groups);
        assert_eq!(after.sum("sealdex_raft_replicas", &leaders), groups);
        assert_eq!(after.sum("sealdex_raft_followers_behind", &[("of", of)]), 0.0);
        assert!(
            after
                .text
                .contains(&format!("sealdex_raft_unapplied_entries_max{{of=\"{of}\"}} "))
        );
    }
    until_nothing_is_under_way(&admin).await;

    let finds = scanner.scan(after.text.as_bytes(), 10);
    assert!(finds.is_empty(), "{finds:?}\n{}", after.text);
    let planted = format!("{}\n# {name} {}\n", after.text, items[3].id);
    assert!(
        scanner.scan(planted.as_bytes(), 10).len() >= 2,
        "the scanner is blind"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_drains_lives_and_is_not_ready() {
    let home = with_admin(Home::new());
    let mut server = home.start().await;
    let admin = Admin::of(&home, &server);
    assert!(admin.until_ready_says(200).await.starts_with("node: serving\n"));
    assert_eq!(admin.get("/livez").await.status, 200);

    let (mut under_way, rest) = half_a_request(&server).await;
    server.terminate();
    assert!(admin.until_ready_says(503).await.starts_with("node: draining\n"));
    assert_eq!(admin.get("/livez").await.status, 200);
    under_way.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(server.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_is_no_reason_to_go_elsewhere() {
    if !may_mount("a_full_disk_is_told_and_is_no_reason_to_go_elsewhere") {
        return;
    }
    let home = with_admin(Home::new());
    let disk = SmallDisk::mount(&home, 448);
    let server = home.start().await;
    let admin = Admin::of(&home, &server);
    let key = "07".repeat(32);
    let index = Index::create(&server.http, "full", &key, json!({"dimension": 2})).await;
    index.upsert(&[Item::bare("a", vec![1.0, 2.0])]).await;
    assert!(admin.until_ready_says(200).await.contains("disk: good\n"));

    disk.fill(32 << 20);
    let refused = index
        .call(
            "vectors/upsert",
            json!({"items": [Item::bare("b", vec![2.0, 1.0]).to_json()]}),
        )
        .await
        .unwrap();
    assert_eq!(refused.status, 507, "{}", refused.text());
    let said = admin.until_ready_says(200).await;
    assert!(said.contains("disk: impaired, writes are refused"), "{said}");
    assert_eq!(admin.get("/livez").await.status, 200);
    let figures = admin.figures().await;
    let of_shard = [("store", "shard")];
    assert!(
        figures.sum("sealdex_disk_free_bytes", &of_shard)
            < figures.sum("sealdex_disk_needed_bytes", &of_shard)
    );
    assert!(figures.sum("sealdex_disk_refusals_total", &[("urgency", "grow")]) > 0.0);
    assert_eq!(index.count().await, 1);

    disk.empty();
    // The disk is looked at from time to time.
    while !admin.until_ready_says(200).await.contains("disk: good\n") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    index.upsert(&[Item::bare("b", vec![2.0, 1.0])]).await;
    assert!(admin.until_ready_says(200).await.contains("disk: good\n"));
    server.stop().await;
}

#[tokio::test]
async fn the_admin_port_answers_nothing_else_and_is_there_only_if_asked_for() {
    let home = with_admin(Home::new());
    let server = home.start().await;
    let admin = Admin::of(&home, &server);
    for path in ["/", "/v1/health", "/v1/indexes/list", "/metrics/"] {
        assert_eq!(admin.get(path).await.status, 404, "{path}");
    }
    let posted = admin.http.send(Method::POST, "/livez", "".into()).await.unwrap();
    assert_eq!(posted.status, 405);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(server.http.get(path).await.unwrap().status, 404, "{path}");
    }
    server.stop().await;

    let home = Home::new();
    home.start().await.stop().await;
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(!log.contains("the admin port"), "{log}");
}

#[tokio::test]
async fn an_address_that_is_not_ours_is_refused() {
    let home = Home::new().with_variable("SEALDEX_ADMIN_ADDRESS", "192.0.2.1:9000");
    let refused = home.try_start().await.err().unwrap();
    assert!(!refused.status.success());
    assert!(
        refused.said.contains("choose another --admin-address"),
        "{}",
        refused.said
    );
}

async fn until_nothing_is_under_way(admin: &Admin) {
    let given_up = Instant::now() + Duration::from_secs(30);
    loop {
        let figures = admin.figures().await;
        let under_way =
            ["sealdex_queue_depth", "sealdex_http_requests_under_way"].map(|name| figures.sum(name, &[]));
        if under_way == [0.0, 0.0] {
            return;
        }
        assert!(Instant::now() < given_up, "{under_way:?} of nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A connection that has sent a request but for the end of its body, and that end. The server has begun to read it.
async fn half_a_request(server: &Server) -> (TcpStream, String) {
    let body = json!({"index_name": "none", "index_key": "07".repeat(32)}).to_string();
    let (sent, rest) = body.split_at(body.len() / 2);
    let head = format!(
        "POST /v1/indexes/describe HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(server.http.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    (stream, rest.to_owned())
}

fn secret_item(random: &mut Random, scanner: &mut Scanner) -> Item {
    let (id, word) = (random.hex(12), random.hex(12));
    scanner.add_text("id", id.as_bytes());
    scanner.add_text("metadata", word.as_bytes());
    Item::bare(id, random.vector(DIMENSION)).with_metadata(json!({ "word": word }))
}

/// An index whose key a key file wraps.
async fn kept_by_kms(
    root: &std::sync::Arc<sealdex_tests::http::Http>,
    scanner: &mut Scanner,
    random: &mut Random,
) {
    let name = format!("kept {}", random.hex(12));
    scanner.add_text("index name", name.as_bytes());
    scanner.add_text("slot", SLOT.as_bytes());
    let made = root
        .post(
            "/v1/indexes/create",
            &json!({"index_name": name, "kms_name": SLOT}),
        )
        .await
        .unwrap();
    made.ok();
}

const SLOT: &str = "slot-of-the-figures-test";

fn with_a_local_slot(home: Home, folder: &std::path::Path) -> Home {
    let (file, config) = (folder.join("slot.key"), folder.join("sealdex.yaml"));
    std::fs::write(&file, [5; 32]).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let registry = format!(
        "kms:\n  registry:\n    {SLOT}:\n      provider: local\n      key_file: {}\n",
        file.display()
    );
    std::fs::write(&config, registry).unwrap();
    home.with_variable("SEALDEX_CONFIG_FILE", config.to_str().unwrap())
}
