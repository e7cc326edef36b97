//! The routes in the words of the REST contract: success bodies to the letter, defaults, and what else web clients rely on.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::index::{Index, base64_of};
use sealdex_tests::item::Item;
use sealdex_tests::server::Home;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_bodies_are_the_contracts_to_the_letter() {
    let home = Home::new();
    let server = home.start().await;
    let http = &server.http;
    let health = http.get("/v1/health").await.unwrap().ok();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["api_version"], "v1");
    assert!(
        health["version"].is_string() && health.as_object().unwrap().len() == 3,
        "{health}"
    );

    let index = Index::new(http, "movies", KEY);
    let say = |text: &str| json!({"status": "success", "message": text});
    let all_fields = json!({"dimension": null, "metric": null, "embedding_model": null, "storage_precision": null, "kms_name": null});
    assert_eq!(
        index.must("indexes/create", all_fields).await,
        say("Index 'movies' created successfully")
    );
    assert_eq!(
        http.get("/v1/indexes/list").await.unwrap().ok(),
        json!({"indexes": ["movies"]})
    );
    let fresh = json!({"index_name": "movies", "is_trained": false, "dimension": 0, "metric": "euclidean", "n_lists": 1});
    assert_eq!(index.describe().await, fresh);

    let items = json!([{"id": "a", "vector": [1, 0]}, {"id": "b", "vector": [0, 1], "metadata": {"k": 1}, "contents": "text"}]);
    assert_eq!(
        index.must("vectors/upsert", json!({"items": items})).await,
        say("Upserted 2 vectors")
    );
    let batch = json!({"ids": ["c"], "vectors_b64": base64_of([vec![3.0, 4.0]].iter()), "dimension": 2});
    assert_eq!(
        index.must("vectors/upsert_binary", json!({"batch": batch})).await,
        say("Upserted 1 vectors")
    );
    assert_eq!(index.describe().await["dimension"], 2);
    assert_eq!(
        index.must("vectors/num_vectors", json!({})).await,
        json!({"result": 3})
    );
    assert_eq!(index.ids().await, ["a", "b", "c"]);

    let answer = index
        .must("vectors/query", json!({"query_vectors": [0, 0], "top_k": 2}))
        .await;
    assert_eq!(
        answer,
        json!({"results": [{"id": "a"}, {"id": "b"}]}),
        "ids alone unless more is asked for"
    );
    let body = json!({"query_vectors": [3, 4], "top_k": 2, "include": ["distance", "metadata"]});
    let answer = index.must("vectors/query", body).await;
    assert_eq!(
        answer["results"][0],
        json!({"id": "c", "distance": 0.0, "metadata": {}})
    );
    let body = json!({"query_vectors": [0, 1], "top_k": 1, "include": ["vector", "contents", "metadata"]});
    let row = json!({"id": "b", "vector": [0.0, 1.0], "contents": "text", "metadata": {"k": 1}});
    assert_eq!(index.must("vectors/query", body).await, json!({"results": [row]}));
    assert_eq!(
        index.must("vectors/get", json!({"ids": ["b"]})).await,
        json!({"results": [row]})
    );

    assert_eq!(
        index.must("indexes/train", json!({})).await,
        say("Index 'movies' needs no training yet: it is small, and every query looks at all its items")
    );
    let status = http.get("/v1/indexes/training-status").await.unwrap().ok();
    for (field, idle) in [
        ("training_indexes", json!([])),
        ("currently_training", json!(null)),
        ("queued_indexes", json!([])),
    ] {
        assert_eq!(status[field], idle, "{status}");
    }
    assert!(
        status["retrain_threshold"].is_u64() && status["worker_running"].is_boolean(),
        "{status}"
    );
    assert!(
        status["worker_pid"].is_u64() && status["global_training"].is_object(),
        "{status}"
    );

    assert_eq!(
        index
            .must("vectors/delete", json!({"ids": ["a", "nobody"]}))
            .await,
        say("Deleted 2 vectors")
    );
    assert_eq!(index.ids().await, ["b", "c"]);
    assert_eq!(
        index.must("indexes/delete", json!({})).await,
        say("Index 'movies' deleted successfully")
    );
    assert_eq!(
        http.get("/v1/indexes/list").await.unwrap().ok(),
        json!({"indexes": []})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_query_row_gives_a_flat_list_and_more_give_a_list_of_lists() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "nesting", KEY, json!({"dimension": 1})).await;
    index
        .upsert(&[Item::bare("a", vec![1.0]), Item::bare("b", vec![2.0])])
        .await;
    let query = async |vectors: Value, filters: Value| {
        index
            .must(
                "vectors/query",
                json!({"query_vectors": vectors, "top_k": 1, "filters": filters}),
            )
            .await["results"]
            .clone()
    };
    assert_eq!(query(json!([1.0]), json!({})).await, json!([{"id": "a"}]));
    assert_eq!(
        query(json!([[1.0]]), json!({})).await,
        json!([{"id": "a"}]),
        "one row, even nested, is flat"
    );
    assert_eq!(
        query(json!([[1.0], [2.0]]), json!({})).await,
        json!([[{"id": "a"}], [{"id": "b"}]])
    );
    assert_eq!(
        query(json!([[1.0], [2.0]]), json!({"no": "match"})).await,
        json!([[], []])
    );
    for (rows, expected) in [
        (1, json!([{"id": "a"}])),
        (2, json!([[{"id": "a"}], [{"id": "a"}]])),
    ] {
        let vectors_b64 = base64_of(vec![vec![1.0]; rows].iter());
        let body = json!({"batch": {"vectors_b64": vectors_b64, "dimension": 1}, "top_k": 1});
        assert_eq!(
            index.must("vectors/query_binary", body).await,
            json!({"results": expected})
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loose_types_are_taken_as_the_contract_takes_them() {
    let home = Home::new();
    let server = home.start().await;
    let spaced = format!("{} {}", &KEY[..32].to_uppercase(), &KEY[32..]);
    let index = Index::create(
        &server.http,
        "loose",
        &spaced,
        json!({"dimension": "2", "index_config": {"type": "ivf"}}),
    )
    .await;
    let index = Index {
        key: KEY.to_owned(),
        ..index
    };
    assert_eq!(
        index.describe().await["dimension"],
        2,
        "the same key in another case and spacing"
    );
    let items = json!([{"id": "a", "vector": ["1.5", 2], "metadata": null, "contents": null, "unknown": 1}]);
    index
        .must("vectors/upsert", json!({"items": items, "extra": true}))
        .await;
    assert_eq!(
        index.get(&["a".to_owned()]).await,
        [Item::bare("a", vec![1.5, 2.0])]
    );
    for top_k in [json!("3"), json!(3.0), json!(null)] {
        let body = json!({"query_vectors": [0, 0], "top_k": top_k, "n_probes": 0, "greedy": null, "rerank_mult": null});
        assert_eq!(
            index.must("vectors/query", body).await,
            json!({"results": [{"id": "a"}]}),
            "top_k {top_k}"
        );
    }
    let body = json!({"query_vectors": [0, 0], "n_probes": 7, "greedy": true, "rerank_mult": 2, "top_k": 5});
    assert_eq!(
        index.must("vectors/query", body).await,
        json!({"results": [{"id": "a"}]})
    );
    Index::create(&server.http, "zero", KEY, json!({"dimension": 0})).await;
    Index::create(&server.http, "float", KEY, json!({"dimension": 4.0})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_k_is_a_hundred_unless_given_and_never_more_than_there_are() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "many", KEY, json!({"dimension": 1})).await;
    let items: Vec<Item> = (0..150)
        .map(|i| Item::bare(format!("i{i:03}"), vec![i as f32]))
        .collect();
    index.upsert(&items).await;
    let answer = index.must("vectors/query", json!({"query_vectors": [0]})).await;
    let ids: Vec<&str> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        items[..100]
            .iter()
            .map(|item| item.id.as_str())
            .collect::<Vec<_>>()
    );
    assert_eq!(index.query(&[0.0], 5_000, json!({})).await.len(), 150);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_methods_and_pages_answer_as_web_clients_expect() {
    let home = Home::new();
    let server = home.start().await;
    let http = &server.http;
    for (path, status) in [("/v1/nowhere", 404), ("/", 404), ("/docs", 404)] {
        assert_eq!(http.get(path).await.unwrap().status, status, "{path}");
    }
    let reply = http.get("/v1/indexes/create").await.unwrap();
    assert_eq!(
        (reply.status, reply.headers["allow"].to_str().unwrap()),
        (405, "POST")
    );
    let reply = http
        .send(Method::DELETE, "/v1/health", Default::default())
        .await
        .unwrap();
    assert_eq!(reply.status, 405, "{}", reply.text());
    let reply = http.get("/v1/indexes/list/").await.unwrap();
    assert_eq!(reply.status, 307);
    assert!(
        reply.headers["location"]
            .to_str()
            .unwrap()
            .ends_with("/v1/indexes/list"),
        "{:?}",
        reply.headers
    );

    let openapi = http.get("/v1/openapi.json").await.unwrap().ok();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3."));
    let operation = &openapi["paths"]["/v1/vectors/upsert"]["post"]["operationId"];
    assert_eq!(
        operation, "upsert_vectors_v1_vectors_upsert_post",
        "clients are generated from these names"
    );
    let docs = http.get("/v1/docs").await.unwrap();
    let docs = if docs.status / 100 == 3 {
        http.get(docs.headers["location"].to_str().unwrap())
            .await
            .unwrap()
    } else {
        docs
    };
    assert_eq!(docs.status, 200);
    assert!(
        docs.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(
        !docs.text().contains("https://"),
        "the page loads nothing from elsewhere"
    );
    assert!(
        http.get("/v1/health")
            .await
            .unwrap()
            .headers
            .contains_key("x-request-id")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_trains_by_itself_once_it_has_grown() {
    let home = Home::new().with_variable("SEALDEX_AUTO_TRAIN_ITEMS", "500");
    let server = home.start().await;
    let index = Index::create(&server.http, "growing", KEY, json!({"dimension": 2})).await;
    let items: Vec<Item> = (0..600)
        .map(|i| Item::bare(format!("i{i}"), vec![(i % 25) as f32, (i / 25) as f32]))
        .collect();
    let quiet = json!({"status": "success", "message": "Upserted 400 vectors"});
    assert_eq!(index.upsert(&items[..400]).await, quiet);
    let told = json!({"status": "success", "message": "Upserted 200 vectors", "training_triggered": true,
        "training_message": "Index training has been triggered (vectors: 600)"});
    assert_eq!(index.upsert(&items[400..]).await, told);
    let given_up = Instant::now() + Duration::from_secs(60);
    while index.describe().await["is_trained"] != true {
        assert!(Instant::now() < given_up, "no training came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(index.count().await, 600);
    assert_eq!(index.query(&[3.0, 4.0], 1, json!({})).await[0].id, "i103");
}
