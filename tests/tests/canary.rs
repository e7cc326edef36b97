//! Nothing that a client entrusts to the server can be read on its disk or in its logs: no id, vector, metadata, contents or key, in
//! any form that the scanner knows. The same scanner finds a canary that is planted beside the data.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::scanner::{Scanner, forms, vector_forms};
use sealdex_tests::server::Home;
use sealdex_tests::users::{ROOT, as_user, caller, make_user, with_users};
use serde_json::{Map, Value, json};

const DIMENSION: usize = 48;
const BASE_ITEMS: usize = 10_200;
/// Items whose every part is looked for.
const CANARIES: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_readable_reaches_disk_or_log() {
    let mut home = with_users(Home::new());
    for name in [
        "RUST_LOG",
        "SEALDEX_LOG",
        "SEALDEX_LOG_LEVEL",
        "CYBORGDB_SERVICE_LOG_LEVEL",
    ] {
        home = home.with_variable(name, "trace");
    }
    let mut random = Random::from_clock("canaries", "SEALDEX_CANARY_SEED");
    let server = home.start().await;
    let mut scanner = Scanner::default();
    for precision in ["float32", "float16"] {
        let key = random.hex(32);
        scanner.add_text("index key", &bytes_of_hex(&key));
        let canaries = canaries(&mut random);
        for item in &canaries {
            expect_nowhere(&mut scanner, item);
        }
        let settings = json!({"dimension": DIMENSION, "storage_precision": precision});
        let root = caller(&server, ROOT);
        let index = Index::create(&root, &index_name(precision), &key, settings).await;
        live_through_everything(&index, &canaries, &mut random, &mut scanner).await;
        // Last of all, by who may not read: nobody comes who may, so that it waits while it is looked for.
        let token = make_user(&index, &["write"]).await;
        scanner.add_text("token", token.as_bytes());
        let writer = as_user(&server, &index.name, &token);
        writer.upsert(&canaries[20..60]).await;
        writer.upsert_binary(&canaries[50..120]).await;
        writer.delete(&[canaries[55].id.clone()]).await;
    }
    // Once while the server runs and its logs are fresh, once after a kill and a restart that read them back.
    assert_clean(&scanner, &home);
    server.kill();
    let server = home.start().await;
    assert_clean(&scanner, &home);
    server.stop().await;
    let swept = assert_clean(&scanner, &home);
    println!("{} files, {} bytes, nothing readable", swept.0, swept.1);
    assert!(
        swept.1 > 4_000_000,
        "only {} bytes were scanned; the data must be elsewhere",
        swept.1
    );
    let requests = std::fs::read_to_string(home.log())
        .unwrap()
        .matches("request_id")
        .count();
    assert!(
        requests > 50,
        "the log tells of {requests} requests only; it is elsewhere, or not at its most talkative"
    );
    an_index_name_is_found(&home);
    a_planted_canary_is_found(&scanner, &home, &mut random);
}

/// Every route with good and bad requests, before a training and after it.
async fn live_through_everything(
    index: &Index,
    canaries: &[Item],
    random: &mut Random,
    scanner: &mut Scanner,
) {
    let base = clumped(random, BASE_ITEMS, 100, DIMENSION);
    let base: Vec<Item> = base
        .into_iter()
        .enumerate()
        .map(|(i, vector)| Item::bare(format!("plain{i}"), vector))
        .collect();
    let (as_json, as_binary) = canaries.split_at(CANARIES / 2);
    index.upsert(as_json).await;
    index.upsert_binary(as_binary).await;
    index.upsert_binary(&base).await;
    for _ in ["untrained", "trained"] {
        let query = random.vector(DIMENSION);
        scanner.add_vector("query vector", &query);
        let value = random_text(random);
        scanner.add_text("filter operand", value.as_bytes());
        index
            .query(
                &query,
                20,
                json!({"filters": {"$or": [{"kind": "canary"}, {"kind": value}]}}),
            )
            .await;
        index.query(&canaries[3].vector, 20, json!({})).await;
        index
            .get(&canaries.iter().map(|item| item.id.clone()).collect::<Vec<_>>())
            .await;
        index.ids().await;
        index.delete(&[canaries[5].id.clone()]).await;
        index.upsert(&canaries[..10]).await;
        provoke_errors(index, &canaries[7], random, scanner).await;
        index.train().await;
    }
    assert_eq!(index.describe().await["is_trained"], true);
}

