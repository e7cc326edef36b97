//! What comes back is what went in, and distances are the true ones: every metric, both precisions, dimensions from 1 to 16,384.
#![allow(clippy::unwrap_used)]

use half::f16;
use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::oracle::{METRICS, fault, nearest, recall};
use sealdex_tests::random::Random;
use sealdex_tests::server::Home;
use serde_json::json;
use std::collections::BTreeMap;

const DIMENSIONS: [usize; 11] = [1, 2, 3, 16, 17, 63, 64, 65, 784, 4_096, 16_384];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_and_dimension_answers_exactly_in_float32() {
    check_everywhere("float32", |vector| vector.to_vec()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_and_dimension_answers_exactly_in_float16() {
    check_everywhere("float16", |vector| {
        vector.iter().map(|&x| f16::from_f32(x).to_f32()).collect()
    })
    .await;
}

/// Just enough that a training makes clusters and codes.
const ITEMS: usize = 270;

/// `stored` says what becomes of a vector.
async fn check_everywhere(precision: &str, stored: fn(&[f32]) -> Vec<f32>) {
    let home = Home::new();
    let server = home.start().await;
    let mut random = Random::new(11);
    for dimension in DIMENSIONS {
        for metric in METRICS {
            let name = format!("{metric} {dimension}");
            let settings = json!({"metric": metric, "dimension": dimension, "storage_precision": precision});
            let index = Index::create(&server.http, &name, &random.hex(32), settings).await;
            let given: Vec<Item> = (0..ITEMS)
                .map(|i| Item::bare(format!("i{i}"), random.vector(dimension)))
                .collect();
            index.upsert(&given[..20]).await;
            for part in given[20..].chunks(100) {
                index.upsert_binary(part).await;
            }
            let kept = given
                .into_iter()
                .map(|item| Item {
                    vector: stored(&item.vector),
                    ..item
                })
                .collect();
            check_answers(&index, metric, &by_id(kept), &mut random).await;
            index.must("indexes/delete", json!({})).await;
        }
    }
}

/// Everything is read back and found exactly, before a training and after it.
async fn check_answers(index: &Index, metric: &str, items: &BTreeMap<String, Item>, random: &mut Random) {
    let dimension = items["i0"].vector.len();
    let sample: Vec<String> = items.keys().step_by(10).cloned().collect();
    for stage in ["untrained", "trained"] {
        if stage == "trained" {
            index.train().await;
            assert_eq!(index.describe().await["is_trained"], true, "{}", index.name);
        }
        let read = index.get(&sample).await;
        assert_eq!(read.len(), sample.len());
        assert!(
            read.iter().all(|read| read.is_same_as(&items[&read.id])),
            "{}, {stage}",
            index.name
        );
        for query in [
            random.vector(dimension),
            items["i7"].vector.clone(),
            vec![0.0; dimension],
        ] {
            // Every cluster is probed and every row refined, so that nothing may be missed.
            let thorough = json!({"n_probes": ITEMS, "rerank_mult": ITEMS});
            for (settings, must_find_all) in [
                (thorough, true),
                (json!({}), stage == "untrained" && dimension <= 65),
            ] {
                let found = index.query(&query, 10, settings).await;
                let wrong = fault(metric, &found, &query, |id| items.get(id));
                assert_eq!((wrong, found.len()), (None, 10), "{}, {stage}", index.name);
                let truth = nearest(metric, items.values(), &query, 10);
                let all_found = recall(&found, &truth) == 1.0;
                assert!(
                    all_found || !must_find_all,
                    "{}, {stage}: {found:?} against {truth:?}",
                    index.name
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn float32_comes_back_bit_for_bit() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "bits", &"0f".repeat(32), json!({"dimension": 32})).await;
    let mut random = Random::new(12);
    let mut items: Vec<Item> = (0..200)
        .map(|i| {
            Item::bare(
                format!("b{i}"),
                (0..32).map(|_| finite_bits(&mut random)).collect(),
            )
        })
        .collect();
    let mut edges = vec![
        0.0,
        -0.0,
        1.0,
        f32::EPSILON,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::MAX,
        f32::MIN,
    ];
    edges.resize(32, 0.1);
    items.push(Item::bare("edges", edges));
    let (as_json, as_binary) = items.split_at(100);
    index.upsert(as_json).await;
    index.upsert_binary(as_binary).await;
    let read = index
        .get(&items.iter().map(|item| item.id.clone()).collect::<Vec<_>>())
        .await;
    for (read, written) in read.iter().zip(&items) {
        assert!(
            read.is_same_as(written),
            "{} came back as {:?}",
            written.id,
            read.vector
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_as_large_as_float32_allows_break_no_query() {
    let home = Home::new();
    let server = home.start().await;
    for metric in METRICS {
        let settings = json!({"dimension": 20, "metric": metric});
        let index = Index::create(&server.http, metric, &"0e".repeat(32), settings).await;
        let ordinary = Item::bare("ordinary", vec![1.0; 20]);
        let huge = Item::bare("huge", vec![f32::MAX; 20]);
        let tiny = Item::bare("tiny", vec![f32::from_bits(1); 20]);
        index
            .upsert(&[ordinary.clone(), huge.clone(), tiny.clone()])
            .await;
        for query in [&ordinary.vector, &huge.vector, &tiny.vector] {
            let found = index.query(query, 3, json!({})).await;
            assert_eq!(found.len(), 3, "{metric}: {found:?}");
            let items = [&ordinary, &huge, &tiny];
            let of = |id: &str| items.into_iter().find(|item| item.id == id);
            assert_eq!(fault(metric, &found, query, of), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_distances_come_in_the_order_of_ids() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "ties", &"0d".repeat(32), json!({"dimension": 3})).await;
    let twins: Vec<Item> = (0..30)
        .map(|i| Item::bare(format!("t{i:02}"), vec![1.0, 2.0, 3.0]))
        .collect();
    index
        .upsert(&twins.iter().rev().cloned().collect::<Vec<_>>())
        .await;
    for _ in 0..3 {
        let found = index.query(&[1.0, 2.0, 4.0], 30, json!({})).await;
        let ids: Vec<&str> = found.iter().map(|hit| hit.id.as_str()).collect();
        assert_eq!(ids, twins.iter().map(|item| item.id.as_str()).collect::<Vec<_>>());
    }
}

/// Sums of the same numbers in another order differ in their last digits, which nobody is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distances_that_look_equal_come_in_the_order_of_ids() {
    let home = Home::new();
    let server = home.start().await;
    let mut random = Random::from_clock("look-alikes", "SEALDEX_TIES_SEED");
    let numbers = random.vector(16);
    for metric in METRICS {
        let settings = json!({"dimension": 16, "metric": metric});
        let index = Index::create(&server.http, metric, &"0f".repeat(32), settings).await;
        let shuffled = |i: usize| {
            let mut vector = numbers.clone();
            (0..40).for_each(|_| vector.swap(random.below(16), random.below(16)));
            Item::bare(format!("s{i:02}"), vector)
        };
        let items: Vec<Item> = (0..40).map(shuffled).collect();
        index
            .upsert(&items.iter().rev().cloned().collect::<Vec<_>>())
            .await;
        // From any vector of equal numbers all are equally far.
        for (value, top_k) in [(0.0, 5), (1.0, 40), (-2.5, 7)] {
            let found = index.query(&[value; 16], top_k, json!({})).await;
            let ids: Vec<&str> = found.iter().map(|hit| hit.id.as_str()).collect();
            let first = items.iter().take(top_k).map(|item| item.id.as_str());
            assert_eq!(ids, first.collect::<Vec<_>>(), "{metric} {value}: {found:?}");
        }
    }
}

/// Any finite float32, all exponents alike.
fn finite_bits(random: &mut Random) -> f32 {
    loop {
        let number = f32::from_bits(random.word() as u32);
        if number.is_finite() {
            return number;
        }
    }
}

/// To the cosine a vector without a direction is at distance 1 from every other, however many of them there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_without_a_direction_do_not_stand_before_true_neighbours() {
    let home = Home::new();
    let server = home.start().await;
    let mut random = Random::new(12);
    for dimension in [8, 64] {
        let settings = json!({"dimension": dimension, "metric": "cosine"});
        let index = Index::create(
            &server.http,
            &format!("cosine {dimension}"),
            &random.hex(32),
            settings,
        )
        .await;
        let mut items: Vec<Item> = (0..3000)
            .map(|n| Item::bare(n.to_string(), random.vector(dimension)))
            .collect();
        for item in items.iter_mut().step_by(10) {
            item.vector.fill(0.0);
        }
        index.upsert(&items).await;
        for item in items.iter().skip(1).step_by(300) {
            let mut exact: Vec<(f64, &str)> = items
                .iter()
                .map(|other| (cosine(&item.vector, &other.vector), other.id.as_str()))
                .collect();
            exact.sort_by(|a, b| a.0.total_cmp(&b.0));
            let hits = index
                .query(&item.vector, 10, json!({"include": ["distance"]}))
                .await;
            let wanted: Vec<&str> = exact[..10].iter().map(|(_, id)| *id).collect();
            let found = hits
                .iter()
                .filter(|hit| wanted.contains(&hit.id.as_str()))
                .count();
            assert!(found >= 9, "{found} of 10, dimension {dimension}");
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 {
        1.0 - dot(a, b) / lengths
    } else {
        1.0
    }
}
