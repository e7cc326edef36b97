//! Certificates are exchanged while nodes run: every node goes from one authority to another without a restart, under load, and a node of
//! the old one is then a stranger.

#![allow(clippy::unwrap_used)]

use sealdex_peer::{Credentials, PeerError, join};
use sealdex_proto::peer::JoinRequest;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes, certs};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tonic::Code;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Replaces a file as `sealdex certs` does: the reader sees the old one or the new one.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    if let Ok(about) = fs::metadata(path) {
        fs::set_permissions(&new, about.permissions()).unwrap();
    }
    fs::rename(new, path).unwrap();
}

/// Tells all nodes that files have changed, and waits until each has taken them up for the `time`th time.
async fn hang_up(nodes: &Nodes, all: &[usize], time: usize) {
    for n in all {
        nodes.signal(*n, "HUP");
    }
    for n in all {
        nodes.says(*n, "certificates reloaded", time).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_go_from_one_authority_to_another_while_they_run() {
    let mut nodes = Nodes::new(3, 3);
    nodes.start_all().await;
    let (coordinators, shards) = (nodes.all(Kind::Coordinator), nodes.all(Kind::Shard));
    let all: Vec<usize> = coordinators.iter().chain(&shards).copied().collect();
    let index = Index::create(&nodes.http(coordinators[0]), "kept", KEY, json!({"dimension": 2})).await;
    let mut written = 0;
    let mut works = async |nodes: &Nodes| {
        for n in &coordinators {
            written += 1;
            let through = index.through(&nodes.http(*n));
            through
                .upsert(&[Item::bare(format!("i{written}"), vec![written as f32, 1.0])])
                .await;
            assert_eq!(through.count().await, written);
        }
    };
    works(&nodes).await;

    // A file with a mistake changes nothing, and is said once.
    let tls = nodes.tls();
    let old = fs::read_to_string(tls.join("ca.crt")).unwrap();
    put(&tls.join("ca.crt"), "no certificate");
    for n in &all {
        nodes.signal(*n, "HUP");
    }
    for n in &all {
        nodes
            .says(*n, "certificates not reloaded; those in force stay", 1)
            .await;
    }
    works(&nodes).await;

    let other = nodes.folder().join("other");
    certs(&other, &["init"]);
    let new = fs::read_to_string(other.join("ca.crt")).unwrap();
    put(&tls.join("ca.crt"), &format!("{old}{new}"));
    hang_up(&nodes, &all, 1).await;
    works(&nodes).await;
    let before = nodes.folder().join("before");
    fs::create_dir(&before).unwrap();
    for n in &all {
        let name = nodes.name(*n).to_owned();
        let role = name.split('-').next().unwrap();
        certs(
            &other,
            &["node", "--role", role, "--name", &name, "--ip", "127.0.0.1"],
        );
        for file in [format!("{name}.key"), format!("{name}.crt")] {
            fs::copy(tls.join(&file), before.join(&file)).unwrap();
            put(&tls.join(&file), &fs::read_to_string(other.join(&file)).unwrap());
        }
    }
    hang_up(&nodes, &all, 2).await;
    works(&nodes).await;
    put(&tls.join("ca.crt"), &new);
    hang_up(&nodes, &all, 3).await;
    works(&nodes).await;

    // Whoever comes with the new authority's certificate is known, for those who run have taken it up.
    nodes.stop(shards[0]).await;
    nodes.start(shards[0]);
    nodes.ready(shards[0]).await;
    works(&nodes).await;
    // Whoever comes with the old one's is a stranger by now.
    fs::write(before.join("ca.crt"), format!("{old}{new}")).unwrap();
    let knocks = async |folder: &Path| {
        let credentials = Credentials::load(folder, &"shard-2".parse().unwrap());
        let credentials = credentials.unwrap_or_else(|error| panic!("{error}"));
        let request = JoinRequest {
            token: "none that is long enough to be one".into(),
            ..JoinRequest::default()
        };
        let deadline = Duration::from_secs(60);
        match join(
            &credentials,
            &nodes.peer_address(coordinators[1]),
            request,
            deadline,
        )
        .await
        {
            Err(PeerError::Status(status)) => status.code(),
            Err(other) => panic!("{other}"),
            Ok(_) => Code::Ok,
        }
    };
    assert_eq!(
        knocks(&tls).await,
        Code::PermissionDenied,
        "it is asked for its token"
    );
    assert_ne!(
        knocks(&before).await,
        Code::PermissionDenied,
        "it is not even asked"
    );
    works(&nodes).await;

    let figures = nodes.admin(coordinators[0]).get("/metrics").await.unwrap().text();
    for whose in ["node", "authority"] {
        let name = format!("sealdex_certificate_expiration_timestamp_seconds{{certificate=\"{whose}\"}} ");
        assert!(figures.contains(&name), "{figures}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_ends_soon_is_warned_of() {
    let mut nodes = Nodes::new(1, 0).with_variable("SEALDEX_EXPECTED_SHARDS", "1");
    let renew = [
        "node",
        "--role",
        "coordinator",
        "--name",
        "coordinator-1",
        "--ip",
        "127.0.0.1",
    ];
    certs(&nodes.tls(), &[&renew[..], &["--days", "10", "--renew"]].concat());
    nodes.start(0);
    nodes.says(0, "a certificate expires soon", 1).await;
    certs(&nodes.tls(), &[&renew[..], &["--renew"]].concat());
    nodes.signal(0, "HUP");
    nodes.says(0, "certificates reloaded", 1).await;
}
