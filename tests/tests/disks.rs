//! Disks with which a node may not come: one line that names the cure, and nothing of it is left in the deployment.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::scanner::files_under;
use serde_json::Value;
use std::path::Path;

/// Names and ids of all nodes that there are and were.
async fn known(nodes: &Nodes) -> Vec<(String, u64)> {
    let http = nodes.http(0);
    let asked = http.send(Method::GET, "/v1/cluster/nodes?limit=256", Vec::new().into());
    let told = asked.await.unwrap().json();
    let of = |node: &Value| {
        (
            node["name"].as_str().unwrap().to_owned(),
            node["id"].as_u64().unwrap(),
        )
    };
    told["nodes"].as_array().unwrap().iter().map(of).collect()
}

fn copy(from: &Path, to: &Path) {
    for file in files_under(from).unwrap() {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}

/// A node that was started ends with an error that has these words, and the deployment knows no more nodes than before.
async fn refused(nodes: &mut Nodes, n: usize, words: &[&str]) {
    let before = known(nodes).await;
    let (status, said) = nodes.run(n);
    assert!(!status.success(), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(known(nodes).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_copy_of_a_disk_nor_one_that_was_replaced_comes_in() {
    let mut nodes = Nodes::new(1, 1).with_variable("SEALDEX_EXPECTED_SHARDS", "1");
    nodes.start_all().await;
    let shard = nodes.all(Kind::Shard)[0];
    nodes.stop(shard).await;
    let old = tempfile::tempdir().unwrap();
    copy(&nodes.data(shard), old.path());
    nodes.start(shard);
    nodes.ready(shard).await;

    let elsewhere = nodes.add_namesake(shard);
    copy(old.path(), &nodes.data(elsewhere));
    refused(&mut nodes, elsewhere, &["has that name, or this disk", "stop it"]).await;
    nodes.ready(shard).await;

    // On an empty disk it is another node, as soon as it is known to be down.
    nodes.kill(shard);
    nodes.lose_disk(shard);
    nodes.start(shard);
    nodes.says(shard, "shard: joined", 3).await;
    nodes.kill(shard);
    let new = tempfile::tempdir().unwrap();
    copy(&nodes.data(shard), new.path());
    let exchange = |nodes: &Nodes, with: &Path| {
        std::fs::remove_dir_all(nodes.data(shard)).unwrap();
        copy(with, &nodes.data(shard));
    };
    exchange(&nodes, old.path());
    refused(
        &mut nodes,
        shard,
        &["not part of this deployment", "empty data directory"],
    )
    .await;
    exchange(&nodes, new.path());
    nodes.start(shard);
    nodes.says(shard, "shard: joined", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_another_deployment_is_not_taken_for_a_new_node() {
    let mut other = Nodes::new(1, 2).with_variable("SEALDEX_EXPECTED_SHARDS", "2");
    other.start_all().await;
    let foreign = other.all(Kind::Shard)[1];
    other.stop(foreign).await;
    let mut nodes = Nodes::new(1, 1).with_variable("SEALDEX_EXPECTED_SHARDS", "1");
    nodes.start_all().await;
    let newcomer = nodes.add(Kind::Shard, other.name(foreign));
    copy(&other.data(foreign), &nodes.data(newcomer));
    refused(
        &mut nodes,
        newcomer,
        &["belongs to another deployment", "empty it"],
    )
    .await;
}
