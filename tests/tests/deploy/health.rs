//! `sealdex health`: what it asks, and what its exit code says.

use sealdex_tests::command::sealdex;
use sealdex_tests::server::Home;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_server_that_answers_is_ready_and_one_that_is_gone_is_not() {
    let home = Home::new();
    let server = home.start().await;
    let address = server.http.address();
    let url = format!("http://{address}");
    assert_eq!(sealdex(&["health", "--url", &url], &[]).await.ok(), "ready\n");
    let port = address.port().to_string();
    assert_eq!(
        sealdex(&["health"], &[("SEALDEX_PORT", &port)]).await.ok(),
        "ready\n"
    );
    server.stop().await;
    let said = sealdex(&["health", "--url", &url], &[]).await;
    assert!(!said.success && said.out.is_empty(), "{said:?}");
    assert!(said.err.contains("no server answers at"), "{}", said.err);
}

/// A port that answers everything like this, or not at all.
async fn admin_port(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let asked = String::from_utf8_lossy(&request[..length]).into_owned();
            let answer = match answer {
                Some(_) if !asked.starts_with("GET /readyz ") => {
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
                }
                Some(answer) => answer,
                None => {
                    open.push(stream);
                    continue;
                }
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_admin_port_of_a_node_that_listens_everywhere_is_asked_on_loopback() {
    let ready = admin_port(Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let everywhere = format!("0.0.0.0:{}", ready.port());
    let said = sealdex(&["health"], &[("SEALDEX_ADMIN_ADDRESS", &everywhere)]).await;
    assert_eq!(said.ok(), "ready\n");
}

#[tokio::test]
async fn a_node_that_says_it_is_not_ready_is_not() {
    let draining = admin_port(Some(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\n\r\ndraining",
    ))
    .await;
    let said = sealdex(&["health", "--admin", &draining.to_string()], &[]).await;
    assert!(!said.success, "{said:?}");
    assert!(
        said.err.contains("503") && said.err.contains("draining"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_given_up_in_time() {
    let silent = admin_port(None).await;
    let begun = Instant::now();
    let said = sealdex(&["health", "--admin", &silent.to_string(), "--timeout", "1"], &[]).await;
    assert!(!said.success, "{said:?}");
    assert!(said.err.contains("longer than 1 s"), "{}", said.err);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
