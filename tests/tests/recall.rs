//! Real data through the whole program: how many of the true neighbours come back, untrained, trained, filtered and after churn.
#![allow(clippy::unwrap_used)]

use sealdex_tests::fashion;
use sealdex_tests::index::{Hit, Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::oracle::{fault, nearest, recall};
use sealdex_tests::server::Home;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const K: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_data_is_found_before_and_after_training_and_after_churn() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(
        &server.http,
        "fashion",
        &"5a".repeat(32),
        json!({"metric": "euclidean"}),
    )
    .await;
    let mut items = by_id(fashion::items());
    index.upsert_binary(&fashion::items()).await;
    let description = index.describe().await;
    assert_eq!(
        description,
        json!({"index_name": "fashion", "is_trained": false, "dimension": 196, "metric": "euclidean", "n_lists": 1})
    );

    let untrained = measure(&index, &items, Filter::none()).await;
    assert!(untrained >= 0.99, "untrained recall@{K} is {untrained}");

    index.train().await;
    let description = index.describe().await;
    assert_eq!(description["is_trained"], true, "{description}");
    assert!(description["n_lists"].as_u64().unwrap() > 1, "{description}");
    let trained = measure(&index, &items, Filter::none()).await;
    assert!(trained >= 0.95, "trained recall@{K} is {trained}");
    assert_eq!(
        measure_everything_probed(&index, &items).await,
        1.0,
        "all clusters probed and 50 k rows refined"
    );

    churn(&index, &mut items).await;
    let churned = measure(&index, &items, Filter::none()).await;
    assert!(
        churned >= 0.95,
        "recall@{K} after replacing and removing a tenth is {churned}"
    );
    println!("recall@{K}: untrained {untrained:.4}, trained {trained:.4}, after churn {churned:.4}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filtered_queries_find_as_much_and_never_come_back_short() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "fashion", &"5b".repeat(32), json!({})).await;
    let items = by_id(fashion::items());
    index.upsert_binary(&fashion::items()).await;
    let mut missed: Vec<(&str, &str, f64)> = Vec::new();
    for stage in ["untrained", "trained"] {
        if stage == "trained" {
            index.train().await;
        }
        let filters = [
            (
                "a tenth",
                Filter::new(json!({"label": "c3"}), |item| item.metadata["label"] == "c3"),
            ),
            (
                "a hundredth",
                Filter::new(json!({"bucket": 42}), |item| item.metadata["bucket"] == 42),
            ),
            (
                "a thousandth",
                Filter::new(json!({"label": "c3", "bucket": 42}), |item| {
                    item.metadata["bucket"] == 42 && item.metadata["label"] == "c3"
                }),
            ),
            ("nothing", Filter::new(json!({"label": "c10"}), |_| false)),
        ];
        for (selects, filter) in filters {
            let found = measure(&index, &items, filter).await;
            println!("{stage}, a filter that selects {selects}: recall@{K} {found:.4}");
            if found < 0.95 {
                missed.push((stage, selects, found));
            }
        }
    }
    assert!(missed.is_empty(), "recall@{K} under 0.95: {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_rows_far_from_all_others_spoil_nothing() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "fashion", &"5c".repeat(32), json!({})).await;
    let mut items = fashion::items();
    for item in items.iter_mut().step_by(300) {
        item.vector.iter_mut().for_each(|x| *x = -2_000.0 - 5.0 * *x);
    }
    index.upsert_binary(&items).await;
    let items = by_id(items);
    index.train().await;
    let found = measure(&index, &items, Filter::none()).await;
    assert!(
        found >= 0.95,
        "recall@{K} beside 40 outliers among 12,000 rows is {found}"
    );
    let outlier = &items["f300"];
    let hits = index.query(&outlier.vector, K, json!({})).await;
    assert!(
        hits.iter().any(|hit| hit.id == outlier.id),
        "an outlier is found by its own vector: {hits:?}"
    );
}

/// A filter in the words of the contract, and what it means.
struct Filter {
    expression: Value,
    selects: fn(&Item) -> bool,
}

impl Filter {
    fn none() -> Self {
        Self::new(json!({}), |_| true)
    }

    fn new(expression: Value, selects: fn(&Item) -> bool) -> Self {
        Self { expression, selects }
    }
}

/// Mean recall over all queries. Fails the test if an answer holds a wrong distance, a wrong item, or fewer rows than there are.
async fn measure(index: &Index, items: &BTreeMap<String, Item>, filter: Filter) -> f64 {
    let answers = index
        .query_batch(&fashion::queries(), K, json!({"filters": filter.expression}))
        .await;
    let selected: Vec<&Item> = items.values().filter(|item| (filter.selects)(item)).collect();
    judge(&selected, &answers)
}

async fn measure_everything_probed(index: &Index, items: &BTreeMap<String, Item>) -> f64 {
    let answers = index
        .query_batch(
            &fashion::queries(),
            K,
            json!({"n_probes": 1_000_000, "rerank_mult": 50}),
        )
        .await;
    judge(&items.values().collect::<Vec<_>>(), &answers)
}

fn judge(selected: &[&Item], answers: &[Vec<Hit>]) -> f64 {
    let known: BTreeMap<&str, &Item> = selected.iter().map(|item| (item.id.as_str(), *item)).collect();
    let queries = fashion::queries();
    assert_eq!(answers.len(), queries.len());
    let mut total = 0.0;
    for (query, found) in queries.iter().zip(answers) {
        let truth = nearest("euclidean", selected.iter().copied(), query, K);
        assert_eq!(found.len(), truth.len(), "the answer is short");
        assert_eq!(
            fault("euclidean", found, query, |id| known.get(id).copied()),
            None
        );
        total += recall(found, &truth);
    }
    total / queries.len() as f64
}

/// Removes 600 items and replaces 600 by the vectors of others, mirrored.
async fn churn(index: &Index, items: &mut BTreeMap<String, Item>) {
    let removed: Vec<String> = (0..600).map(|i| format!("f{}", i * 7)).collect();
    index.delete(&removed).await;
    items.retain(|id, _| !removed.contains(id));
    let replaced: Vec<Item> = (0..600)
        .map(|i| {
            let mut item = items.values().nth(i * 11).unwrap().clone();
            for row in item.vector.chunks_mut(14) {
                row.reverse();
            }
            item
        })
        .collect();
    index.upsert(&replaced).await;
    items.extend(by_id(replaced));
    assert_eq!(index.count().await, items.len() as u64);
}
