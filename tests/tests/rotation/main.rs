//! Rotation of every kind while clients go on: the index key in every direction, and the key epoch below it. No request fails, a
//! crash at any point is taken up again, and what the old keys opened is nowhere any more. Of several coordinators one rotates, and
//! another one when that dies. `SEALDEX_ROTATION_ROUNDS` sets how often a rotation is killed.
#![allow(clippy::unwrap_used)]

mod cures;
mod fellows;

use hyper::Method;
use sealdex_tests::folder;
use sealdex_tests::http::Http;
use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::life::Life;
use sealdex_tests::oracle::{nearest, recall};
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::scanner::Scanner;
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

const ROOT: &str = "the root key of this test";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEW_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
const DIMENSION: usize = 24;
const BASE_ITEMS: usize = 4_000;

/// A place with two slots in its registry, where rotations take a while.
struct Place {
    home: Home,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = slots_in(folder.path());
        let home = Home::new()
            .with_variable("SEALDEX_ROOT_KEY", ROOT)
            .with_variable("SEALDEX_KEY_CACHE_SECONDS", "0")
            .with_variable("SEALDEX_ROTATION_MIB_PER_SECOND", "0.5")
            .with_variable("SEALDEX_CONFIG_FILE", config.to_str().unwrap());
        Self { home, folder }
    }

    async fn start(&self) -> (Server, Arc<Http>) {
        let server = self.home.start().await;
        let root = Arc::new(server.http.with_header("x-api-key", ROOT));
        (server, root)
    }
}

/// Makes a registry with two slots, and their keys beside it; returns the configuration file.
fn slots_in(folder: &Path) -> PathBuf {
    let mut yaml = "kms:\n  registry:\n".to_owned();
    for (n, slot) in ["one", "two"].into_iter().enumerate() {
        let file = folder.join(format!("{slot}.key"));
        fs::write(&file, [n as u8 + 1; 32]).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let file = file.display();
        yaml += &format!("    {slot}:\n      provider: local\n      key_file: {file}\n");
    }
    let config = folder.join("sealdex.yaml");
    fs::write(&config, yaml).unwrap();
    config
}

fn items(random: &mut Random, count: usize) -> Vec<Item> {
    let vectors = clumped(random, count, 40, DIMENSION);
    vectors
        .into_iter()
        .enumerate()
        .map(|(n, vector)| {
            Item::bare(format!("base{n}"), vector)
                .with_metadata(json!({"n": n}))
                .with_contents(format!("contents of {n}"))
        })
        .collect()
}

/// An index that is opened by its owner's key, with items in it.
async fn filled(http: &Arc<Http>, name: &str, items: &[Item]) -> Index {
    let index = Index::create(http, name, KEY, json!({"dimension": DIMENSION})).await;
    index.upsert_binary(items).await;
    index
}

async fn rotate(http: &Http, name: &str, body: Value) -> (u16, Value) {
    let reply = http
        .post(&format!("/v1/indexes/{name}/rotate"), &body)
        .await
        .unwrap();
    (reply.status, reply.json())
}

async fn status(http: &Http, name: &str) -> Value {
    http.get(&format!("/v1/indexes/{name}/rotation"))
        .await
        .unwrap()
        .ok()
}

