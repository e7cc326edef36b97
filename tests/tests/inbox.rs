//! What users write who may not read: seen by every reader at once and exactly, replaced and deleted like everything else, taken into
//! the index while it is used, through trainings and kills. `SEALDEX_INBOX_ROUNDS` sets the number of kills.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::oracle::{METRICS, fault, nearest};
use sealdex_tests::random::Random;
use sealdex_tests::server::{Home, Server};
use sealdex_tests::users::{ROOT, as_user, caller, make_user, with_users};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const DIMENSION: usize = 24;

/// An index with its owner, a user who may only write, and one who may only read.
struct Shared {
    owner: Index,
    writer: String,
    reader: String,
}

impl Shared {
    async fn create(server: &Server, name: &str, key: &str, settings: Value) -> Self {
        let root = caller(server, ROOT);
        let owner = Index::new(&root, name, key);
        owner.must("indexes/create", settings).await;
        let writer = make_user(&owner, &["write"]).await;
        let reader = make_user(&owner, &["read"]).await;
        Self {
            owner,
            writer,
            reader,
        }
    }

    fn owner(&self, server: &Server) -> Index {
        self.owner.through(&caller(server, ROOT))
    }

    fn writer(&self, server: &Server) -> Index {
        as_user(server, &self.owner.name, &self.writer)
    }

    fn reader(&self, server: &Server) -> Index {
        as_user(server, &self.owner.name, &self.reader)
    }
}

/// Numbers that float16 holds exactly.
fn vector(random: &mut Random) -> Vec<f32> {
    (0..DIMENSION)
        .map(|_| random.below(64) as f32 / 8.0 - 4.0)
        .collect()
}

fn item(random: &mut Random, id: &str, version: u64) -> Item {
    let parity = if version.is_multiple_of(2) { "even" } else { "odd" };
    let item = Item::bare(id, vector(random)).with_metadata(json!({"version": version, "parity": parity}));
    match version % 3 {
        0 => item,
        _ => item.with_contents(format!("contents {version} of {id}")),
    }
}

fn items(random: &mut Random, ids: std::ops::Range<u64>, version: u64) -> Vec<Item> {
    ids.map(|n| item(random, &format!("i{n}"), version + n)).collect()
}

/// Everything a reader can ask tells of exactly `expected`.
async fn check(index: &Index, metric: &str, expected: &BTreeMap<String, Item>, random: &mut Random) {
    let ids: Vec<String> = expected.keys().cloned().collect();
    assert_eq!(index.ids().await, ids);
    assert_eq!(index.count().await, ids.len() as u64);
    let found = by_id(index.get(&ids).await);
    for (id, item) in expected {
        assert!(found[id].is_same_as(item), "{:?} is not {item:?}", found[id]);
    }
    for filter in [
        json!({}),
        json!({"parity": "odd"}),
        json!({"version": {"$gte": 40}}),
    ] {
        let matches = |item: &&Item| match filter.as_object().unwrap().iter().next() {
            None => true,
            Some((field, Value::String(text))) => item.metadata[field] == *text,
            Some((field, _)) => item.metadata[field].as_u64().unwrap() >= 40,
        };
        let query = vector(random);
        let truth = nearest(metric, expected.values().filter(matches), &query, 10);
        let found = index.query(&query, 10, json!({"filters": filter})).await;
        let fault = fault(metric, &found, &query, |id| expected.get(id));
        assert_eq!(fault, None, "{metric} {filter}");
        let of = |hits: Vec<&str>| hits.into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            of(found.iter().map(|hit| hit.id.as_str()).collect()),
            of(truth.iter().map(|(_, item)| item.id.as_str()).collect()),
            "{metric} {filter}"
        );
        for hit in &found {
            assert_eq!(hit.metadata, Value::Object(expected[&hit.id].metadata.clone()));
        }
    }
    let queries: Vec<Vec<f32>> = (0..5).map(|_| vector(random)).collect();
    let batch = index.query_batch(&queries, 7, json!({})).await;
    for (query, found) in queries.iter().zip(batch) {
        let truth = nearest(metric, expected.values(), query, 7);
        let ids: Vec<&str> = found.iter().map(|hit| hit.id.as_str()).collect();
        assert_eq!(
            ids,
            truth.iter().map(|(_, item)| item.id.as_str()).collect::<Vec<_>>()
        );
    }
    let all = json!({"query_vectors": vector(random), "top_k": 3, "include": ["vector", "contents", "metadata", "distance"]});
    for row in index.must("vectors/query", all).await["results"]
        .as_array()
        .unwrap()
    {
        let whole = Item::from_json(row).unwrap();
        assert!(whole.is_same_as(&expected[&whole.id]));
    }
}

