//! What surrounds every request, against the real server: its documentation, the log line, the process itself.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::Home;
use serde_json::{Value, json};
use std::collections::HashSet;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_is_served_by_the_server_alone() {
    let home = Home::new();
    let server = home.start().await;
    let page = server.http.get("/v1/docs").await.unwrap();
    assert_eq!(page.status, 200);
    let page = page.text();
    let linked = page
        .split(['"', '\''])
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"));
    let mut assets = 0;
    for asset in linked {
        assert!(!asset.contains("//"), "{asset} comes from elsewhere");
        let path = asset
            .trim_start_matches("./")
            .trim_start_matches("/v1/docs/")
            .trim_start_matches("docs/");
        let reply = server.http.get(&format!("/v1/docs/{path}")).await.unwrap();
        assert_eq!(reply.status, 200, "{asset}");
        assert!(reply.body.len() > 100, "{asset}");
        assets += 1;
    }
    assert!(assets >= 2, "{page}");
    let document = server.http.get("/v1/openapi.json").await.unwrap().json();
    assert!(document["paths"]["/v1/vectors/query"]["post"].is_object());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_line_has_the_listed_fields_and_nothing_of_the_request() {
    let home = Home::new().with_variable("SEALDEX_LOG", "info,sealdex::request=debug");
    let server = home.start().await;
    let index = Index::create(&server.http, "unspeakable", KEY, json!({"dimension": 2})).await;
    index.upsert(&[Item::bare("unutterable", vec![1.0, 2.0])]).await;
    let replies = [
        server.http.get("/v1/indexes/list?unspeakable").await.unwrap(),
        server.http.get("/v1/unspeakable").await.unwrap(),
        server
            .http
            .post(
                "/v1/vectors/query",
                &json!({"index_name": "unspeakable", "bad": "unutterable"}),
            )
            .await
            .unwrap(),
    ];
    server.stop().await;
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(
        !log.contains("unspeakable") && !log.contains("unutterable") && !log.contains(KEY),
        "{log}"
    );
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" method=")).collect();
    assert!(lines.len() >= 5, "{log}");
    let allowed: HashSet<&str> = [
        "method",
        "route",
        "status",
        "duration_us",
        "request_id",
        "caller",
        "bytes_in",
        "bytes_out",
    ]
    .into();
    for line in &lines {
        let fields = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, _)| name);
        for field in fields {
            assert!(allowed.contains(field), "{field} in {line}");
        }
    }
    for reply in replies {
        let id = reply.headers["x-request-id"].to_str().unwrap();
        assert_eq!(
            lines.iter().filter(|line| line.contains(id)).count(),
            1,
            "one line per request"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_does_not_grow_with_requests_that_succeed() {
    let home = Home::new();
    let server = home.start().await;
    let length = || std::fs::metadata(home.log()).unwrap().len();
    let before = length();
    for _ in 0..50 {
        assert_eq!(server.http.get("/v1/health").await.unwrap().status, 200);
    }
    assert_eq!(length(), before);
    assert_eq!(server.http.get("/v1/nowhere").await.unwrap().status, 404);
    server.stop().await;
    let log = std::fs::read_to_string(home.log()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" method=")).collect();
    assert!(
        lines.len() == 1 && lines[0].contains("INFO") && lines[0].contains("status=404"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_leaves_no_core_with_keys_in_it() {
    let home = Home::new();
    let server = home.start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core: Vec<&str> = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    let health: Value = server.http.get("/v1/health").await.unwrap().json();
    assert!(health.is_object());
}
