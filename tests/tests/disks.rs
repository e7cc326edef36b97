//! Disks with which a node may not come: one line that names the cure, and nothing of it is left in the deployment.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::folder;
use sealdex_tests::nodes::{Kind, Nodes};
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
    let old = folder::copy_of(&nodes.data(shard));
    nodes.start(shard);
    nodes.ready(shard).await;

    let elsewhere = nodes.add_namesake(shard);
    folder::copy(old.path(), &nodes.data(elsewhere));
    refused(&mut nodes, elsewhere, &["has that name, or this disk", "stop it"]).await;
    nodes.ready(shard).await;

    // On an empty disk it is another node, as soon as it is known to be down.
    nodes.kill(shard);
    nodes.lose_disk(shard);
    nodes.start(shard);
    nodes.says(shard, "shard: joined", 3).await;
    nodes.kill(shard);
    let new = folder::copy_of(&nodes.data(shard));
    let exchange = |nodes: &Nodes, with: &Path| {
        std::fs::remove_dir_all(nodes.data(shard)).unwrap();
        folder::copy(with, &nodes.data(shard));
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

/// It would vote a second time under one id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_does_not_run_twice_and_may_move_with_its_disk() {
    let mut nodes = Nodes::new(3, 1).with_variable("SEALDEX_EXPECTED_SHARDS", "1");
    nodes.start_all().await;
    let [first, second, third] = [0, 1, 2];
    nodes.stop(third).await;
    let disk = folder::copy_of(&nodes.data(third));
    nodes.start(third);
    nodes.ready(third).await;
    let elsewhere = nodes.add_namesake(third);
    folder::copy(disk.path(), &nodes.data(elsewhere));
    let refusal = "that very node runs here";
    refused(&mut nodes, elsewhere, &[refusal, "stop it first"]).await;

    // Nor where nobody leads who could say so.
    nodes.kill(first);
    nodes.kill(second);
    let (status, said) = nodes.run(elsewhere);
    assert!(!status.success(), "{said}");
    nodes.says(elsewhere, refusal, 2).await;
    nodes.start(first);
    nodes.start(second);
    for n in [first, second, third] {
        nodes.usable(n).await;
    }

    nodes.stop(third).await;
    std::fs::remove_dir_all(nodes.data(elsewhere)).unwrap();
    folder::copy(&nodes.data(third), &nodes.data(elsewhere));
    nodes.start(elsewhere);
    nodes.usable(elsewhere).await;
    refused(&mut nodes, third, &[refusal, "stop it first"]).await;
    nodes.says(third, refusal, 3).await;
    nodes.usable(elsewhere).await;
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
    folder::copy(&other.data(foreign), &nodes.data(newcomer));
    refused(
        &mut nodes,
        newcomer,
        &["belongs to another deployment", "empty it"],
    )
    .await;
}
