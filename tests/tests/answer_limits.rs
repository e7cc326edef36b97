//! What one answer may hold: an answer that would be too large is refused by a text that names the cure, and an index of large items
//! is listed and trained all the same.
#![allow(clippy::unwrap_used)]

use sealdex_core::limits;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::server::Home;
use serde_json::{Value, json};

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

async fn refused(index: &Index, route: &str, body: Value, cure: &str) {
    let reply = index.call(route, body).await.unwrap();
    assert_eq!(reply.status, 413, "{route}: {}", reply.text());
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    let limit = format!("{} MiB", limits::ANSWER_BYTES_MAX >> 20);
    assert!(detail.contains(&limit) && detail.contains(cure), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_too_many_vectors_is_refused() {
    let home = Home::new();
    let mut server = home.start().await;
    let dimension = limits::DIMENSION_MAX as usize;
    let index = Index::create(&server.http, "wide", KEY, json!({"dimension": dimension})).await;
    let vectors = clumped(&mut Random::new(3), 1_400, 20, dimension);
    let items: Vec<Item> = vectors
        .into_iter()
        .enumerate()
        .map(|(n, vector)| Item::bare(n.to_string(), vector))
        .collect();
    for part in items.chunks(350) {
        index.upsert_binary(part).await;
    }
    let query = &items[7].vector;
    for trained in [false, true] {
        if trained {
            index.train().await;
        }
        let ask = |top_k: usize, include: Value| json!({"query_vectors": query, "top_k": top_k, "include": include});
        refused(
            &index,
            "vectors/query",
            ask(100_000, json!(["vector"])),
            "lower top_k",
        )
        .await;
        let filtered = json!({"query_vectors": query, "top_k": 100_000, "include": ["vector"], "filters": {"none": {"$exists": false}}});
        refused(&index, "vectors/query", filtered, "lower top_k").await;
        let all = index
            .must("vectors/query", ask(100_000, json!(["distance", "metadata"])))
            .await;
        assert_eq!(all["results"].as_array().unwrap().len(), items.len());
        let few = index.must("vectors/query", ask(20, json!(["vector"]))).await;
        assert_eq!(few["results"][0]["vector"].as_array().unwrap().len(), dimension);
        let ids: Vec<&String> = items.iter().map(|item| &item.id).collect();
        refused(&index, "vectors/get", json!({"ids": ids}), "fewer ids").await;
        // Larger than a page, all of it.
        assert_eq!(index.ids().await.len(), items.len());
    }
    assert_eq!(index.describe().await["is_trained"], true);
    let hits = index.query(query, 1, json!({})).await;
    assert_eq!(hits[0].id, "7");
    server.assert_alive();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_too_much_text_is_refused() {
    let home = Home::new();
    let mut server = home.start().await;
    let index = Index::create(&server.http, "long", KEY, json!({"dimension": 2})).await;
    let long = "x".repeat(limits::CONTENTS_BYTES_MAX);
    let item = Item::bare("long", vec![1.0, 2.0]).with_contents(long);
    index.upsert(&[item, Item::bare("short", vec![3.0, 4.0])]).await;
    let times = limits::ANSWER_BYTES_MAX / limits::CONTENTS_BYTES_MAX + 1;
    refused(
        &index,
        "vectors/get",
        json!({"ids": vec!["long"; times]}),
        "fewer ids",
    )
    .await;
    let queries = vec![[1.0, 2.0]; times];
    let batch = json!({"query_vectors": queries, "top_k": 1, "include": ["contents"]});
    refused(&index, "vectors/query", batch, "fewer queries").await;
    let without = json!({"query_vectors": queries, "top_k": 1, "include": ["metadata"]});
    assert_eq!(
        index.must("vectors/query", without).await["results"][times - 1][0]["id"],
        "long"
    );
    let once = json!({"query_vectors": [1.0, 2.0], "top_k": 2, "include": ["contents"]});
    let answer = index.must("vectors/query", once).await;
    assert_eq!(
        answer["results"][0]["contents"].as_str().unwrap().len(),
        limits::CONTENTS_BYTES_MAX
    );
    server.assert_alive();
}
