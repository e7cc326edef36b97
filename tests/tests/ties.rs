//! Items at exactly the same distance come in the order of their ids, and the first of them are those that are returned, however
//! many there are.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::random::Random;
use sealdex_tests::server::Home;
use serde_json::json;

const EQUAL: usize = 500;
const OTHERS: usize = 600;

/// A dimension for each kind of code: the vectors themselves, 8 bits, product quantisation.
const DIMENSIONS: [usize; 3] = [8, 40, 128];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_items_those_with_the_first_ids_are_returned() {
    let home = Home::new();
    let server = home.start().await;
    let mut random = Random::new(5);
    for dimension in DIMENSIONS {
        let settings = json!({"dimension": dimension});
        let index = Index::create(&server.http, &format!("d{dimension}"), &random.hex(32), settings).await;
        let same = random.vector(dimension);
        let mut items: Vec<Item> = (0..EQUAL)
            .map(|n| {
                Item::bare(format!("same{n:03}"), same.clone()).with_metadata(json!({"even": n % 2 == 0}))
            })
            .collect();
        let others = (0..OTHERS).map(|n| Item::bare(format!("other{n}"), random.vector(dimension)));
        items.extend(others.map(|item| item.with_metadata(json!({"even": true}))));
        // Written in no order of theirs.
        items.sort_by_key(|item| item.id.bytes().rev().collect::<Vec<u8>>());
        for part in items.chunks(300) {
            index.upsert(part).await;
        }
        for state in ["untrained", "trained"] {
            let case = format!("{dimension} dimensions, {state}");
            check(&index, &same, &case).await;
            index.train().await;
        }
        assert_eq!(index.describe().await["is_trained"], true);
        check(&index, &same, &format!("{dimension} dimensions, trained twice")).await;
    }
}

async fn check(index: &Index, same: &[f32], case: &str) {
    let first = |count: usize, step: usize| -> Vec<String> {
        (0..count).map(|n| format!("same{:03}", n * step)).collect()
    };
    for top_k in [1, 10, 100] {
        for settings in [json!({}), json!({"greedy": true}), json!({"rerank_mult": 1})] {
            for _ in 0..2 {
                let hits = index.query(same, top_k, settings.clone()).await;
                let ids: Vec<String> = hits.into_iter().map(|hit| hit.id).collect();
                assert_eq!(ids, first(top_k, 1), "{case}, top_k {top_k}, {settings}");
            }
        }
        let lists = index
            .query_batch(&[same.to_vec(), same.to_vec()], top_k, json!({}))
            .await;
        for list in lists {
            let ids: Vec<String> = list.into_iter().map(|hit| hit.id).collect();
            assert_eq!(ids, first(top_k, 1), "{case}, top_k {top_k}, binary");
        }
        let hits = index.query(same, top_k, json!({"filters": {"even": true}})).await;
        let ids: Vec<String> = hits.into_iter().map(|hit| hit.id).collect();
        assert_eq!(ids, first(top_k, 2), "{case}, top_k {top_k}, filtered");
    }
}
