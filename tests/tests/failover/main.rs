//! Three coordinators and three shard nodes, one of which is killed or paused while clients go on: they see slow answers, not failed ones,
//! and never one that is older than what was acknowledged. Prints what clients saw; see `load`.
#![allow(clippy::unwrap_used)]

mod load;
mod replicas;

use hyper::Method;
use load::{KEY, Load};
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use serde_json::json;
use std::time::{Duration, Instant};

const ROOT: &str = "cdbk_the-root-key-of-the-failover-test";

/// How long a client waits for a change. An election is part of it where the one that leads says nothing.
const PATIENCE: Duration = Duration::from_secs(8);

/// Of a steady load, so many answers before and after each event.
const ANSWERS_BEFORE: u64 = 200;
const ANSWERS_AFTER: u64 = 800;

/// Of a slow node, how long it stands still and how long it works, again and again.
const HELD_STILL: Duration = Duration::from_millis(80);
const LET_GO: Duration = Duration::from_millis(20);

async fn deployment() -> (Nodes, Vec<Index>) {
    let mut nodes = Nodes::new(3, 3);
    nodes.start_all().await;
    let coordinators = nodes.all(Kind::Coordinator);
    let made = Index::create(
        &nodes.http(coordinators[0]),
        "steady",
        KEY,
        json!({"dimension": 3}),
    )
    .await;
    let items: Vec<Item> = (0..200)
        .map(|n| Item::bare(format!("old{n}"), vec![n as f32, 0.5, 1.0]))
        .collect();
    made.upsert(&items).await;
    let through = coordinators
        .into_iter()
        .map(|n| made.through(&nodes.http(n)))
        .collect();
    (nodes, through)
}

/// Every request that was not in the middle of a write at the node that died is answered, if need be when another node leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_shard_node_fails_next_to_no_request() {
    let (mut nodes, indexes) = deployment().await;
    let load = Load::start(&indexes);
    load.answers(ANSWERS_BEFORE).await;
    for victim in nodes.all(Kind::Shard) {
        load.mark();
        nodes.kill(victim);
        load.answers(ANSWERS_AFTER).await;
        println!("a shard node is killed:  {}", load.since_mark());
        nodes.start(victim);
        load.answers(ANSWERS_AFTER).await;
        for n in nodes.all(Kind::Coordinator) {
            nodes.usable(n).await;
        }
    }
    let seen = load.stop().await;
    println!("in all:                  {seen}");
    assert!(seen.stale.is_empty(), "{:?}", seen.stale);
    // A machine so busy that no leader is elected in time has a percent of slack.
    assert!(seen.failed_reads * 100 <= seen.reads, "{seen}");
    assert!(seen.failed_writes * 50 <= seen.writes, "{seen}");
}

/// A node that is there and slow, held still for most of the time but never for long enough to be given up, makes answers slow and fails
/// none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_shard_node_fails_no_request() {
    let (nodes, indexes) = deployment().await;
    let load = Load::start(&indexes);
    load.answers(ANSWERS_BEFORE).await;
    for victim in nodes.all(Kind::Shard) {
        load.mark();
        let answers = load.answers(ANSWERS_AFTER);
        tokio::pin!(answers);
        loop {
            nodes.signal(victim, "STOP");
            tokio::time::sleep(HELD_STILL).await;
            nodes.signal(victim, "CONT");
            if tokio::time::timeout(LET_GO, &mut answers).await.is_ok() {
                break;
            }
        }
        println!("a shard node is slow:    {}", load.since_mark());
    }
    let seen = load.stop().await;
    println!("in all:                  {seen}");
    assert!(seen.stale.is_empty(), "{:?}", seen.stale);
    assert!(
        (seen.failed_reads + seen.failed_writes) * 1000 <= seen.reads + seen.writes,
        "{seen}"
    );
}

/// A node that is there and says nothing holds queries up until another one leads, and when it is back it answers nobody with what it
/// had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_shard_node_stalls_queries_only_until_another_leads() {
    let (nodes, indexes) = deployment().await;
    let load = Load::start(&indexes);
    load.answers(ANSWERS_BEFORE).await;
    for victim in nodes.all(Kind::Shard) {
        load.mark();
        nodes.signal(victim, "STOP");
        // It is back only when enough was answered without it.
        load.read_answers(ANSWERS_AFTER).await;
        println!("a shard node is paused:  {}", load.since_mark());
        load.mark();
        nodes.signal(victim, "CONT");
        load.answers(ANSWERS_AFTER).await;
        println!("and goes on:             {}", load.since_mark());
    }
    let seen = load.stop().await;
    println!("in all:                  {seen}");
    assert!(seen.stale.is_empty(), "{:?}", seen.stale);
    assert!(seen.failed_reads * 100 <= seen.reads, "{seen}");
}

/// Whoever deletes a user waits until nothing is left of what was granted, but not for a coordinator that says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_deleted_in_time_while_a_coordinator_says_nothing() {
    let mut nodes = Nodes::new(3, 1).with_variable("SEALDEX_ROOT_KEY", ROOT);
    nodes.start_all().await;
    let coordinators = nodes.all(Kind::Coordinator);
    let settings = json!({"dimension": 3});
    Index::create(&nodes.http(coordinators[0]), "steady", KEY, settings).await;
    // All three vote: with two, one that is silent would leave no majority.
    nodes.says(coordinators[0], "step: Settle", 2).await;
    for asked in &coordinators {
        for silent in coordinators.iter().filter(|silent| *silent != asked) {
            let http = nodes.http(*asked);
            let user = json!({"index_key": KEY, "permissions": ["read"]});
            let made = http.post("/v1/indexes/steady/users", &user).await.unwrap().ok();
            let path = format!("/v1/indexes/steady/users/{}", made["user_id"].as_str().unwrap());
            nodes.signal(*silent, "STOP");
            let begun = Instant::now();
            let owner = http.with_header("x-index-key", KEY);
            let deleted = owner.send(Method::DELETE, &path, Vec::new().into()).await;
            let took = begun.elapsed();
            nodes.signal(*silent, "CONT");
            println!("{asked} asked, {silent} silent: {took:?}");
            assert_eq!(deleted.unwrap().status, 204);
            assert!(took < PATIENCE, "{took:?}");
            nodes.usable(*asked).await;
        }
    }
}
