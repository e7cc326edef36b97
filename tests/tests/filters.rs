//! Metadata filters over REST, each operator of the contract against a predicate written out by hand. Thousands of random
//! documents and filters are tried where the filter language lives; here it is what reaches a client.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::random::Random;
use sealdex_tests::server::Home;
use serde_json::{Map, Value, json};

type Document = Map<String, Value>;
type Case = (Value, fn(&Document) -> bool);

const ITEMS: usize = 360;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operator_selects_what_the_contract_says() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "filters", &"1a".repeat(32), json!({"dimension": 8})).await;
    let items = items();
    index.upsert(&items).await;
    let mut selected = 0;
    for (filter, predicate) in cases() {
        let expected: Vec<&str> = items
            .iter()
            .filter(|item| predicate(&item.metadata))
            .map(|item| item.id.as_str())
            .collect();
        let hits = index
            .query(&items[0].vector, ITEMS, json!({"filters": filter}))
            .await;
        let mut found: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{filter}");
        assert!(
            hits.is_sorted_by(|a, b| a.distance <= b.distance),
            "{filter}: not in order of distance"
        );
        selected += usize::from(!expected.is_empty() && expected.len() < ITEMS);
    }
    assert!(selected > 30, "only {selected} filters tell items apart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_comes_back_as_it_went_in() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(
        &server.http,
        "metadata",
        &"1b".repeat(32),
        json!({"dimension": 1}),
    )
    .await;
    let documents = [
        json!({}),
        json!({"null": null, "true": true, "text": "", "list": [], "object": {}}),
        json!({"long": 12345678901234567890u64, "negative": -9223372036854775808i64, "tiny": 5e-324, "big": 1.7976931348623157e308}),
        json!({"nested": {"a": [1, 2.5, "x", null, {"deep": [[[]]]}]}, "ключ": "значение 🦀", "": "empty key", "a.b": "dotted key"}),
        json!({"control": "line\nfeed\u{0}nul\u{1F}", "quote": "\"\\/"}),
        json!({"wide": (0..300).map(|i| format!("v{i}")).collect::<Vec<_>>()}),
    ];
    let items: Vec<Item> = documents
        .into_iter()
        .enumerate()
        .map(|(i, document)| Item::bare(format!("m{i}"), vec![i as f32]).with_metadata(document))
        .collect();
    index.upsert(&items).await;
    let read = index
        .get(&items.iter().map(|item| item.id.clone()).collect::<Vec<_>>())
        .await;
    assert_eq!(read, items);
    let hits = index.query(&[0.0], 10, json!({})).await;
    assert!(
        hits.iter()
            .zip(&items)
            .all(|(hit, item)| hit.metadata == Value::Object(item.metadata.clone()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_makes_no_sense_is_refused_by_name() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "refused", &"1c".repeat(32), json!({"dimension": 1})).await;
    index
        .upsert(&[Item::bare("a", vec![1.0]).with_metadata(json!({"f": 1}))])
        .await;
    let cases = [
        (json!({"f": {"$between": [1, 2]}}), "$between"),
        (json!({"$xor": []}), "$xor"),
        (json!({"f": {"$regex": "("}}), "$regex"),
        (json!({"f": {"$regex": 5}}), "$regex"),
        (json!({"f": {"$type": "integer"}}), "$type"),
        (json!({"f": {"$type": 5}}), "$type"),
        (json!({"f": {"$exists": "yes"}}), "$exists"),
        (json!({"f": {"$gt": null}}), "$gt"),
        (json!({"f": null}), "f"),
        (json!({"f": {"$size": 2}}), "$size"),
    ];
    for (filter, named) in cases {
        let body = json!({"query_vectors": [1.0], "top_k": 1, "filters": filter});
        let reply = index.call("vectors/query", body).await.unwrap();
        assert_eq!(reply.status, 400, "{filter}: {}", reply.text());
        let detail = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(
            detail.contains(named),
            "{filter}: {detail:?} does not name {named}"
        );
    }
}

fn items() -> Vec<Item> {
    let mut random = Random::new(21);
    let mut items: Vec<Item> = (0..ITEMS)
        .map(|i| {
            let mut document =
                json!({"n": i, "parity": if i % 2 == 0 { "even" } else { "odd" }, "third": i % 3 == 0});
            match i % 6 {
                0 => document["tags"] = json!(["red", "green"]),
                1 => document["tags"] = json!(["blue", i]),
                2 => document["tags"] = json!("red"),
                3 => document["o"] = json!({"p": i % 4, "q": {"r": "deep"}}),
                4 => document["maybe"] = Value::Null,
                _ => document["n"] = json!(i.to_string()),
            }
            if i % 10 == 7 {
                document["x"] = json!(i as f64 / 8.0);
            }
            Item::bare(format!("i{i:03}"), random.vector(8)).with_metadata(document)
        })
        .collect();
    items.sort_by(|a, b| a.id.cmp(&b.id));
    items
}

fn number(document: &Document, field: &str) -> Option<f64> {
    document.get(field)?.as_f64()
}

fn is(document: &Document, field: &str, value: Value) -> bool {
    document.get(field) == Some(&value)
}

/// True if `field` equals `value` or is a list with an element that does.
fn has(document: &Document, field: &str, value: &str) -> bool {
    match document.get(field) {
        Some(Value::Array(list)) => list.iter().any(|element| element == value),
        Some(other) => other == value,
        None => false,
    }
}

fn cases() -> Vec<Case> {
    vec![
        (json!({}), |_| true),
        (json!({"parity": "even"}), |d| is(d, "parity", json!("even"))),
        (json!({"parity": {"$eq": "even"}}), |d| {
            is(d, "parity", json!("even"))
        }),
        (json!({"n": 12}), |d| is(d, "n", json!(12))),
        (json!({"n": 12.0}), |d| is(d, "n", json!(12))),
        (json!({"n": "11"}), |d| is(d, "n", json!("11"))),
        (json!({"n": 11}), |_| false),
        (json!({"third": true}), |d| is(d, "third", json!(true))),
        (json!({"third": 1}), |_| false),
        (json!({"tags": "red"}), |d| has(d, "tags", "red")),
        (json!({"tags": ["red", "green"]}), |_| false),
        (json!({"tags": {"$ne": "red"}}), |d| {
            d.contains_key("tags") && !has(d, "tags", "red")
        }),
        (json!({"maybe": {"$ne": "x"}}), |_| false),
        (json!({"n": {"$gt": 300}}), |d| {
            number(d, "n").is_some_and(|n| n > 300.0)
        }),
        (json!({"n": {"$gte": 300}}), |d| {
            number(d, "n").is_some_and(|n| n >= 300.0)
        }),
        (json!({"n": {"$lt": 20}}), |d| {
            number(d, "n").is_some_and(|n| n < 20.0)
        }),
        (json!({"n": {"$lte": 20}}), |d| {
            number(d, "n").is_some_and(|n| n <= 20.0)
        }),
        (json!({"n": {"$gt": 100, "$lt": 200}}), |d| {
            number(d, "n").is_some_and(|n| n > 100.0 && n < 200.0)
        }),
        (json!({"x": {"$gt": 10.125}}), |d| {
            number(d, "x").is_some_and(|x| x > 10.125)
        }),
        (json!({"tags": {"$gt": 100}}), |d| {
            d.get("tags")
                .and_then(Value::as_array)
                .is_some_and(|l| l.iter().any(|e| e.as_f64().is_some_and(|e| e > 100.0)))
        }),
        (json!({"parity": {"$gt": "a"}}), |_| false),
        (json!({"parity": {"$in": ["odd", "neither"]}}), |d| {
            is(d, "parity", json!("odd"))
        }),
        (json!({"tags": {"$in": ["blue", "green"]}}), |d| {
            has(d, "tags", "blue") || has(d, "tags", "green")
        }),
        (json!({"parity": {"$in": []}}), |_| false),
        (json!({"parity": {"$nin": ["odd"]}}), |d| {
            !is(d, "parity", json!("odd"))
        }),
        (json!({"tags": {"$nin": ["red"]}}), |d| !has(d, "tags", "red")),
        (json!({"o": {"$exists": true}}), |d| d.contains_key("o")),
        (json!({"o": {"$exists": false}}), |d| !d.contains_key("o")),
        (json!({"maybe": {"$exists": true}}), |_| false),
        (json!({"maybe": {"$exists": false}}), |_| true),
        (json!({"parity": {"$regex": "^ev"}}), |d| {
            is(d, "parity", json!("even"))
        }),
        (json!({"parity": {"$regex": "d"}}), |d| {
            is(d, "parity", json!("odd"))
        }),
        (json!({"tags": {"$regex": "re"}}), |d| is(d, "tags", json!("red"))),
        (json!({"n": {"$type": "string"}}), |d| d["n"].is_string()),
        (json!({"n": {"$type": "number"}}), |d| d["n"].is_number()),
        (json!({"third": {"$type": "boolean"}}), |d| {
            d["third"].is_boolean()
        }),
        (json!({"tags": {"$type": "array"}}), |d| {
            d.get("tags").is_some_and(Value::is_array)
        }),
        (json!({"o": {"$type": "object"}}), |d| {
            d.get("o").is_some_and(Value::is_object)
        }),
        (json!({"o.p": 1}), |d| d.get("o").is_some_and(|o| o["p"] == 1)),
        (json!({"o.q.r": "deep"}), |d| d.contains_key("o")),
        (json!({"o": {"p": 1, "q": {"r": "deep"}}}), |d| {
            d.get("o").is_some_and(|o| o["p"] == 1)
        }),
        (json!({"o": {"p": 1}}), |_| false),
        (json!({"$and": [{"parity": "even"}, {"third": true}]}), |d| {
            is(d, "parity", json!("even")) && is(d, "third", json!(true))
        }),
        (json!({"$or": [{"n": {"$lt": 5}}, {"n": {"$gt": 355}}]}), |d| {
            number(d, "n").is_some_and(|n| !(5.0..=355.0).contains(&n))
        }),
        (json!({"$nor": [{"parity": "even"}, {"third": true}]}), |d| {
            !is(d, "parity", json!("even")) && !is(d, "third", json!(true))
        }),
        (json!({"$not": {"tags": "red"}}), |d| !has(d, "tags", "red")),
        (json!({"$and": []}), |_| true),
        (json!({"$or": []}), |_| false),
        (json!({"parity": "even", "third": true}), |d| {
            is(d, "parity", json!("even")) && is(d, "third", json!(true))
        }),
        (
            json!({"$and": [{"$or": [{"tags": "red"}, {"tags": "blue"}]}, {"$not": {"n": {"$gte": 180}}}]}),
            |d| {
                (has(d, "tags", "red") || has(d, "tags", "blue"))
                    && !number(d, "n").is_some_and(|n| n >= 180.0)
            },
        ),
        (json!({"missing": "x"}), |_| false),
    ]
}
