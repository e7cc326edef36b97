//! Bytes that no client of good will sends: broken JSON, nesting without end, bodies and batches beyond every limit, trickles.
#![allow(clippy::unwrap_used)]

use sealdex_core::limits;
use sealdex_tests::server::Home;
use sealdex_tests::victim::{KEY, Victim};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_no_json_or_nest_without_end_are_refused() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    for route in [
        "indexes/create",
        "indexes/describe",
        "indexes/train",
        "vectors/upsert",
        "vectors/upsert_binary",
        "vectors/query",
        "vectors/query_binary",
        "vectors/get",
        "vectors/delete",
        "vectors/list_ids",
        "vectors/num_vectors",
        "indexes/delete",
    ] {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "5",
            "\"text\"",
            "{]",
            "{\"index_name\": \"victim\",}",
            "\u{feff}{}",
        ] {
            victim.refuses_bytes(route, body, &[422]).await;
        }
        victim
            .refuses_bytes(route, &b"{\"index_name\": \"\xff\xfe\"}"[..], &[400])
            .await;
    }
    for depth in [200, 10_000, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let inner = if open == "[" { "" } else { "1" };
            let deep = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            let metadata = format!(
                r#"{{"index_name":"victim","index_key":"{KEY}","items":[{{"id":"d","vector":[1,2],"metadata":{{"m":{deep}}}}}]}}"#
            );
            victim
                .refuses_bytes("vectors/upsert", metadata, &[400, 413, 422])
                .await;
            let filter = format!(
                r#"{{"index_name":"victim","index_key":"{KEY}","query_vectors":[1,2],"filters":{{"$not":{deep}}}}}"#
            );
            victim
                .refuses_bytes("vectors/query", filter, &[400, 413, 422])
                .await;
            victim.refuses_bytes("vectors/get", deep, &[400, 413, 422]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_exceeds_a_limit_is_refused_by_the_limits_name() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    let too_many = vec!["x"; limits::ITEMS_PER_REQUEST_MAX + 1];
    victim
        .refuses("vectors/get", json!({"ids": too_many}), &[400, 413])
        .await;
    victim
        .refuses("vectors/delete", json!({"ids": too_many}), &[400, 413])
        .await;
    let rows: Vec<Value> = too_many
        .iter()
        .map(|id| json!({"id": id, "vector": [1, 2]}))
        .collect();
    victim
        .refuses("vectors/upsert", json!({"items": rows}), &[400, 413])
        .await;
    let long_id = "x".repeat(limits::ID_BYTES_MAX + 1);
    victim
        .refuses(
            "vectors/upsert",
            json!({"items": [{"id": long_id, "vector": [1, 2]}]}),
            &[400, 413],
        )
        .await;
    let contents = "x".repeat(limits::CONTENTS_BYTES_MAX + 1);
    victim
        .refuses(
            "vectors/upsert",
            json!({"items": [{"id": "b", "vector": [1, 2], "contents": contents}]}),
            &[400, 413],
        )
        .await;
    let metadata = json!({"text": "x".repeat(limits::METADATA_BYTES_MAX + 1)});
    victim
        .refuses(
            "vectors/upsert",
            json!({"items": [{"id": "b", "vector": [1, 2], "metadata": metadata}]}),
            &[400, 413],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_are_cut_off_declared_or_not() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    for framing in ["content-length: 104857600", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(victim.index.http.address()).await.unwrap();
        let head = format!(
            "POST /v1/vectors/upsert HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let block = vec![b' '; 1 << 20];
        let send = async {
            for _ in 0..100 {
                if framing.contains("chunked") && writer.write_all(b"100000\r\n").await.is_err() {
                    break;
                }
                if writer.write_all(&block).await.is_err() {
                    break;
                }
                if framing.contains("chunked") && writer.write_all(b"\r\n").await.is_err() {
                    break;
                }
            }
            // Left open: an answer must come although the body has no end.
            std::future::pending::<()>().await
        };
        let mut answer = vec![0; 4_096];
        let read = tokio::select! {
            read = reader.read(&mut answer) => read.unwrap_or(0),
            () = send => 0,
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("{framing}: no answer to an endless body"),
        };
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 413"), "{framing}: {answer}");
        assert!(answer.contains("\"status_code\":413"), "{framing}: {answer}");
        victim.is_unharmed(framing).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_headers_that_trickle_are_cut_off() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    let body = "POST /v1/vectors/upsert HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{";
    let header = "POST /v1/vectors/upsert HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let address = victim.index.http.address();
    let trickle = async |start: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut answer = [0; 256];
        while begun.elapsed() < TRICKLE_TIME_MAX {
            let read = tokio::time::timeout(Duration::from_millis(250), stream.read(&mut answer)).await;
            if read.is_ok() || stream.write_all(b"a").await.is_err() {
                return begun.elapsed();
            }
        }
        panic!("a client that sends four bytes a second still holds a connection after {TRICKLE_TIME_MAX:?}");
    };
    // Both at once, and others are served meanwhile.
    let (in_body, in_header) = tokio::join!(trickle(body), trickle(header));
    println!("cut off after {in_body:?} in the body, after {in_header:?} in the headers");
    victim.is_unharmed("a trickle").await;
}

/// The server's own limits are well below this.
const TRICKLE_TIME_MAX: Duration = Duration::from_secs(40);
