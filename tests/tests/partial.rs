//! A fault in one place leaves the others alone: partitions that have lost their majority answer nothing, the rest answers as ever, and
//! what is missing is said to be missing; what a node reads wrong from its disk it does not pass on.

#![allow(clippy::unwrap_used)]

use futures_util::future::join_all;
use hyper::Method;
use sealdex_tests::index::{Index, items_of};
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::random::Random;
use sealdex_tests::scanner::files_under;
use serde_json::json;
use std::path::Path;
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

fn items() -> Vec<Item> {
    let item = |n| {
        Item::bare(format!("i{n}"), vec![n as f32, 1.0]).with_contents(format!("contents {n} ").repeat(200))
    };
    (0..ITEMS).map(item).collect()
}

/// Waits until all items are had as they were written.
async fn all_had(index: &Index, items: &[Item]) {
    let given_up = Instant::now() + Duration::from_secs(120);
    for item in items {
        while had(index, item).await != Some(true) {
            assert!(Instant::now() < given_up, "{} does not come back", item.id);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert_eq!(index.query(&[3.0, 1.0], ITEMS, json!({})).await.len(), ITEMS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_without_a_majority_take_no_others_with_them() {
    // Three replicas on four nodes: of any two nodes that are gone, each partition lacks one or both.
    let mut nodes = Nodes::new(1, 4);
    nodes.start_all().await;
    let shards = nodes.all(Kind::Shard);
    let index = Index::create(&nodes.http(0), "partial", KEY, json!({"dimension": 2})).await;
    let items = items();
    index.upsert(&items).await;
    // Those who lead may have to be elected anew.
    for n in &shards[..2] {
        nodes.kill(*n);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let says = nodes.admin(shards[2]).get("/readyz").await.unwrap();
    assert!(
        says.status == 503 && says.text().contains("without a leader"),
        "{}",
        says.text()
    );
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
    all_had(&index, &items).await;
}

/// Changes a byte in each 512 of every table of a node that does not run; returns how many bytes.
fn damage(data: &Path, random: &mut Random) -> usize {
    let mut flips = 0;
    for table in files_under(data).unwrap() {
        if table.extension().is_none_or(|extension| extension != "sst") {
            continue;
        }
        let mut bytes = std::fs::read(&table).unwrap();
        for piece in bytes.chunks_mut(512) {
            piece[random.below(piece.len())] ^= 1 << random.below(8);
            flips += 1;
        }
        std::fs::write(&table, bytes).unwrap();
    }
    flips
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_disk_gives_no_wrong_answer_and_an_empty_one_is_the_cure() {
    let mut random = Random::from_clock("damage", "SEALDEX_DAMAGE_SEED");
    let mut nodes = Nodes::new(1, 3).with_variable("SEALDEX_GRACE_SECONDS", "5");
    nodes.start_all().await;
    let victim = nodes.all(Kind::Shard)[1];
    let index = Index::create(&nodes.http(0), "damaged", KEY, json!({"dimension": 2})).await;
    let items = items();
    index.upsert(&items).await;
    // In good order, so that all of it lies in tables.
    nodes.stop(victim).await;
    let flips = damage(&nodes.data(victim), &mut random);
    assert!(flips > 50, "{flips} bytes are not a damaged disk");
    nodes.start(victim);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (mut right, mut refused) = (0, 0);
    for _ in 0..3 {
        for item in &items {
            let answer = index.call("vectors/get", json!({"ids": [item.id]})).await;
            let reply = answer.unwrap();
            match reply.status {
                200 => {
                    let found = items_of(&reply.json()).unwrap();
                    assert!(found.len() == 1 && found[0].is_same_as(item), "{found:?}");
                    right += 1;
                }
                500.. => refused += 1,
                other => panic!("{other}: {}", reply.text()),
            }
        }
        let body = json!({"query_vectors": [3.0, 1.0], "top_k": ITEMS});
        let reply = index.call("vectors/query", body).await.unwrap();
        assert!(reply.status >= 500 || reply.json()["results"].as_array().unwrap().len() == ITEMS);
    }
    println!("{flips} bytes of a node's disk changed: {right} right answers, {refused} refused");

    nodes.kill(victim);
    all_had(&index, &items).await;
    nodes.lose_disk(victim);
    nodes.start(victim);
    nodes.ready(victim).await;
    // Without another one, so that the new replicas are needed.
    let other = nodes.all(Kind::Shard)[0];
    whole(&nodes).await;
    nodes.kill(other);
    all_had(&index, &items).await;
}

/// Waits until every partition has all its replicas.
async fn whole(nodes: &Nodes) {
    let given_up = Instant::now() + Duration::from_secs(180);
    loop {
        let http = nodes.http(0);
        let asked = http.send(Method::GET, "/v1/cluster/status", Vec::new().into());
        let status = asked.await.unwrap().json();
        let partitions = &status["partitions"];
        if status["current"] == true && partitions["healthy"] == partitions["total"] {
            return;
        }
        assert!(Instant::now() < given_up, "{status}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
