//! Values that make no sense, route by route: a clear 4xx of the right code, and nothing written. Bytes that are no request at all are
//! in `hostile_input`.
#![allow(clippy::unwrap_used)]

use sealdex_core::limits;
use sealdex_tests::index::{Index, base64_of};
use sealdex_tests::server::Home;
use sealdex_tests::victim::{KEY, Victim};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn index_routes_refuse_what_makes_no_sense() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    let named = |name: &str, more: Value| {
        let mut body = json!({"index_name": name, "index_key": KEY});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let create = "indexes/create";
    for (body, wanted) in [
        ("{}".to_owned(), 422),
        (json!({"index_name": "n"}).to_string(), 400),
        (json!({"index_name": "n", "index_key": ""}).to_string(), 400),
        (named("n", json!({"kms_name": "slot"})), 400),
        (named("n", json!({"kms_name": ""})), 400),
        (json!({"index_name": "n", "kms_name": "slot"}).to_string(), 400),
        (named("n", json!({"index_key": "not hex"})), 400),
        (named("n", json!({"index_key": &KEY[..62]})), 400),
        (named("n", json!({"index_key": 5})), 422),
        (named("", json!({})), 400),
        (named("default", json!({})), 400),
        (named(&"n".repeat(256), json!({})), 400),
        (json!({"index_name": 7, "index_key": KEY}).to_string(), 422),
        (named("victim", json!({})), 409),
        (named("n", json!({"metric": "dot"})), 400),
        (named("n", json!({"metric": "Cosine"})), 400),
        (named("n", json!({"metric": 1})), 422),
        (named("n", json!({"dimension": -1})), 400),
        (named("n", json!({"dimension": 16_385})), 400),
        (named("n", json!({"dimension": 4.5})), 422),
        (named("n", json!({"dimension": "four"})), 422),
        (named("n", json!({"dimension": [4]})), 422),
        (named("n", json!({"storage_precision": "float64"})), 422),
        (named("n", json!({"embedding_model": "all-MiniLM-L6-v2"})), 400),
    ] {
        victim.refuses_bytes(create, body, &[wanted]).await;
    }
    for (body, wanted) in [
        (json!({"n_lists": -1}), 400),
        (json!({"n_lists": "many"}), 422),
        (json!({"n_lists": 2.5}), 422),
        (json!({"max_iters": -1}), 400),
        (json!({"batch_size": -1}), 400),
        (json!({"tolerance": -1.0}), 400),
        (json!({"max_memory": -1}), 400),
    ] {
        victim.refuses("indexes/train", body, &[wanted]).await;
    }
    for route in [
        "indexes/describe",
        "indexes/delete",
        "indexes/train",
        "vectors/list_ids",
        "vectors/num_vectors",
    ] {
        victim
            .refuses_bytes(route, json!({"index_key": KEY}).to_string(), &[422])
            .await;
        victim
            .refuses_bytes(
                route,
                json!({"index_key": KEY, "index_name": null}).to_string(),
                &[422],
            )
            .await;
        victim
            .refuses_bytes(
                route,
                json!({"index_key": "zz", "index_name": "nobody"}).to_string(),
                &[400],
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_refuse_a_whole_batch_for_one_bad_row() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    let good = json!({"id": "good", "vector": [1.0, 2.0]});
    let after_good = |bad: Value| json!({"items": [good, bad]});
    let upsert = "vectors/upsert";
    for (body, wanted) in [
        (json!({}), 422),
        (json!({"items": null}), 422),
        (json!({"items": "none"}), 422),
        (json!({"items": []}), 400),
        (after_good(json!(5)), 422),
        (after_good(json!({"vector": [1.0, 2.0]})), 422),
        (after_good(json!({"id": 5, "vector": [1.0, 2.0]})), 422),
        (after_good(json!({"id": null, "vector": [1.0, 2.0]})), 422),
        (after_good(json!({"id": "b", "vector": "text"})), 422),
        (after_good(json!({"id": "b", "vector": ["one", "two"]})), 422),
        (after_good(json!({"id": "b", "vector": [[1.0, 2.0]]})), 422),
        (after_good(json!({"id": "b", "vector": [null, 2.0]})), 422),
        (after_good(json!({"id": "b", "vector": [1.0]})), 400),
        (after_good(json!({"id": "b", "vector": [1.0, 2.0, 3.0]})), 400),
        (after_good(json!({"id": "b", "vector": []})), 400),
        (after_good(json!({"id": "b"})), 400),
        (
            after_good(json!({"id": "b", "contents": "text without a model"})),
            400,
        ),
        (after_good(json!({"id": "b", "vector": [1e39, 0.0]})), 400),
        (after_good(json!({"id": "b", "vector": ["nan", 0.0]})), 400),
        (after_good(json!({"id": "b", "vector": ["-inf", 0.0]})), 400),
        (
            after_good(json!({"id": "b", "vector": [1.0, 2.0], "metadata": [1]})),
            422,
        ),
        (
            after_good(json!({"id": "b", "vector": [1.0, 2.0], "metadata": "text"})),
            422,
        ),
        (
            after_good(json!({"id": "b", "vector": [1.0, 2.0], "contents": 5})),
            422,
        ),
    ] {
        victim.refuses(upsert, body, &[wanted]).await;
    }
    let detail = victim
        .index
        .call(upsert, after_good(json!({"id": "b", "vector": [1.0]})))
        .await
        .unwrap()
        .text();
    assert!(
        detail.contains("index 1") || detail.contains("position 1") || detail.contains("item 1"),
        "names the row: {detail}"
    );
    let with_number = |number: &str| {
        format!(
            r#"{{"index_name":"victim","index_key":"{KEY}","items":[{{"id":"b","vector":[{number},0]}}]}}"#
        )
    };
    for number in ["NaN", "Infinity", "-Infinity", "1e999", "01", "+1", "."] {
        victim
            .refuses_bytes(upsert, with_number(number), &[400, 422])
            .await;
    }
    for route in ["vectors/delete", "vectors/get"] {
        for (body, wanted) in [
            (json!({}), 422),
            (json!({"ids": null}), 422),
            (json!({"ids": "i0"}), 422),
            (json!({"ids": [0]}), 422),
            (json!({"ids": ["i0", null]}), 422),
        ] {
            victim.refuses(route, body, &[wanted]).await;
        }
    }
    victim
        .refuses("vectors/get", json!({"ids": ["i0"], "include": null}), &[422])
        .await;
    victim
        .refuses("vectors/get", json!({"ids": ["i0"], "include": "vector"}), &[422])
        .await;
    for number in [70_000.0, f64::from(f32::MAX)] {
        let half = Index::create(
            &victim.index.http,
            "half",
            KEY,
            json!({"dimension": 1, "storage_precision": "float16"}),
        )
        .await;
        let reply = half
            .call(upsert, json!({"items": [{"id": "b", "vector": [number]}]}))
            .await
            .unwrap();
        assert_eq!(
            reply.status,
            400,
            "{number} does not fit float16: {}",
            reply.text()
        );
        half.must("indexes/delete", json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_batches_must_agree_with_themselves() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    let row = |numbers: &[f32]| base64_of([numbers.to_vec()].iter());
    let write = |ids: Value, vectors_b64: String, dimension: Value, more: Value| {
        let mut batch = json!({"ids": ids, "vectors_b64": vectors_b64, "dimension": dimension});
        batch
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"batch": batch})
    };
    let two = row(&[1.0, 2.0, 3.0, 4.0]);
    let upsert = "vectors/upsert_binary";
    for (body, wanted) in [
        (json!({}), 422),
        (json!({"batch": []}), 422),
        (json!({"batch": {"ids": ["b"]}}), 422),
        (write(json!([]), String::new(), json!(2), json!({})), 400),
        (write(json!(["b"]), two.clone(), json!(2), json!({})), 400),
        (
            write(json!(["b", "c", "d"]), two.clone(), json!(2), json!({})),
            400,
        ),
        (
            write(
                json!(["b", "c"]),
                two.clone(),
                json!(2),
                json!({"metadata": [{}]}),
            ),
            400,
        ),
        (
            write(
                json!(["b", "c"]),
                two.clone(),
                json!(2),
                json!({"contents": ["a", "b", "c"]}),
            ),
            400,
        ),
        (
            write(
                json!(["b", "c"]),
                two.clone(),
                json!(2),
                json!({"metadata": [{}, 5]}),
            ),
            422,
        ),
        (write(json!(["b", 5]), two.clone(), json!(2), json!({})), 422),
        (write(json!(["b"]), two.clone(), json!(4), json!({})), 400),
        (write(json!(["b", "c"]), two.clone(), json!(0), json!({})), 400),
        (write(json!(["b", "c"]), two.clone(), json!(-1), json!({})), 400),
        (write(json!(["b", "c"]), two.clone(), json!(2.5), json!({})), 422),
        (write(json!(["b"]), row(&[1.0]), json!(2), json!({})), 400),
        (
            write(json!(["b"]), "AAAAAAAAAA!=".into(), json!(2), json!({})),
            400,
        ),
        (
            write(
                json!(["b"]),
                format!("{}=", row(&[1.0, 2.0])),
                json!(2),
                json!({}),
            ),
            400,
        ),
        (
            write(json!(["b"]), "-_-_-_-_-_8=".into(), json!(2), json!({})),
            400,
        ),
        (write(json!(["b"]), "AAA".into(), json!(2), json!({})), 400),
        (
            write(
                json!(["b", "c"]),
                row(&[1.0, 2.0, f32::NAN, 4.0]),
                json!(2),
                json!({}),
            ),
            400,
        ),
        (
            write(
                json!(["b", "c"]),
                row(&[1.0, f32::INFINITY, 3.0, 4.0]),
                json!(2),
                json!({}),
            ),
            400,
        ),
    ] {
        victim.refuses(upsert, body, &[wanted]).await;
    }
    for (batch, wanted) in [
        (json!({}), 422),
        (json!({"vectors_b64": row(&[1.0, 2.0, 3.0]), "dimension": 2}), 400),
        (json!({"vectors_b64": row(&[1.0, 2.0, 3.0]), "dimension": 3}), 400),
        (json!({"vectors_b64": "", "dimension": 2}), 400),
        (json!({"vectors_b64": "!!!!", "dimension": 2}), 400),
        (json!({"vectors_b64": row(&[1.0, f32::NAN]), "dimension": 2}), 400),
        (json!({"vectors_b64": row(&[1.0, 2.0]), "dimension": 0}), 400),
    ] {
        victim
            .refuses(
                "vectors/query_binary",
                json!({"batch": batch, "top_k": 1}),
                &[wanted],
            )
            .await;
    }
    let sound = json!({"vectors_b64": row(&[1.0, 2.0]), "dimension": 2});
    for top_k in [json!(0), json!(-1)] {
        victim
            .refuses(
                "vectors/query_binary",
                json!({"batch": sound, "top_k": top_k}),
                &[400],
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_refuse_what_cannot_be_answered() {
    let home = Home::new();
    let mut victim = Victim::new(&home).await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"query_vectors": [1.0, 2.0], "top_k": 1});
        body[field] = value;
        body
    };
    for (body, wanted) in [
        (json!({}), 400),
        (with("query_vectors", json!(null)), 400),
        (with("query_vectors", json!([])), 400),
        (with("query_vectors", json!([[]])), 400),
        (with("query_vectors", json!([1.0])), 400),
        (with("query_vectors", json!([1.0, 2.0, 3.0])), 400),
        (with("query_vectors", json!([[1.0, 2.0], [1.0]])), 400),
        (with("query_vectors", json!([1e39, 2.0])), 400),
        (with("query_vectors", json!("text")), 422),
        (with("query_vectors", json!([["a", "b"]])), 422),
        (with("query_vectors", json!([[[1.0, 2.0]]])), 422),
        (json!({"query_contents": "no model here"}), 400),
        (with("top_k", json!(0)), 400),
        (with("top_k", json!(-1)), 400),
        (with("top_k", json!(2.5)), 422),
        (with("top_k", json!("three")), 422),
        (with("top_k", json!(1e20)), 400),
        (with("top_k", json!(limits::TOP_K_MAX + 1)), 400),
        (with("n_probes", json!(-1)), 400),
        (with("n_probes", json!("all")), 422),
        (with("rerank_mult", json!(-1)), 400),
        (with("greedy", json!("perhaps")), 422),
        (with("filters", json!(null)), 400),
        (with("filters", json!([])), 422),
        (with("filters", json!({"n": {"$near": 1}})), 400),
        (with("filters", json!({"n": {"$regex": "("}})), 400),
        (with("filters", json!({"$where": "1"})), 400),
        (with("include", json!("distance")), 422),
        (with("include", json!([5])), 422),
    ] {
        victim.refuses("vectors/query", body, &[wanted]).await;
    }
    let body = with(
        "query_vectors",
        Value::Array(vec![json!([1.0, 2.0]); limits::QUERIES_PER_REQUEST_MAX + 1]),
    );
    victim.refuses("vectors/query", body, &[400, 413]).await;
    let undecided = Index::create(&victim.index.http, "undecided", KEY, json!({})).await;
    let reply = undecided
        .call("vectors/query", json!({"query_vectors": [1.0]}))
        .await
        .unwrap();
    assert_eq!(reply.status, 400, "no dimension yet: {}", reply.text());
    undecided.must("indexes/delete", json!({})).await;
}