/// Requests that fail must leave as little behind as those that succeed.
async fn provoke_errors(index: &Index, canary: &Item, random: &mut Random, scanner: &mut Scanner) {
    let wrong_key = random.hex(32);
    scanner.add_text("wrong key", &bytes_of_hex(&wrong_key));
    let stranger = Index {
        key: wrong_key,
        ..index.clone()
    };
    for body in [
        json!({"items": [canary.to_json(), {"id": canary.id, "vector": [1.0]}]}),
        json!({"items": [canary.to_json(), {"id": canary.id, "vector": "text"}]}),
        json!({"items": canary.to_json()}),
    ] {
        assert!((400..500).contains(&index.call("vectors/upsert", body.clone()).await.unwrap().status));
        assert!((400..500).contains(&stranger.call("vectors/upsert", body).await.unwrap().status));
    }
    let body =
        json!({"query_vectors": canary.vector, "filters": {"kind": {"$regex": format!("({}", canary.id)}}});
    assert_eq!(index.call("vectors/query", body).await.unwrap().status, 400);
    let broken = json!({"index_name": index.name, "index_key": index.key, "ids": [canary.id]}).to_string();
    let reply = index
        .http
        .send(
            hyper::Method::POST,
            "/v1/vectors/get",
            broken[..broken.len() - 1].to_owned().into(),
        )
        .await;
    assert_eq!(reply.unwrap().status, 422);
}

fn canaries(random: &mut Random) -> Vec<Item> {
    (0..CANARIES)
        .map(|_| {
            let mut metadata = Map::new();
            metadata.insert("kind".to_owned(), json!("canary"));
            metadata.insert(random_text(random), json!(random_text(random)));
            metadata.insert("nested".to_owned(), json!({"list": [random_text(random)]}));
            Item {
                id: random_text(random),
                vector: random.vector(DIMENSION),
                metadata,
                contents: format!("{} {}", random_text(random), "padding ".repeat(random.below(40))),
            }
        })
        .collect()
}

fn expect_nowhere(scanner: &mut Scanner, item: &Item) {
    scanner.add_text("id", item.id.as_bytes());
    scanner.add_vector("vector", &item.vector);
    scanner.add_text("contents", &item.contents.as_bytes()[..TEXT_LETTERS]);
    for (name, value) in &item.metadata {
        if name.len() == TEXT_LETTERS {
            scanner.add_text("metadata key", name.as_bytes());
        }
        for text in texts_in(value) {
            scanner.add_text("metadata value", text.as_bytes());
        }
    }
}

fn texts_in(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) if text.len() == TEXT_LETTERS => vec![text],
        Value::Array(list) => list.iter().flat_map(texts_in).collect(),
        Value::Object(fields) => fields.values().flat_map(texts_in).collect(),
        _ => Vec::new(),
    }
}

/// Fails the test if a secret stands in the data directory or the log; says what was scanned.
fn assert_clean(scanner: &Scanner, home: &Home) -> (usize, u64) {
    let mut report = scanner.scan_folder(&home.data()).unwrap();
    let log = std::fs::read(home.log()).unwrap();
    report.finds.extend(scanner.scan(&log, 5));
    assert!(
        report.finds.is_empty(),
        "secrets are readable: {:#?}",
        &report.finds[..report.finds.len().min(20)]
    );
    (report.files + 1, report.bytes + log.len() as u64)
}

/// Names of indexes are no secrets and stand in the catalogue as they are: what is written in the clear is found where it stands.
fn an_index_name_is_found(home: &Home) {
    let mut scanner = Scanner::default();
    scanner.add_text("index name", index_name("float16").as_bytes());
    assert!(
        !scanner.scan_folder(&home.data()).unwrap().finds.is_empty(),
        "the scanner is blind to this data directory"
    );
}

fn index_name(precision: &str) -> String {
    format!("an index of {precision} vectors")
}

/// One file per form of one secret, hidden in noise in the data directory itself.
fn a_planted_canary_is_found(scanner: &Scanner, home: &Home, random: &mut Random) {
    // The seed makes the same canaries again: the scanner alone knows them by now.
    let secret = random_text(random);
    let vector = random.vector(DIMENSION);
    let mut knowing = Scanner::default();
    knowing.add_text("planted", secret.as_bytes());
    knowing.add_vector("planted", &vector);
    assert!(
        knowing.scan_folder(&home.data()).unwrap().finds.is_empty()
            && scanner.scan_folder(&home.data()).unwrap().finds.is_empty()
    );
    let planted = home.data().join("planted.sst");
    let texts = forms(secret.as_bytes());
    let vectors = vector_forms(&vector).map(|(form, bytes, _)| (form.to_owned(), bytes[..16].to_vec()));
    for (form, bytes) in texts.into_iter().chain(vectors) {
        let noise: Vec<u8> = (0..10_000).map(|_| random.word() as u8).collect();
        let at = random.below(noise.len());
        std::fs::write(&planted, [&noise[..at], &bytes, &noise[at..]].concat()).unwrap();
        let finds = knowing.scan_folder(&home.data()).unwrap().finds;
        assert!(
            finds.iter().any(|find| find.file == planted),
            "planted as {form} and not found"
        );
    }
}

const TEXT_LETTERS: usize = 24;

/// Letters and digits that no log line holds by chance.
fn random_text(random: &mut Random) -> String {
    const ALPHABET: &[u8] = b"ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ0123456789";
    (0..TEXT_LETTERS)
        .map(|_| char::from(ALPHABET[random.below(ALPHABET.len())]))
        .collect()
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}
