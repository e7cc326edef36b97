//! A fault in one place leaves the others alone: partitions that have lost their majority answer nothing, the rest answers as ever, and
//! what is missing is said to be missing.

#![allow(clippy::unwrap_used)]

use futures_util::future::join_all;
use sealdex_tests::index::{Index, items_of};
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use serde_json::json;
use std::time::{Duration, Instant};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const ITEMS: usize = 48;

/// Whether an item is had, by itself; `None` if the server says that it cannot tell now.
async fn had(index: &Index, item: &Item) -> Option<bool> {
    let reply = index
        .call("vectors/get", json!({"ids": [item.id]}))
        .await
        .unwrap();
    match reply.status {
        200 => {
            let found = items_of(&reply.json()).unwrap();
            Some(found.len() == 1 && found[0].is_same_as(item))
        }
        503 => {
            let after: Option<u64> = reply
                .headers
                .get("retry-after")
                .and_then(|after| after.to_str().ok()?.parse().ok());
            assert!(after.is_some(), "no Retry-After: {}", reply.text());
            None
        }
        other => panic!("{other}: {}", reply.text()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_without_a_majority_take_no_others_with_them() {
    // Three replicas on four nodes: of any two nodes that are gone, each partition lacks one or both.
    let mut nodes = Nodes::new(1, 4);
    nodes.start_all().await;
    let shards = nodes.all(Kind::Shard);
    let index = Index::create(&nodes.http(0), "partial", KEY, json!({"dimension": 2})).await;
    let items: Vec<Item> = (0..ITEMS)
        .map(|n| Item::bare(format!("i{n}"), vec![n as f32, 1.0]).with_contents(format!("contents {n}")))
        .collect();
    index.upsert(&items).await;
    // Those who lead may have to be elected anew.
    for n in &shards[..2] {
        nodes.kill(*n);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (mut here, mut away) = (0, 0);
    let answers = join_all(items.iter().map(|item| had(&index, item))).await;
    for (item, answer) in items.iter().zip(answers) {
        match answer {
            Some(right) => {
                assert!(right, "{} is not as it was written", item.id);
                here += 1;
            }
            None => away += 1,
        }
    }
    println!("two of four nodes gone: {here} items are had, {away} are said to be away");
    assert!(here > 0 && away > 0, "{here} and {away}");
    let whole = json!({"query_vectors": [3.0, 1.0], "top_k": ITEMS});
    let reply = index.call("vectors/query", whole).await.unwrap();
    assert_eq!(reply.status, 503, "a part is not the whole: {}", reply.text());

    for n in &shards[..2] {
        nodes.start(*n);
    }
    let given_up = Instant::now() + Duration::from_secs(120);
    for item in &items {
        while had(&index, item).await != Some(true) {
            assert!(Instant::now() < given_up, "{} does not come back", item.id);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(index.query(&[3.0, 1.0], ITEMS, json!({})).await.len(), ITEMS);
}