/// Waits until a rotation is done, and tells the epoch.
async fn finished(http: &Http, name: &str) -> u64 {
    for _ in 0..6_000 {
        let now = status(http, name).await;
        assert_eq!(now["error"], Value::Null, "{now}");
        assert!(now["items_done"].as_u64() <= now["items_total"].as_u64(), "{now}");
        if now["rotating"] == false {
            assert_eq!(
                (&now["phase"], &now["other_epoch"]),
                (&json!("none"), &Value::Null)
            );
            return now["epoch"].as_u64().unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a rotation does not end: {}", status(http, name).await);
}

/// Waits until records are sealed again.
async fn resealing(http: &Http, name: &str) {
    for _ in 0..30_000 {
        let now = status(http, name).await;
        if now["phase"] == "resealing" && now["items_done"].as_u64() > Some(0) {
            return;
        }
        assert_eq!(now["rotating"], true, "too quick to be seen: {now}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("nothing is sealed again: {}", status(http, name).await);
}

/// Makes a user; their id, and the index as they see it.
async fn user(
    server: &Server,
    root: &Http,
    of: &Index,
    key: Option<&str>,
    rights: &[&str],
) -> (String, Index) {
    let body = json!({"permissions": rights, "index_key": key});
    let made = root.post(&format!("/v1/indexes/{}/users", of.name), &body).await;
    let made = made.unwrap().ok();
    let token = made["api_key"].as_str().unwrap();
    let http = Arc::new(server.http.with_header("x-api-key", token));
    (made["user_id"].as_str().unwrap().to_owned(), of.through(&http))
}

/// Revokes a user of `movies`, as its owner.
async fn revoke(root: &Http, user: &str) {
    let owner = root.with_header("x-index-key", KEY);
    let path = format!("/v1/indexes/movies/users/{user}");
    let revoked = owner.send(Method::DELETE, &path, Vec::new().into()).await;
    assert_eq!(revoked.unwrap().status, 204);
}

async fn assert_shut_out(index: &Index) {
    let reply = index.call("vectors/get", json!({"ids": ["base1"]})).await;
    assert_eq!(reply.unwrap().status, 403);
}

/// Writes, reads and queries until it is told to stop. Every answer has to be right.
fn busy(index: &Index, name: &str, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let (index, name, stop) = (index.clone(), name.to_owned(), stop.clone());
    let mut random = Random::new(name.len() as u64);
    tokio::spawn(async move {
        let mut rounds = 0;
        while !stop.load(Ordering::SeqCst) {
            let written: Vec<Item> = (0..5)
                .map(|n| {
                    Item::bare(format!("{name}{n}"), random.vector(DIMENSION))
                        .with_metadata(json!({"round": rounds}))
                        .with_contents(format!("round {rounds}"))
                })
                .collect();
            let ids: Vec<String> = written.iter().map(|item| item.id.clone()).collect();
            index.upsert(&written).await;
            let read = index.get(&ids).await;
            assert!(read.len() == 5 && read.iter().zip(&written).all(|(a, b)| a.is_same_as(b)));
            let all = json!({"n_probes": 1_000_000});
            let hits = index.query(&written[3].vector, 1, all).await;
            assert_eq!(hits[0].id, ids[3], "round {rounds}");
            index.delete(&ids[..2]).await;
            rounds += 1;
        }
        rounds
    })
}

/// As a user who may not read: upserts until it is told to stop. Returns what was acknowledged.
fn busy_without_reading(index: &Index, stop: &Arc<AtomicBool>) -> JoinHandle<Vec<Item>> {
    let (index, stop) = (index.clone(), stop.clone());
    let mut random = Random::new(77);
    tokio::spawn(async move {
        let mut written = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let item = Item::bare(format!("unread{}", written.len()), random.vector(DIMENSION))
                .with_metadata(json!({"unread": true}))
                .with_contents(format!("unread {}", written.len()));
            index.upsert(std::slice::from_ref(&item)).await;
            written.push(item);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        written
    })
}

async fn assert_whole(index: &Index, base: &[Item]) {
    let found = by_id(
        index
            .get(&base.iter().map(|item| item.id.clone()).collect::<Vec<_>>())
            .await,
    );
    assert_eq!(found.len(), base.len());
    for item in base {
        assert!(found[&item.id].is_same_as(item), "{}", item.id);
    }
}

/// Of what is asked for near the first items.
async fn recall_of(index: &Index, items: &[Item], random: &mut Random) -> f64 {
    let mut total = 0.0;
    for _ in 0..40 {
        let query = items[random.below(BASE_ITEMS)].vector.clone();
        let found = index.query(&query, 10, json!({})).await;
        total += recall(&found, &nearest("euclidean", items.iter(), &query, 10));
    }
    total / 40.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_keys_of_every_kind_are_exchanged() {
    let place = Place::new();
    let mut random = Random::new(11);
    let (server, root) = place.start().await;
    let base = items(&mut random, BASE_ITEMS);
    let owner = filled(&root, "movies", &base).await;
    owner.train().await;
    let before = recall_of(&owner, &base, &mut Random::new(5)).await;
    let (_, first) = user(&server, &root, &owner, Some(KEY), &["read", "write"]).await;
    let (_, second) = user(&server, &root, &owner, Some(KEY), &["read", "write"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (_, third) = user(&server, &root, &owner, Some(KEY), &["write"]).await;
    let load = [busy(&first, "first", &stop), busy(&second, "the second", &stop)];
    let unread = busy_without_reading(&third, &stop);

    let steps = [
        (Some(KEY), json!({"new_index_key": NEW_KEY}), Some(NEW_KEY), 1),
        (Some(NEW_KEY), json!({"new_kms_name": "one"}), None, 1),
        (None, json!({"new_kms_name": "two"}), None, 1),
        (None, json!({"epoch": true}), None, 2),
        (None, json!({"new_index_key": KEY}), Some(KEY), 2),
        (
            Some(KEY),
            json!({"epoch": true, "new_index_key": NEW_KEY}),
            Some(NEW_KEY),
            3,
        ),
        (
            Some(NEW_KEY),
            json!({"epoch": true, "new_kms_name": "one"}),
            None,
            4,
        ),
    ];
    for (old, mut body, new, epoch) in steps {
        body["index_key"] = json!(old);
        let (answered, said) = rotate(&root, "movies", body.clone()).await;
        assert_eq!(answered, 200, "{body} {said}");
        let with = |key: Option<&str>| json!({"index_name": "movies", "index_key": key});
        let describe = async |key| {
            root.post("/v1/indexes/describe", &with(key))
                .await
                .unwrap()
                .status
        };
        assert_eq!(describe(new).await, 200, "{body}");
        if old != new {
            let expected = if new.is_some() && old.is_some() { 401 } else { 400 };
            let refused = describe(old).await;
            assert!(
                refused == expected || refused == 401,
                "the old key opens nothing: {refused}"
            );
        }
        if body["epoch"] == true {
            resealing(&root, "movies").await;
            let again = rotate(&root, "movies", json!({"index_key": new, "epoch": true})).await;
            assert_eq!(again.0, 409, "{again:?}");
            assert!(
                again.1["detail"].as_str().unwrap().contains("/rotation"),
                "{again:?}"
            );
        }
        assert_eq!(finished(&root, "movies").await, epoch);
    }
    stop.store(true, Ordering::SeqCst);
    for task in load {
        let rounds = task.await.expect("a request failed");
        assert!(rounds > 5, "{rounds} rounds");
    }
    let unread = unread.await.expect("a request failed");
    assert!(!unread.is_empty());
    assert_whole(&first, &unread).await;
    assert_whole(&first, &base).await;
    let after = recall_of(&first, &[base, unread].concat(), &mut Random::new(5)).await;
    assert!(after >= before - 0.02, "recall was {before} and is {after}");
    let mut scanner = Scanner::default();
    for key in [KEY, NEW_KEY] {
        let bytes: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap())
            .collect();
        scanner.add_text("index key", &bytes);
    }
    server.stop().await;
    let mut report = scanner.scan_folder(&place.home.data()).unwrap();
    report
        .finds
        .extend(scanner.scan(&fs::read(place.home.log()).unwrap(), 5));
    assert!(report.finds.is_empty(), "{:?}", report.finds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_is_taken_up_again() {
    let rounds: usize = std::env::var("SEALDEX_ROTATION_ROUNDS").map_or(4, |given| given.parse().unwrap());
    let mut random = Random::from_clock("rotation rounds", "SEALDEX_ROTATION_SEED");
    let home = Home::new().with_variable("SEALDEX_ROTATION_MIB_PER_SECOND", "1");
    let mut server = home.start().await;
    let base = clumped(&mut random, BASE_ITEMS, 100, DIMENSION);
    let mut life = Life::begin(&server, "rotated", base, DIMENSION, 2, &mut random).await;
    let (mut begun, mut seen) = (0, std::collections::BTreeMap::new());
    for round in 0..rounds {
        let http = server.http.clone();
        let writing = life.start_writing();
        // Some rotations are killed several times, others once: so that every phase is met.
        if random.chance(60) {
            finished(&http, "rotated").await;
        }
        if status(&http, "rotated").await["rotating"] == false {
            let body = json!({"index_key": life.index.key, "epoch": true});
            assert_eq!(rotate(&http, "rotated", body).await.0, 200);
            begun += 1;
        }
        tokio::time::sleep(Duration::from_micros(random.below(1_500_000) as u64)).await;
        let at = status(&http, "rotated").await;
        *seen.entry(at["phase"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        server.kill();
        let mut writers = Vec::new();
        for task in writing {
            writers.push(task.await.expect("a writer found a fault"));
        }
        server = home.start().await;
        life.take_back(&mut writers);
        life.check(&server, round, &mut random).await;
    }
    assert!(begun > 0);
    let met: usize = seen
        .iter()
        .filter(|(phase, _)| *phase != "none")
        .map(|(_, times)| times)
        .sum();
    assert!(
        rounds < 10 || 3 * met > rounds,
        "too few kills met a rotation: {seen:?}"
    );
    assert_eq!(finished(&server.http, "rotated").await, begun + 1);
    life.check_base_whole().await;
    life.check(&server, rounds, &mut random).await;
    server.stop().await;
    let server = home.start().await;
    life.check(&server, rounds, &mut random).await;
    let acknowledged = life.acknowledged();
    println!(
        "{rounds} kills in {begun} rotations, when they were {seen:?}; {acknowledged} acknowledged writes, none lost"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_of_before_is_refused_beside_the_log_of_now() {
    let place = Place::new();
    let mut random = Random::new(12);
    let (server, root) = place.start().await;
    let base = items(&mut random, 600);
    let owner = filled(&root, "movies", &base).await;
    owner.train().await;
    owner.upsert(&base[..50]).await;
    let (revoked_id, _) = user(&server, &root, &owner, Some(KEY), &["read", "write"]).await;
    server.stop().await;
    // What somebody has who kept a backup of the catalogue, and the index key of then.
    let catalog = place.home.data().join("catalog");
    assert!(
        catalog.is_dir(),
        "{:?}",
        fs::read_dir(place.home.data()).unwrap().collect::<Vec<_>>()
    );
    let backup = place.folder.path().join("catalog");
    folder::copy(&catalog, &backup);

    let (server, root) = place.start().await;
    let owner = owner.through(&root);
    revoke(&root, &revoked_id).await;
    let body = json!({"index_key": KEY, "epoch": true, "new_index_key": NEW_KEY});
    assert_eq!(rotate(&root, "movies", body).await.0, 200);
    assert_eq!(finished(&root, "movies").await, 2);
    let owner = Index {
        key: NEW_KEY.to_owned(),
        ..owner
    };
    owner.upsert(&base[50..60]).await;
    assert_whole(&owner, &base).await;
    server.stop().await;

    let current = place.folder.path().join("current");
    folder::copy(&catalog, &current);
    fs::remove_dir_all(&catalog).unwrap();
    folder::copy(&backup, &catalog);
    let refused = place.home.try_start().await.err();
    let refused = refused.expect("the log has gone on without this catalogue");
    assert!(
        refused.said.contains("the state lacks what was purged"),
        "{}",
        refused.said
    );

    fs::remove_dir_all(&catalog).unwrap();
    folder::copy(&current, &catalog);
    let (_server, root) = place.start().await;
    assert_whole(&owner.through(&root), &base).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else_can_be_done_while_an_index_is_rotated() {
    let place = Place::new();
    let mut random = Random::new(13);
    let (server, root) = place.start().await;
    let base = items(&mut random, BASE_ITEMS);
    let owner = filled(&root, "movies", &base).await;
    let (revoked_id, revoked) = user(&server, &root, &owner, Some(KEY), &["read", "write"]).await;
    let (_, reader) = user(&server, &root, &owner, Some(KEY), &["read"]).await;
    filled(&root, "other", &base[..2_500]).await;
    for name in ["movies", "other"] {
        let body = json!({"index_key": KEY, "epoch": true});
        assert_eq!(rotate(&root, name, body).await.0, 200);
    }
    resealing(&root, "movies").await;
    resealing(&root, "other").await;

    // Users come and go.
    let (_, made) = user(&server, &root, &owner, Some(KEY), &["read", "write"]).await;
    made.upsert(&base[..3]).await;
    assert_whole(&made, &base[..500]).await;
    assert_whole(&reader, &base[..500]).await;
    revoke(&root, &revoked_id).await;
    assert_shut_out(&revoked).await;
    // An index that is rotated can be deleted, and its name used again.
    Index::new(&root, "other", KEY)
        .must("indexes/delete", json!({}))
        .await;
    let again = filled(&root, "other", &base[..10]).await;
    assert_eq!(status(&root, "other").await["rotating"], false);
    assert_whole(&again, &base[..10]).await;
    // The key is exchanged, and the index trained; in the next rotation, if this one was quick.
    if status(&root, "movies").await["rotating"] == false {
        let body = json!({"index_key": KEY, "epoch": true});
        assert_eq!(rotate(&root, "movies", body).await.0, 200);
    }
    let body = json!({"index_key": KEY, "new_kms_name": "one"});
    assert_eq!(rotate(&root, "movies", body).await.0, 200);
    let trained = root
        .post("/v1/indexes/train", &json!({"index_name": "movies"}))
        .await
        .unwrap();
    assert_eq!(trained.status, 200, "{}", trained.text());
    assert!(finished(&root, "movies").await >= 2);
    for index in [&made, &reader] {
        assert_whole(index, &base).await;
        assert_eq!(index.query(&base[9].vector, 1, json!({})).await[0].id, "base9");
    }
    assert_shut_out(&revoked).await;
    made.upsert(&base[..3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_a_slot_goes_on_by_itself_after_a_crash_unless_its_key_is_pulled() {
    let place = Place::new();
    let mut random = Random::new(14);
    let (server, root) = place.start().await;
    let base = items(&mut random, BASE_ITEMS);
    filled(&root, "movies", &base).await;
    let begin = json!({"index_key": KEY, "epoch": true, "new_kms_name": "one"});
    assert_eq!(rotate(&root, "movies", begin).await.0, 200);
    resealing(&root, "movies").await;
    server.kill();
    let key = place.folder.path().join("one.key");
    fs::rename(&key, key.with_extension("gone")).unwrap();
    let (server, root) = place.start().await;
    let waiting = status(&root, "movies").await;
    assert_eq!(
        (&waiting["phase"], &waiting["rotating"]),
        (&json!("waiting_for_key"), &json!(true)),
        "{waiting}"
    );
    server.kill();
    fs::rename(key.with_extension("gone"), &key).unwrap();
    let (_server, root) = place.start().await;
    // Nobody asks anything of the index.
    assert_eq!(finished(&root, "movies").await, 2);
    let index = Index::new(&root, "movies", "");
    assert_whole(&index, &base).await;
}
