//! `sealdex prove --at-rest`: succeeds on what the server really writes, and fails when anything beside it writes a secret down.
#![allow(clippy::unwrap_used)]

use sealdex_tests::command::{Said, sealdex};
use sealdex_tests::server::{Home, Server};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

const ROOT: &str = "the root key of this test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_its_own_is_clean() {
    let scratch = tempfile::tempdir().unwrap();
    let said = sealdex(
        &["prove", "--at-rest"],
        &[("TMPDIR", scratch.path().to_str().unwrap())],
    )
    .await;
    println!("{}", said.ok());
    for line in [
        "planted canaries",
        "4000 items",
        "a user",
        "nothing readable",
        "patterns",
    ] {
        assert!(said.out.contains(line), "{line} is not in\n{}", said.out);
    }
    assert!(scanned_bytes(&said) > 1_000_000, "{}", said.out);
    assert_eq!(
        std::fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "it cleans up"
    );
}

fn scanned_bytes(said: &Said) -> u64 {
    let line = said.out.lines().find(|line| line.starts_with("scanned")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("bytes")).unwrap();
    words[at - 1].parse().unwrap()
}

async fn prove(address: SocketAddr, data: &Path, log: &Path) -> Said {
    let arguments = [
        "prove",
        "--at-rest",
        "--items",
        "600",
        "--url",
        &format!("http://{address}"),
        "--data-dir",
        data.to_str().unwrap(),
        "--log",
        log.to_str().unwrap(),
    ];
    sealdex(&arguments, &[("SEALDEX_ROOT_KEY", ROOT)]).await
}

async fn indexes(server: &Server) -> serde_json::Value {
    let root = server.http.with_header("x-api-key", ROOT);
    root.get("/v1/indexes/list").await.unwrap().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_is_clean_and_one_that_writes_a_secret_down_is_found_out() {
    let home = Home::new().with_variable("SEALDEX_ROOT_KEY", ROOT);
    let server = home.start().await;
    let address = server.http.address();
    let said = prove(address, &home.data(), &home.log()).await;
    assert!(said.ok().contains("nothing readable"), "{}", said.out);
    assert_eq!(
        indexes(&server).await,
        json!({"indexes": []}),
        "the scratch index is gone"
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let said = prove(address, elsewhere.path(), &home.log()).await;
    assert!(
        !said.success && said.err.contains("correct --data-dir"),
        "{}",
        said.err
    );
    let said = prove(address, &home.data(), Path::new("/absent.log")).await;
    assert!(
        !said.success && said.err.contains("correct --log"),
        "{}",
        said.err
    );
    assert_eq!(
        indexes(&server).await,
        json!({"indexes": []}),
        "also after a failure"
    );

    // Something between client and server that writes down what it sees, in each of the places that are looked into.
    for place in [
        home.data().join("shard/leak.sst"),
        home.data().join("leak"),
        home.log(),
    ] {
        let before = std::fs::metadata(&place).is_ok();
        let proxy = leaking_proxy(address, &place).await;
        let said = prove(proxy, &home.data(), &home.log()).await;
        assert!(!said.success, "{}", said.out);
        assert!(said.err.contains("secrets can be read"), "{}", said.err);
        assert!(
            said.out.contains(place.to_str().unwrap()),
            "names the place:\n{}",
            said.out
        );
        if !before {
            std::fs::remove_file(&place).unwrap();
        }
    }
    assert_eq!(
        indexes(&server).await,
        json!({"indexes": []}),
        "also after a find"
    );
    let refused = sealdex(&["prove"], &[]).await;
    assert!(
        !refused.success && refused.err.contains("--at-rest"),
        "{}",
        refused.err
    );
}

/// Passes everything on, and appends to `file` what clients send.
async fn leaking_proxy(to: SocketAddr, file: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let file = file.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let mut leak = File::options().create(true).append(true).open(&file).unwrap();
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let back = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
                let mut bytes = vec![0; 64 << 10];
                while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
                    leak.write_all(&bytes[..read]).unwrap();
                    to_server.write_all(&bytes[..read]).await.unwrap();
                }
                drop(to_server);
                back.await.unwrap().ok();
            });
        }
    });
    address
}
