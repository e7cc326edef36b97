//! Connections that are opened and not used: a flood of half requests from some addresses, and everybody else goes on.
#![allow(clippy::unwrap_used)]

use sealdex_tests::http::Http;
use sealdex_tests::server::Home;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const CONNECTIONS_MAX: usize = 128;
const PER_ADDRESS: usize = 64;
/// Per address and kind: more than there is room for.
const FLOOD: usize = 200;
/// A single client that is kept out until a connection of the flood is given up would take longer.
const TIME_MAX: Duration = Duration::from_secs(60);

const HALF_HEAD: &str = "POST /v1/vectors/query HTTP/1.1\r\nhost: x\r\nx-half: ";
const HALF_BODY: &str = "POST /v1/vectors/query HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n{";

fn home() -> Home {
    Home::new()
        .with_variable("SEALDEX_CONNECTIONS_MAX", &CONNECTIONS_MAX.to_string())
        .with_variable("SEALDEX_CONNECTIONS_PER_ADDRESS", &PER_ADDRESS.to_string())
}

fn address(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

async fn open(from: IpAddr, server: SocketAddr, start: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(server).await.unwrap();
    // Refused ones may be closed before they have sent anything.
    let _ = stream.write_all(start.as_bytes()).await;
    stream
}

/// What the server says until it closes the connection.
async fn said(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

async fn health(from: IpAddr, server: SocketAddr) -> u16 {
    let reply = Http::new(server).coming_from(from).get("/v1/health").await;
    reply.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_heads_lock_nobody_out() {
    let home = home();
    let server = home.start().await;
    let at = server.http.address();
    // A client of the address that will be flooded, with a connection that it has used.
    let neighbour = Http::new(at).coming_from(address(2));
    neighbour.get("/v1/indexes/list").await.unwrap().ok();
    let started = Instant::now();
    let mut flood = Vec::new();
    for n in 0..FLOOD {
        flood.push(open(address(2), at, HALF_HEAD).await);
        if n % 20 == 0 {
            server.http.get("/v1/indexes/list").await.unwrap().ok();
            neighbour.get("/v1/indexes/list").await.unwrap().ok();
            // A half head makes room for a whole one.
            let newcomer = Http::new(at).coming_from(address(2));
            newcomer.get("/v1/indexes/list").await.unwrap().ok();
            Http::new(at).get("/v1/indexes/list").await.unwrap().ok();
        }
    }
    assert_eq!(neighbour.connected(), 1, "its connection was never closed");
    for stream in flood {
        assert_eq!(said(stream).await, "", "half a head is closed without a word");
    }
    assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_lock_nobody_out() {
    let home = home();
    let server = home.start().await;
    let at = server.http.address();
    let neighbour = Http::new(at).coming_from(address(2));
    neighbour.get("/v1/indexes/list").await.unwrap().ok();
    let started = Instant::now();
    // More addresses than it takes to fill all places but those that are kept.
    let mut flood = Vec::new();
    for n in 0..FLOOD {
        for from in [2, 3, 4] {
            flood.push(open(address(from), at, HALF_BODY).await);
        }
        if n % 20 == 0 {
            server.http.get("/v1/indexes/list").await.unwrap().ok();
            neighbour.get("/v1/indexes/list").await.unwrap().ok();
        }
    }
    for from in [1, 2, 3, 4, 5] {
        assert_eq!(
            health(address(from), at).await,
            200,
            "health, asked from 127.0.0.{from}"
        );
    }
    // Another address gets in, and works.
    let stranger = Http::new(at).coming_from(address(5));
    let created = stranger
        .post(
            "/v1/indexes/create",
            &json!({"index_name": "late", "index_key": "ab".repeat(32), "dimension": 2}),
        )
        .await;
    created.unwrap().ok();
    neighbour.get("/v1/indexes/list").await.unwrap().ok();
    assert_eq!(neighbour.connected(), 1, "its connection was never closed");
    // One of an address whose share is used up is told so, until it takes the place of a body that has stalled.
    loop {
        let newcomer = Http::new(at).coming_from(address(3));
        let reply = newcomer.get("/v1/indexes/list").await.unwrap();
        if reply.status == 200 {
            break;
        }
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert_eq!(reply.headers["retry-after"], "1");
        assert_eq!(reply.headers["connection"], "close");
        assert!(started.elapsed() < TIME_MAX);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let mut outcomes = std::collections::BTreeMap::new();
    for stream in flood {
        let answer = said(stream).await;
        *outcomes
            .entry(answer.get(9..12).unwrap_or("closed").to_owned())
            .or_insert(0) += 1;
    }
    println!("{outcomes:?} after {:?}", started.elapsed());
    assert!(
        outcomes
            .keys()
            .all(|outcome| ["408", "503", "closed"].contains(&&outcome[..])),
        "{outcomes:?}"
    );
    assert!(outcomes["408"] > PER_ADDRESS && outcomes["408"] <= CONNECTIONS_MAX);
    assert!(started.elapsed() < TIME_MAX, "{:?}", started.elapsed());
    // And the address is served again.
    Http::new(at)
        .coming_from(address(3))
        .get("/v1/indexes/list")
        .await
        .unwrap()
        .ok();
    server.stop().await;
}
