//! What can be read between the nodes of a deployment and on their disks, by somebody who has every key of TLS: nothing that a client
//! entrusted to it.

#![allow(clippy::unwrap_used)]

mod tap;

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::random::Random;
use sealdex_tests::scanner::Scanner;
use serde_json::json;
use std::time::{Duration, Instant};
use tap::{Captured, Tap};

const KEY: &str = "9f3b1ce57d2a4860b7e1f0c3a5d8926e41b7c09dfe8235a64c1d7be8f02a9354";
const DIMENSION: usize = 32;
const ITEMS: usize = 1_500;

/// What a snapshot brings to a node that joins, at least.
const SNAPSHOT_BYTES_MIN: u64 = 300_000;

/// Items of which every part is looked for.
fn canaries(random: &mut Random, scanner: &mut Scanner) -> Vec<Item> {
    let mut text = |what: &str, n: usize| {
        let text = format!("{what}{n}x{}", random.hex(12));
        scanner.add_text(what, text.as_bytes());
        text
    };
    let texts: Vec<[String; 3]> = (0..ITEMS)
        .map(|n| ["identifier", "metadata", "contents"].map(|what| text(what, n)))
        .collect();
    let items = texts.into_iter().map(|[id, metadata, contents]| {
        let vector = random.vector(DIMENSION);
        scanner.add_vector("vector", &vector);
        Item::bare(id, vector)
            .with_metadata(json!({"tag": metadata}))
            .with_contents(contents)
    });
    items.collect()
}

/// Every kind of call to shards.
async fn live(index: &Index, items: &[Item], random: &mut Random, scanner: &mut Scanner) {
    let (first, second) = items.split_at(ITEMS / 3);
    index.upsert(first).await;
    index.upsert_binary(second).await;
    for stage in ["untrained", "trained"] {
        let query = random.vector(DIMENSION);
        scanner.add_vector("query", &query);
        let tag = &items[7].metadata["tag"];
        let filtered = index.query(&query, 5, json!({"filters": {"tag": tag}})).await;
        assert_eq!(filtered[0].id, items[7].id, "{stage}");
        for item in items.iter().step_by(100) {
            assert_eq!(
                index.query(&item.vector, 3, json!({})).await[0].id,
                item.id,
                "{stage}"
            );
        }
        let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
        assert_eq!(index.get(&ids[..300]).await.len(), 300);
        assert_eq!(index.ids().await.len(), ITEMS);
        index.delete(&ids[..10]).await;
        index.upsert(&items[..10]).await;
        index.train().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_readable_is_between_the_nodes_or_on_their_disks() {
    let mut nodes = Nodes::new(2, 3).with_variable("SEALDEX_EXPECTED_SHARDS", "2");
    let (coordinators, shards) = (nodes.all(Kind::Coordinator), nodes.all(Kind::Shard));
    let captured = Captured::default();
    let all = [&coordinators[..], &shards].concat();
    let names: Vec<String> = all.iter().map(|n| nodes.name(*n).to_owned()).collect();
    for n in &all {
        let port = nodes.advertise_elsewhere(*n);
        let certs = nodes.folder().join("certs");
        let tap = Tap::new(&certs, nodes.name(*n), nodes.peer_port(*n), &names, &captured);
        tap.listen(port).await;
    }
    // The last one joins later, and gets what is there as snapshots.
    for n in &all[..all.len() - 1] {
        nodes.start(*n);
    }
    // The second one has its changes of the metadata made by the first, or the other way round.
    for n in &coordinators {
        nodes.usable(*n).await;
    }
    let second = coordinators[1];

    let mut random = Random::from_clock("captured canaries", "SEALDEX_CAPTURE_SEED");
    let mut scanner = Scanner::default();
    scanner.add_text("index key", &bytes_of_hex(KEY));
    let items = canaries(&mut random, &mut scanner);
    let index = Index::create(
        &nodes.http(second),
        "tapped",
        KEY,
        json!({"dimension": DIMENSION}),
    )
    .await;
    live(&index, &items, &mut random, &mut scanner).await;
    nodes.start(shards[2]);
    let given_up = Instant::now() + Duration::from_secs(120);
    while bytes_under(&nodes.data(shards[2])) < SNAPSHOT_BYTES_MIN {
        assert!(Instant::now() < given_up, "the third shard node gets nothing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    index.query(&items[99].vector, 5, json!({})).await;

    let streams = captured.lock().unwrap();
    let bytes: usize = streams.iter().map(Vec::len).sum();
    let begun = streams
        .iter()
        .filter(|bytes| bytes.starts_with(b"PRI * HTTP/2.0"))
        .count();
    assert!(
        begun >= 3 && bytes > 1_000_000,
        "{begun} connections, {bytes} bytes"
    );
    for stream in streams.iter() {
        let finds = scanner.scan(stream, 9);
        assert!(finds.is_empty(), "between the nodes: {finds:?}");
    }
    let report = scanner.scan_folder(nodes.folder()).unwrap();
    assert!(report.finds.is_empty(), "on disk or in a log: {:?}", report.finds);
    println!(
        "{} connections, {bytes} bytes under TLS; {} files, {} bytes of disks and logs: nothing readable",
        streams.len() / 2,
        report.files,
        report.bytes
    );

    // The same eyes find what is there.
    let longest = streams.iter().max_by_key(|bytes| bytes.len()).unwrap();
    let planted = [&longest[..5_000], items[3].id.as_bytes(), &longest[5_000..6_000]].concat();
    assert!(!scanner.scan(&planted, 9).is_empty());
}

fn bytes_under(folder: &std::path::Path) -> u64 {
    let files = sealdex_tests::scanner::files_under(folder).unwrap_or_default();
    let sizes = files.iter().filter_map(|file| std::fs::metadata(file).ok());
    sizes.map(|about| about.len()).sum()
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}
