//! Three coordinators and three shard nodes, each a process: any coordinator serves any request, and nodes that are killed take nothing
//! with them that was acknowledged.

#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const ROOT: &str = "the root key of this test";

fn items(prefix: &str, n: u32) -> Vec<Item> {
    let item = |n: u32| {
        let item = Item::bare(format!("{prefix}{n}"), vec![n as f32, (n * n % 97) as f32, 1.0]);
        item.with_metadata(json!({"even": n.is_multiple_of(2)}))
            .with_contents(format!("contents of {n}"))
    };
    (0..n).map(item).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_coordinator_serves_the_same() {
    let mut nodes = Nodes::new(3, 3).with_variable("SEALDEX_ROOT_KEY", ROOT);
    nodes.start_all().await;
    let through: Vec<_> = nodes
        .all(Kind::Coordinator)
        .into_iter()
        .map(|n| nodes.http(n))
        .collect();
    let made = Index::create(&through[0], "shared", KEY, json!({"dimension": 3})).await;
    let written = items("i", 300);
    for (n, batch) in written.chunks(100).enumerate() {
        made.through(&through[n]).upsert(batch).await;
        // Whoever is asked next knows of it.
        let seen = made.through(&through[(n + 1) % 3]);
        assert_eq!(seen.count().await, 100 * (n as u64 + 1));
        let item = &batch[17];
        let hits = seen.query(&item.vector, 1, json!({})).await;
        assert_eq!(hits[0].id, item.id);
        assert!(seen.get(std::slice::from_ref(&item.id)).await[0].is_same_as(item));
    }
    made.through(&through[2]).train().await;
    for http in &through {
        let index = made.through(http);
        let hits = index
            .query(&written[40].vector, 5, json!({"filters": {"even": true}}))
            .await;
        assert_eq!(hits[0].id, "i40");
    }
    made.through(&through[1]).delete(&["i40".to_owned()]).await;
    for http in &through {
        let index = made.through(http);
        assert!(index.get(&["i40".to_owned()]).await.is_empty());
        assert!(
            index
                .query(&written[40].vector, 300, json!({}))
                .await
                .iter()
                .all(|hit| hit.id != "i40")
        );
    }
    revoked_everywhere(&nodes, &through).await;
}

/// A user that one coordinator made, and another one revoked, is known and refused by the third from the next request on.
async fn revoked_everywhere(nodes: &Nodes, through: &[Arc<sealdex_tests::http::Http>]) {
    let body = json!({"permissions": ["read"], "index_key": KEY});
    for round in 0..5 {
        let [maker, revoker, third] = [round % 3, (round + 1) % 3, (round + 2) % 3];
        let made = through[maker]
            .post("/v1/indexes/shared/users", &body)
            .await
            .unwrap()
            .ok();
        let token = made["api_key"].as_str().unwrap();
        let number = nodes.all(Kind::Coordinator)[third];
        let user = nodes.http_as(number, token);
        let list = json!({"index_name": "shared"});
        assert_eq!(
            user.post("/v1/vectors/list_ids", &list).await.unwrap().status,
            200
        );
        let path = format!("/v1/indexes/shared/users/{}", made["user_id"].as_str().unwrap());
        let revoked = through[revoker]
            .with_header("x-index-key", KEY)
            .send(hyper::Method::DELETE, &path, Vec::new().into())
            .await
            .unwrap();
        assert_eq!(revoked.status, 204, "{}", revoked.text());
        assert_eq!(
            user.post("/v1/vectors/list_ids", &list).await.unwrap().status,
            403
        );
    }
}

/// Writes through one coordinator until it is told to stop; returns what was acknowledged.
fn writer(index: Index, prefix: String, stop: Arc<AtomicBool>) -> JoinHandle<BTreeSet<String>> {
    tokio::spawn(async move {
        let mut acknowledged = BTreeSet::new();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let item = Item::bare(format!("{prefix}{n}"), vec![n as f32, 0.5, 1.0]);
            let body = json!({"items": [item.to_json()]});
            if index
                .call("vectors/upsert", body)
                .await
                .is_ok_and(|reply| reply.status == 200)
            {
                acknowledged.insert(item.id);
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        acknowledged
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_nodes_that_are_killed() {
    let mut nodes = Nodes::new(3, 3);
    nodes.start_all().await;
    let (coordinators, shards) = (nodes.all(Kind::Coordinator), nodes.all(Kind::Shard));
    let index = Index::create(&nodes.http(coordinators[1]), "kept", KEY, json!({"dimension": 3})).await;
    let stop = Arc::new(AtomicBool::new(false));
    // The first coordinator began the deployment and leads; nobody writes through it.
    let writers: Vec<_> = coordinators[1..]
        .iter()
        .map(|n| writer(index.through(&nodes.http(*n)), format!("w{n}-"), stop.clone()))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for victim in [shards[0], coordinators[0], shards[2]] {
        nodes.kill(victim);
        tokio::time::sleep(Duration::from_secs(4)).await;
        nodes.start(victim);
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    nodes.usable(coordinators[0]).await;
    for n in coordinators {
        let there: BTreeSet<String> = index.through(&nodes.http(n)).ids().await.into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(
            lost.is_empty(),
            "{} of {} lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_join_says_why_and_ends() {
    let mut nodes = Nodes::new(1, 1);
    let (coordinator, shard) = (0, 1);
    nodes.start(coordinator);
    // It has read its token when it serves.
    while nodes.http(coordinator).get("/v1/health").await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nodes.with_token("another token than the deployment has, long enough");
    let (status, said) = nodes.run(shard);
    assert!(!status.success());
    assert!(said.contains("join token"), "{said}");
}