/// Waits until nothing waits any more, which nobody can see but in the server's files: long enough for several promotions.
async fn let_it_be_promoted(owner: &Index) {
    for _ in 0..3 {
        owner.count().await;
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_at_once_and_exactly_what_was_written_by_who_may_not_read() {
    let home = with_users(Home::new());
    let mut server = home.start().await;
    let mut random = Random::from_clock("inbox", "SEALDEX_INBOX_SEED");
    let mut lives = Vec::new();
    for (n, metric) in METRICS.into_iter().enumerate() {
        let precision = ["float32", "float16"][n % 2];
        let settings = json!({"metric": metric, "storage_precision": precision});
        let shared = Shared::create(&server, metric, KEY, settings).await;
        let (writer, reader) = (shared.writer(&server), shared.reader(&server));
        let mut expected = BTreeMap::new();
        // The index's very first items, before it has a dimension.
        let first = items(&mut random, 0..30, 0);
        let answer = writer.upsert(&first).await;
        assert_eq!(
            answer,
            json!({"status": "success", "message": "Upserted 30 vectors"})
        );
        expected.extend(by_id(first));
        check(&reader, metric, &expected, &mut random).await;
        // Of an id that comes twice in a request the last wins; a replaced item is gone whole.
        let second = items(&mut random, 20..60, 100);
        writer
            .upsert_binary(&[second.clone(), second[..5].to_vec()].concat())
            .await;
        expected.extend(by_id(second));
        check(&reader, metric, &expected, &mut random).await;
        let gone: Vec<String> = ["i3", "i25", "i59", "nobody"].map(str::to_owned).to_vec();
        writer.delete(&gone).await;
        expected.retain(|id, _| !gone.contains(id));
        check(&reader, metric, &expected, &mut random).await;
        lives.push((shared, metric, expected));
    }
    server.kill();
    server = home.start().await;
    for (shared, metric, expected) in &mut lives {
        let (owner, writer, reader) = (
            shared.owner(&server),
            shared.writer(&server),
            shared.reader(&server),
        );
        check(&reader, metric, expected, &mut random).await;
        // From here on the owner uses it too, and it is promoted.
        check(&owner, metric, expected, &mut random).await;
        let_it_be_promoted(&owner).await;
        check(&reader, metric, expected, &mut random).await;
        for (index, ids, version) in [
            (&writer, 10..40, 200),
            (&owner, 20..70, 300),
            (&writer, 35..80, 400),
        ] {
            let written = items(&mut random, ids, version);
            index.upsert(&written).await;
            expected.extend(by_id(written));
            check(&reader, metric, expected, &mut random).await;
        }
        writer.delete(&["i36".to_owned(), "i5".to_owned()]).await;
        expected.remove("i36");
        expected.remove("i5");
        check(&reader, metric, expected, &mut random).await;
    }
    server.stop().await;
    server = home.start().await;
    for (shared, metric, expected) in &mut lives {
        check(&shared.owner(&server), metric, expected, &mut random).await;
        check(&shared.reader(&server), metric, expected, &mut random).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_takes_in_what_waits_and_is_not_held_up_by_what_comes() {
    let home = with_users(Home::new());
    let server = home.start().await;
    let mut random = Random::from_clock("inbox training", "SEALDEX_INBOX_SEED");
    let shared = Shared::create(&server, "trained", KEY, json!({"metric": "euclidean"})).await;
    let (owner, writer, reader) = (
        shared.owner(&server),
        shared.writer(&server),
        shared.reader(&server),
    );
    // Nothing to be trained, and nothing that could be: no error either.
    owner.train().await;
    let first = items(&mut random, 0..600, 0);
    writer.upsert_binary(&first).await;
    let mut expected = by_id(first);
    let training = {
        let owner = owner.clone();
        tokio::spawn(async move { owner.train().await })
    };
    let mut n = 600;
    while !training.is_finished() || n < 660 {
        let more = items(&mut random, n..n + 20, 0);
        writer.upsert(&more).await;
        expected.extend(by_id(more));
        n += 20;
    }
    training.await.unwrap();
    let described = owner.describe().await;
    assert_eq!(
        (&described["is_trained"], &described["dimension"]),
        (&json!(true), &json!(DIMENSION))
    );
    let all_clusters = described["n_lists"].clone();
    for _ in ["waiting", "promoted"] {
        for item in expected.values().step_by(37) {
            let found = reader
                .query(&item.vector, 1, json!({"n_probes": all_clusters}))
                .await;
            assert_eq!((found[0].id.as_str(), found[0].distance), (item.id.as_str(), 0.0));
        }
        assert_eq!(reader.count().await, expected.len() as u64);
        let_it_be_promoted(&owner).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_upserts_of_both_kinds_settle_on_one_dimension() {
    let home = with_users(Home::new());
    let server = home.start().await;
    for round in 0..12 {
        let name = format!("first{round}");
        let shared = Shared::create(&server, &name, KEY, json!({})).await;
        let (owner, writer, reader) = (
            shared.owner(&server),
            shared.writer(&server),
            shared.reader(&server),
        );
        let other = if round % 2 == 0 {
            vec![1.0, 2.0]
        } else {
            vec![1.0, 2.0, 3.0]
        };
        let write = |index: Index, id: &'static str, vector: Vec<f32>| async move {
            let items = json!({"items": [Item::bare(id, vector).to_json()]});
            index.call("vectors/upsert", items).await.unwrap().status
        };
        let both = tokio::join!(write(writer, "w", vec![3.0, 4.0]), write(owner, "o", other));
        let expected = match (round % 2, both) {
            (0, (200, 200)) => vec!["o", "w"],
            (1, (200, 400)) => vec!["w"],
            (1, (400, 200)) => vec!["o"],
            other => panic!("{other:?}"),
        };
        assert_eq!(reader.ids().await, expected);
        let dimension = if expected == ["o"] && round % 2 == 1 { 3 } else { 2 };
        let found = reader.query(&vec![0.0; dimension], 5, json!({})).await;
        assert_eq!(found.len(), expected.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_inbox_names_the_cure_and_the_cure_works() {
    let home = with_users(Home::new());
    let server = home.start().await;
    let shared = Shared::create(&server, "full", KEY, json!({"dimension": 2})).await;
    let writer = shared.writer(&server);
    let batch = |from: u64| -> Vec<Item> {
        let item = |n| Item::bare(format!("i{n}"), vec![n as f32, 1.0]);
        (from..from + 4_000).map(item).collect()
    };
    for from in (0..20_000).step_by(4_000) {
        writer.upsert_binary(&batch(from)).await;
    }
    let one_more = || json!({"items": [{"id": "one more", "vector": [0, 0]}]});
    let refused = writer.call("vectors/upsert", one_more()).await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.headers.contains_key("retry-after"));
    assert!(
        refused.text().contains("somebody who may read and write"),
        "{}",
        refused.text()
    );
    let reader = shared.reader(&server);
    assert_eq!(reader.query(&[7.0, 1.0], 1, json!({})).await[0].id, "i7");
    assert_eq!(reader.count().await, 20_000);

    let owner = shared.owner(&server);
    let given_up = Instant::now() + Duration::from_secs(120);
    loop {
        assert_eq!(owner.query(&[19_999.0, 1.0], 1, json!({})).await[0].id, "i19999");
        if writer.call("vectors/upsert", one_more()).await.unwrap().status == 200 {
            break;
        }
        assert!(
            Instant::now() < given_up,
            "the inbox stays full although its index is used"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(reader.count().await, 20_001);
    let too_many = json!({"batch": {
        "ids": (0..20_001).map(|n| n.to_string()).collect::<Vec<_>>(),
        "vectors_b64": sealdex_tests::index::base64_of(vec![vec![1.0f32, 2.0]; 20_001].iter()),
        "dimension": 2,
    }});
    let refused = writer.call("vectors/upsert_binary", too_many).await.unwrap();
    assert_eq!(refused.status, 413, "{}", refused.text());
}

/// A place whose servers wrap index keys by a key file, so that they can promote by themselves.
fn with_slot(folder: &std::path::Path) -> Home {
    let (key, yaml) = (folder.join("slot.key"), folder.join("sealdex.yaml"));
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let slot = format!(
        "kms:\n  registry:\n    slot:\n      provider: local\n      key_file: {}\n",
        key.display()
    );
    fs::write(&yaml, slot).unwrap();
    with_users(Home::new()).with_variable("SEALDEX_CONFIG_FILE", yaml.to_str().unwrap())
}

/// Items that one writer replaces and deletes, and what it knows of each: the last version that was acknowledged, the last that was
/// sent. A deletion is an odd version.
struct Ledger {
    acknowledged: Vec<AtomicU64>,
    sent: Vec<AtomicU64>,
}

const LEDGER_ITEMS: usize = 60;
/// The first of them are replaced, never deleted.
const STEADY_ITEMS: usize = 20;

impl Ledger {
    fn new() -> Self {
        let zeros = || (0..LEDGER_ITEMS).map(|_| AtomicU64::new(0)).collect();
        Self {
            acknowledged: zeros(),
            sent: zeros(),
        }
    }

    /// Writes through `index` until told to stop or it gets no answer.
    async fn write(&self, index: &Index, share: usize, stop: &AtomicBool, random: &mut Random) {
        while !stop.load(Ordering::Relaxed) {
            let n = random.below(LEDGER_ITEMS / 2) * 2 + share;
            let deletes = n >= STEADY_ITEMS && random.chance(30);
            let next = self.sent[n].load(Ordering::SeqCst) / 2 * 2 + if deletes { 3 } else { 2 };
            self.sent[n].store(next, Ordering::SeqCst);
            let reply = if deletes {
                index.call("vectors/delete", json!({"ids": [id(n)]})).await
            } else {
                let item = version(n, next);
                index
                    .call("vectors/upsert", json!({"items": [item.to_json()]}))
                    .await
            };
            match reply {
                Ok(reply) if reply.status == 200 => self.acknowledged[n].store(next, Ordering::SeqCst),
                Ok(reply) if reply.status == 503 => {}
                Ok(reply) => panic!("{}: {}", reply.status, reply.text()),
                Err(_) => return,
            }
        }
    }

    fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged
            .iter()
            .map(|version| version.load(Ordering::SeqCst))
            .collect()
    }

    /// What was read of item `n` is what was acknowledged before it was read, or something later.
    fn judge(&self, n: usize, before: u64, read: Option<u64>) {
        let sent = self.sent[n].load(Ordering::SeqCst);
        let allowed = |version: u64| (before..=sent).contains(&version);
        let right = match read {
            Some(version) => version % 2 == 0 && allowed(version),
            None => n >= STEADY_ITEMS && (before % 2 == 1 || before == 0 || sent > before) || before == 0,
        };
        assert!(
            right,
            "item {n} was read as {read:?}, acknowledged {before} before, sent up to {sent}"
        );
    }
}

fn id(n: usize) -> String {
    format!("i{n:02}")
}

fn number(id: &str) -> usize {
    id[1..].parse().unwrap()
}

fn version(n: usize, version: u64) -> Item {
    Item::bare(id(n), vec![n as f32, (version % 100) as f32])
        .with_metadata(json!({"version": version, "n": n}))
}

fn read_version(metadata: &Value) -> u64 {
    metadata["version"].as_u64().unwrap()
}

async fn read_and_judge(index: &Index, ledger: &Ledger, random: &mut Random) {
    let before = ledger.acknowledged();
    let everything = random.chance(50);
    let vector = [random.below(LEDGER_ITEMS) as f32, random.below(100) as f32];
    let filtered = random.chance(50);
    let filter = if filtered {
        json!({"n": {"$gte": 0}})
    } else {
        json!({})
    };
    let top_k = if everything { 5_000 } else { 3 };
    let mut found = index.query(&vector, top_k, json!({"filters": filter})).await;
    found.retain(|hit| !hit.id.starts_with("bulk"));
    let mut versions = BTreeMap::new();
    for hit in &found {
        let read = read_version(&hit.metadata);
        assert!(
            versions.insert(number(&hit.id), read).is_none(),
            "{} twice",
            hit.id
        );
        let exact =
            sealdex_tests::oracle::distance("euclidean", &version(number(&hit.id), read).vector, &vector);
        assert!(sealdex_tests::oracle::is_close(hit.distance, exact));
    }
    for (n, before) in before.iter().enumerate() {
        let read = versions.get(&n).copied();
        if everything || read.is_some() {
            ledger.judge(n, *before, read);
        }
    }
    let before = ledger.acknowledged();
    let asked: Vec<String> = (0..LEDGER_ITEMS).map(id).collect();
    let got = by_id(index.get(&asked).await);
    let listed = index.ids().await;
    for (n, before) in before.iter().enumerate() {
        let read = got
            .get(&id(n))
            .map(|item| read_version(&Value::Object(item.metadata.clone())));
        ledger.judge(n, *before, read);
        if n < STEADY_ITEMS && *before > 0 {
            assert!(listed.contains(&id(n)), "{} is not listed", id(n));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_deleted_and_promoted_at_once_no_reader_sees_an_old_version_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let home = with_slot(folder.path());
    let server = home.start().await;
    let mut random = Random::from_clock("inbox races", "SEALDEX_INBOX_SEED");
    // One whose key a KMS keeps, promoted by the server itself; one that is promoted as its owner uses it.
    let by_server = Shared::create(
        &server,
        "by-server",
        "",
        json!({"dimension": 2, "kms_name": "slot"}),
    )
    .await;
    let by_owner = Shared::create(&server, "by-owner", KEY, json!({"dimension": 2})).await;
    let mut tasks = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    for shared in [&by_server, &by_owner] {
        let ledger = Arc::new(Ledger::new());
        for share in 0..2 {
            // The second writer is the owner: ordinary writes among the others.
            let index = if share == 0 {
                shared.writer(&server)
            } else {
                shared.owner(&server)
            };
            let (ledger, stop, seed) = (ledger.clone(), stop.clone(), random.word());
            tasks.push(tokio::spawn(async move {
                ledger.write(&index, share, &stop, &mut Random::new(seed)).await;
            }));
        }
        for index in [shared.reader(&server), shared.owner(&server)] {
            let (ledger, stop, reads, seed) = (ledger.clone(), stop.clone(), reads.clone(), random.word());
            tasks.push(tokio::spawn(async move {
                let mut random = Random::new(seed);
                while !stop.load(Ordering::Relaxed) {
                    read_and_judge(&index, &ledger, &mut random).await;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    by_owner.owner(&server).train().await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    println!("{} rounds of reading", reads.load(Ordering::Relaxed));
    assert!(reads.load(Ordering::Relaxed) > 20, "too little was read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_in_a_promotion_loses_nothing_and_doubles_nothing() {
    let rounds: usize = std::env::var("SEALDEX_INBOX_ROUNDS").map_or(6, |given| given.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let home = with_slot(folder.path());
    let mut random = Random::from_clock("inbox kills", "SEALDEX_INBOX_SEED");
    let mut server = home.start().await;
    let shared = Shared::create(&server, "killed", "", json!({"dimension": 2, "kms_name": "slot"})).await;
    let ledger = Arc::new(Ledger::new());
    for round in 0..rounds {
        // Many at once, so that a promotion takes a while.
        let bulk: Vec<Item> = (0..1_500)
            .map(|n| Item::bare(format!("bulk{n}"), vec![n as f32, -1.0 - round as f32]))
            .collect();
        shared.writer(&server).upsert_binary(&bulk).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writing: Vec<_> = (0..2)
            .map(|share| {
                let (ledger, stop, seed) = (ledger.clone(), stop.clone(), random.word());
                let index = shared.writer(&server);
                tokio::spawn(async move { ledger.write(&index, share, &stop, &mut Random::new(seed)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(450 + random.below(500) as u64)).await;
        server.kill();
        for task in writing {
            task.await.unwrap();
        }
        server = home.start().await;
        let reader = shared.reader(&server);
        read_and_judge(&reader, &ledger, &mut random).await;
        let query = [700.0, -1.0 - round as f32];
        let found = reader
            .query(&query, 1, json!({"filters": {"n": {"$exists": false}}}))
            .await;
        assert_eq!((found[0].id.as_str(), found[0].distance), ("bulk700", 0.0));
        let ids = reader.ids().await;
        assert_eq!(reader.count().await, ids.len() as u64);
        assert_eq!(ids.iter().filter(|id| id.starts_with("bulk")).count(), 1_500);
    }
    let owner = shared.owner(&server);
    let_it_be_promoted(&owner).await;
    owner.train().await;
    for index in [owner, shared.reader(&server)] {
        let ids = index.ids().await;
        let all = index
            .query(&[0.0, 0.0], ids.len() * 2, json!({"n_probes": 10_000}))
            .await;
        let mut found: Vec<String> = all.into_iter().map(|hit| hit.id).collect();
        found.sort();
        assert_eq!(found, ids, "each item once");
        read_and_judge(&index, &ledger, &mut random).await;
    }
}
