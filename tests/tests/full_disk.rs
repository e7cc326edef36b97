//! A full disk: writes are refused before it is full, all else goes on, nothing that was acknowledged is lost, and room that is freed
//! is used without a restart. On a real file system of a few hundred MiB; some tests fill it behind the server's back.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::http::Http;
use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::oracle::{fault, nearest, recall};
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::server::{Home, Server};
use sealdex_tests::small_disk::{SmallDisk, may_mount};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const DISK_MIB: u64 = 448;
const DIMENSION: usize = 16;
const BATCH: usize = 64;
const CONTENTS_BYTES: usize = 16 * 1024;
const ROOT_KEY: &str = "cdbk_the-root-key-of-the-full-disk-test";
const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_almost_full_disk_refuses_writes_and_nothing_else() {
    if !may_mount("an_almost_full_disk_refuses_writes_and_nothing_else") {
        return;
    }
    let home = Home::new().with_variable("SEALDEX_ROOT_KEY", ROOT_KEY);
    let disk = SmallDisk::mount(&home, DISK_MIB);
    let server = home.start().await;
    let mut filler = Filler::begin(&server, Random::from_clock("full disk", "SEALDEX_DISK_SEED")).await;
    let spare = Index::create(&filler.index.http, "spare", &filler.index.key, json!({})).await;
    disk.fill(300 * MIB);
    let said = filler.write_until_refused().await;
    let left = disk.free();
    println!(
        "refused after {} items with {} MiB free: {said}",
        filler.items.len(),
        left / MIB
    );
    assert!(
        said.contains("MiB are free") && said.contains("Free space"),
        "{said}"
    );
    assert!(left > 48 * MIB, "only {left} bytes are left");
    // What somebody else takes of the reserve is missing to every write, small ones too, but not yet to deletions.
    filler.every_write_is_refused(&disk, 48 * MIB).await;
    filler.all_is_read().await;
    filler.delete_some().await;
    spare.must("indexes/delete", json!({})).await;
    filler.all_is_read().await;

    // The rest of the disk is taken by somebody else.
    filler.every_write_is_refused(&disk, 0).await;
    filler.all_is_read().await;
    server.kill();
    let server = home.start().await;
    filler.through(&server);
    filler.every_write_is_refused(&disk, 0).await;
    filler.all_is_read().await;

    disk.empty();
    filler.write_some().await;
    filler.delete_some().await;
    filler.all_is_read().await;
    server.kill();
    let server = home.start().await;
    filler.through(&server);
    filler.write_some().await;
    filler.all_is_read().await;
    server.stop().await;
    let server = home.start().await;
    filler.through(&server);
    filler.all_is_read().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_meet_a_full_disk_wait_and_a_killed_server_starts_on_it() {
    if !may_mount("writes_that_meet_a_full_disk_wait_and_a_killed_server_starts_on_it") {
        return;
    }
    // Without a reserve nothing is refused, and the storage engine meets the end of the disk.
    let home = Home::new()
        .with_variable("SEALDEX_ROOT_KEY", ROOT_KEY)
        .with_variable("SEALDEX_DISK_RESERVE_MIB", "0");
    let disk = SmallDisk::mount(&home, DISK_MIB);
    let mut server = home.start().await;
    let mut filler = Filler::begin(&server, Random::from_clock("full disk", "SEALDEX_DISK_SEED")).await;
    for round in 0..3 {
        filler.write_some().await;
        disk.fill(0);
        filler.write_until_stuck().await;
        println!(
            "round {round}: stuck after {} items with {} bytes free",
            filler.items.len(),
            disk.free()
        );
        server.assert_alive();
        filler.all_is_read().await;
        if round != 1 {
            server.kill();
            server = home.start().await;
            filler.through(&server);
            filler.take_what_is_there().await;
            filler.all_is_read().await;
            disk.empty();
        } else {
            disk.empty();
            filler.write_again().await;
        }
        filler.write_some().await;
        filler.all_is_read().await;
        filler.begin_anew().await;
    }
    server.stop().await;
    let server = home.start().await;
    filler.through(&server);
    filler.all_is_read().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_without_room_is_given_up_and_leaves_nothing() {
    if !may_mount("a_training_without_room_is_given_up_and_leaves_nothing") {
        return;
    }
    let home = Home::new().with_variable("SEALDEX_ROOT_KEY", ROOT_KEY);
    let disk = SmallDisk::mount(&home, DISK_MIB);
    let server = home.start().await;
    let mut filler = Filler::begin(&server, Random::from_clock("full disk", "SEALDEX_DISK_SEED")).await;
    let rows = clumped(&mut filler.random, 20_000, 50, DIMENSION);
    let items: Vec<Item> = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| Item::bare(format!("row{i}"), row))
        .collect();
    filler.index.upsert_binary(&items).await;
    filler.items.extend(by_id(items));
    let training = tokio::spawn({
        let index = filler.index.clone();
        async move { index.call("indexes/train", json!({})).await.unwrap() }
    });
    while !filler.index.is_training().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    disk.fill(100 * MIB);
    let reply = training.await.unwrap();
    assert_eq!(reply.status, 507, "{}", reply.text());
    println!("training: {}", reply.text());
    assert_eq!(filler.index.describe().await["is_trained"], false);
    assert!(!filler.index.is_training().await);
    let reply = filler.index.call("indexes/train", json!({})).await.unwrap();
    assert_eq!(reply.status, 507, "{}", reply.text());
    filler.all_is_read().await;
    disk.empty();
    filler.write_some().await;
    filler.index.train().await;
    assert_eq!(filler.index.describe().await["is_trained"], true);
    filler.all_is_read().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_on_a_full_disk_says_so_and_a_later_one_succeeds() {
    if !may_mount("a_first_start_on_a_full_disk_says_so_and_a_later_one_succeeds") {
        return;
    }
    let home = Home::new();
    let disk = SmallDisk::mount(&home, 200);
    home.start().await.stop().await;
    for path in ["catalog", "shard", "log"] {
        std::fs::remove_dir_all(home.data().join(path)).unwrap();
    }
    disk.fill(0);
    let refused = home
        .try_start()
        .await
        .err()
        .expect("there is no room for an empty database");
    assert!(!refused.status.success());
    assert!(refused.said.contains("disk is full; free"), "{}", refused.said);
    disk.empty();
    home.start().await.stop().await;
}

/// An index, and what must be in it.
struct Filler {
    index: Index,
    items: BTreeMap<String, Item>,
    /// Sent, but not answered: each of them is there or not.
    open: BTreeMap<String, Item>,
    random: Random,
    next: usize,
}

impl Filler {
    async fn begin(server: &Server, mut random: Random) -> Self {
        let key = random.hex(32);
        let settings = json!({"dimension": DIMENSION, "metric": "squared_euclidean"});
        let mut filler = Self {
            index: Index::create(&as_root(server), "full", &key, settings).await,
            items: BTreeMap::new(),
            open: BTreeMap::new(),
            random,
            next: 0,
        };
        filler.write_some().await;
        filler
    }

    fn through(&mut self, server: &Server) {
        self.index = self.index.through(&as_root(server));
    }

    /// A batch of about a MiB.
    fn batch(&mut self) -> Vec<Item> {
        let item = |_| {
            self.next += 1;
            Item::bare(format!("item{}", self.next), self.random.vector(DIMENSION))
                .with_metadata(json!({"n": self.next}))
                .with_contents(self.random.hex(CONTENTS_BYTES / 2))
        };
        (0..BATCH).map(item).collect()
    }

    async fn write_some(&mut self) {
        self.open = by_id(self.batch());
        self.write_again().await;
    }

    /// Returns what the refusal says.
    async fn write_until_refused(&mut self) -> String {
        for _ in 0..2 * DISK_MIB {
            let batch = self.batch();
            let body = json!({"items": batch.iter().map(Item::to_json).collect::<Vec<_>>()});
            let reply = self.index.call("vectors/upsert", body).await.unwrap();
            if reply.status == 507 {
                return reply.json()["detail"].as_str().unwrap().to_owned();
            }
            reply.ok();
            self.items.extend(by_id(batch));
        }
        panic!("the disk is full many times over, and nothing was refused");
    }

    /// Until a batch gets no answer, or is asked to come back.
    async fn write_until_stuck(&mut self) {
        for _ in 0..2 * DISK_MIB {
            let batch = self.batch();
            let body = json!({"items": batch.iter().map(Item::to_json).collect::<Vec<_>>()});
            let reply = timeout(Duration::from_secs(5), self.index.call("vectors/upsert", body)).await;
            match reply.map(Result::unwrap) {
                Ok(reply) if reply.status != 503 => reply.ok(),
                _ => return self.open = by_id(batch),
            };
            self.items.extend(by_id(batch));
        }
        panic!("the disk is full many times over, and nothing was stuck");
    }

    /// After a crash nothing is under way any more: what is there stays.
    async fn take_what_is_there(&mut self) {
        let ids: Vec<String> = self.open.keys().cloned().collect();
        let there = self.index.get(&ids).await;
        assert!(there.iter().all(|item| item.is_same_as(&self.open[&item.id])));
        self.items.extend(by_id(there));
        self.open.clear();
    }

    /// What got no answer is written again, which settles it.
    async fn write_again(&mut self) {
        let items: Vec<Value> = self.open.values().map(Item::to_json).collect();
        self.insist("vectors/upsert", json!({"items": items})).await;
        self.items.append(&mut self.open);
    }

    /// A client that is asked to come back does: the storage engine looks for room every five seconds only, which can take longer than a
    /// write waits.
    async fn insist(&self, route: &str, body: Value) {
        let given_up = Instant::now() + Duration::from_secs(60);
        loop {
            let reply = self.index.call(route, body.clone()).await.unwrap();
            if reply.status != 503 || Instant::now() > given_up {
                reply.ok();
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn begin_anew(&mut self) {
        self.insist("indexes/delete", json!({})).await;
        self.items.clear();
        let settings = json!({"dimension": DIMENSION, "metric": "squared_euclidean"});
        self.index = Index::create(&self.index.http, "full", &self.index.key, settings).await;
        self.write_some().await;
    }

    async fn delete_some(&mut self) {
        let ids: Vec<String> = self.items.keys().step_by(self.items.len() / 5).cloned().collect();
        self.insist("vectors/delete", json!({"ids": ids})).await;
        self.items.retain(|id, _| !ids.contains(id));
    }

    /// With `left` bytes free at each: what the server tidies up meanwhile is taken away again.
    async fn every_write_is_refused(&mut self, disk: &SmallDisk, left: u64) {
        let key = self.random.hex(32);
        let batch = self.batch();
        let items: Vec<Value> = batch.iter().map(Item::to_json).collect();
        let one = &items[..1];
        for (route, body) in [
            ("vectors/upsert", json!({"items": items})),
            ("vectors/upsert", json!({"items": one})),
            ("indexes/train", json!({})),
            ("indexes/full/users", json!({"permissions": ["read"]})),
            ("indexes/full/rotate", json!({"new_index_key": key})),
        ] {
            disk.fill(left);
            let reply = self.index.call(route, body).await.unwrap();
            assert_eq!(reply.status, 507, "{route}: {}", reply.text());
            assert!(reply.json()["detail"].as_str().unwrap().contains("Free space"));
        }
        disk.fill(left);
        let another = Index::new(&self.index.http, "another", &key);
        let reply = another.call("indexes/create", json!({})).await.unwrap();
        assert_eq!(reply.status, 507, "{}", reply.text());
    }

    async fn all_is_read(&mut self) {
        let http = &self.index.http;
        assert_eq!(http.get("/v1/health").await.unwrap().status, 200);
        let names = http
            .send(Method::GET, "/v1/indexes/list", Vec::new().into())
            .await
            .unwrap()
            .ok();
        assert!(
            names["indexes"].as_array().unwrap().contains(&json!("full")),
            "{names}"
        );
        assert_eq!(self.index.describe().await["dimension"], DIMENSION);
        let known = |id: &str| self.items.get(id).or(self.open.get(id));
        let ids = self.index.ids().await;
        assert!(ids.iter().all(|id| known(id).is_some()), "an item is back");
        let there = ids.iter().filter(|id| self.items.contains_key(*id)).count();
        assert_eq!(there, self.items.len(), "an acknowledged item is gone");
        if self.open.is_empty() {
            assert_eq!(self.index.count().await, ids.len() as u64);
        }
        for part in ids.chunks(500) {
            let read = self.index.get(part).await;
            assert_eq!(read.len(), part.len());
            let same = read
                .iter()
                .all(|item| known(&item.id).is_some_and(|written| item.is_same_as(written)));
            assert!(same, "an item is not as it was written");
        }
        let query = self.items.values().next().unwrap().vector.clone();
        let hits = self.index.query(&query, 10, json!({"n_probes": 1_000})).await;
        assert_eq!(fault("squared_euclidean", &hits, &query, known), None);
        let written = self.items.values().chain(self.open.values());
        let found = recall(&hits, &nearest("squared_euclidean", written, &query, 10));
        assert!(found >= 0.9 || !self.open.is_empty(), "recall {found}");
    }
}

fn as_root(server: &Server) -> Arc<Http> {
    Arc::new(server.http.with_header("x-api-key", ROOT_KEY))
}
