//! What items, indexes and keys mean over their lives: replacement, deletion, names, wrong keys, restarts.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::Home;
use serde_json::json;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_are_replaced_whole_and_get_keeps_the_order_asked_for() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "items", KEY, json!({"dimension": 2})).await;
    let full = Item::bare("a", vec![1.0, 2.0])
        .with_metadata(json!({"v": 1}))
        .with_contents("first");
    index.upsert(std::slice::from_ref(&full)).await;
    index.upsert(&[Item::bare("a", vec![3.0, 4.0])]).await;
    let ids = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        index.get(&ids(&["a"])).await,
        [Item::bare("a", vec![3.0, 4.0])],
        "nothing of the old version stays"
    );
    index
        .upsert(&[Item::bare("d", vec![1.0, 1.0]), Item::bare("d", vec![2.0, 2.0])])
        .await;
    assert_eq!(
        index.get(&ids(&["d"])).await,
        [Item::bare("d", vec![2.0, 2.0])],
        "the last of a batch wins"
    );
    assert_eq!(index.count().await, 2);

    let order: Vec<String> = index
        .get(&ids(&["d", "nobody", "a", "d"]))
        .await
        .into_iter()
        .map(|item| item.id)
        .collect();
    assert_eq!(
        order,
        ["d", "a", "d"],
        "as asked, repeated as asked, missing ones left out"
    );
    for (include, row) in [
        (json!([]), json!({"id": "a"})),
        (json!(["metadata"]), json!({"id": "a", "metadata": {}})),
        (json!(["contents"]), json!({"id": "a", "contents": ""})),
        (
            json!(["vector", "bogus"]),
            json!({"id": "a", "vector": [3.0, 4.0]}),
        ),
    ] {
        let answer = index
            .must("vectors/get", json!({"ids": ["a"], "include": include}))
            .await;
        assert_eq!(answer, json!({"results": [row]}), "include {include}");
    }
    index.delete(&ids(&["a"])).await;
    assert_eq!(index.get(&ids(&["a"])).await, []);
    index.upsert(std::slice::from_ref(&full)).await;
    assert_eq!(
        index.get(&ids(&["a"])).await,
        [full],
        "an id may come back after its deletion"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_text_is_an_id_and_almost_any_an_index_name() {
    let home = Home::new();
    let server = home.start().await;
    let names = [
        "a/b c",
        "名前",
        ".hidden",
        "-",
        "x\ty",
        &"n".repeat(255),
        "Ä",
        "a",
    ];
    for name in names {
        Index::create(&server.http, name, KEY, json!({})).await;
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(
        server.http.get("/v1/indexes/list").await.unwrap().ok(),
        json!({"indexes": sorted})
    );

    let index = Index::new(&server.http, "名前", KEY);
    let long = "l".repeat(2_000);
    let ids = ["", " ", "a/b", "名前", "\u{0}", "\"quoted\"\\", "🦀", &long];
    let items: Vec<Item> = ids
        .iter()
        .enumerate()
        .map(|(i, id)| Item::bare(*id, vec![i as f32]))
        .collect();
    index.upsert(&items).await;
    let mut sorted: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    sorted.sort();
    assert_eq!(index.ids().await, sorted, "an empty id is an id like any other");
    assert_eq!(index.get(&ids.map(str::to_owned)).await, items);
    let mut found: Vec<String> = index
        .query(&[0.0], 100, json!({}))
        .await
        .into_iter()
        .map(|hit| hit.id)
        .collect();
    found.sort();
    assert_eq!(found, sorted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_open_their_own_index_alone() {
    let home = Home::new();
    let server = home.start().await;
    let http = &server.http;
    let index = Index::create(http, "locked", KEY, json!({"dimension": 1})).await;
    index.upsert(&[Item::bare("a", vec![1.0])]).await;
    let wrong = Index::new(http, "locked", &"ff".repeat(32));
    let unknown = Index::new(http, "nobody", KEY);
    let routes = [
        ("indexes/describe", json!({})),
        ("indexes/train", json!({})),
        ("vectors/upsert", json!({"items": [{"id": "b", "vector": [2.0]}]})),
        ("vectors/query", json!({"query_vectors": [1.0]})),
        ("vectors/get", json!({"ids": ["a"]})),
        ("vectors/delete", json!({"ids": ["a"]})),
        ("vectors/list_ids", json!({})),
        ("vectors/num_vectors", json!({})),
        ("indexes/delete", json!({})),
    ];
    for (route, body) in routes {
        assert_eq!(
            wrong.call(route, body.clone()).await.unwrap().status,
            401,
            "{route} with a wrong key"
        );
        assert_eq!(
            unknown.call(route, body.clone()).await.unwrap().status,
            404,
            "{route} on an unknown index"
        );
        for (key, status) in [
            (json!(null), 401),
            (json!(""), 401),
            (json!("zz"), 400),
            (json!("abcd"), 400),
        ] {
            let mut body = body.clone();
            body["index_name"] = json!("locked");
            body["index_key"] = key.clone();
            let reply = http.post(&format!("/v1/{route}"), &body).await.unwrap();
            assert_eq!(reply.status, status, "{route} with key {key}: {}", reply.text());
        }
    }
    assert_eq!(index.ids().await, ["a"], "nothing was changed by any of it");
    let recreated = wrong.call("indexes/create", json!({})).await.unwrap();
    assert_eq!(recreated.status, 409, "{}", recreated.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_index_leaves_nothing_to_a_new_one_of_its_name() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "again", KEY, json!({"dimension": 1})).await;
    index.upsert(&[Item::bare("old", vec![1.0])]).await;
    index.must("indexes/delete", json!({})).await;
    let fresh = Index::create(
        &server.http,
        "again",
        &"aa".repeat(32),
        json!({"dimension": 2, "metric": "cosine"}),
    )
    .await;
    assert_eq!(fresh.count().await, 0);
    assert_eq!(fresh.get(&["old".to_owned()]).await, []);
    fresh.upsert(&[Item::bare("new", vec![1.0, 0.0])]).await;
    server.stop().await;
    let server = home.start().await;
    assert_eq!(fresh.through(&server.http).ids().await, ["new"]);
    assert_eq!(
        index
            .through(&server.http)
            .call("indexes/describe", json!({}))
            .await
            .unwrap()
            .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_everything_and_a_drain_finishes_what_has_begun() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(
        &server.http,
        "kept",
        KEY,
        json!({"metric": "cosine", "storage_precision": "float16"}),
    )
    .await;
    let items: Vec<Item> = (0..500)
        .map(|i| {
            Item::bare(format!("i{i:03}"), vec![i as f32, 1.0])
                .with_metadata(json!({"i": i}))
                .with_contents(format!("c{i}"))
        })
        .collect();
    let writing = tokio::spawn({
        let (index, items) = (index.clone(), items.clone());
        async move { index.upsert(&items).await }
    });
    // The request is under way when the server is asked to end, and must be answered all the same.
    while index.count().await == 0 && !writing.is_finished() {}
    server.stop().await;
    writing.await.unwrap();
    let server = home.start().await;
    let index = index.through(&server.http);
    assert_eq!(index.describe().await["metric"], "cosine");
    assert_eq!(
        index
            .get(&items.iter().map(|item| item.id.clone()).collect::<Vec<_>>())
            .await,
        items
    );
}

/// Deleted and replaced items leave dead rows behind, which nobody may see: not by an answer that is short, nor by one that
/// lacks what is near.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_rows_hide_no_living_ones() {
    let home = Home::new();
    let server = home.start().await;
    let create = async |name| Index::create(&server.http, name, KEY, json!({"metric": "euclidean"})).await;
    let ids = |hits: Vec<sealdex_tests::index::Hit>| hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>();

    let replaced = create("replaced").await;
    let near = |n: usize| Item::bare("a", vec![0.1 + n as f32 * 0.001, 0.2]);
    let others = [Item::bare("b", vec![1.0, 1.0]), Item::bare("c", vec![5.0, 5.0])];
    replaced.upsert(&others).await;
    for n in 0..40 {
        replaced.upsert(&[near(n)]).await;
        let found = ids(replaced.query(&[0.1, 0.2], 3, json!({})).await);
        assert_eq!(found, ["a", "b", "c"], "after {n} replacements");
    }
    replaced.upsert(&[Item::bare("a", vec![100.0, 100.0])]).await;
    let found = ids(replaced.query(&[0.0, 0.0], 1, json!({})).await);
    assert_eq!(found, ["b"], "what moved away is not in the way");

    let emptied = create("emptied").await;
    let all: Vec<Item> = (0..30)
        .map(|n| Item::bare(format!("i{n:02}"), vec![n as f32 * 0.01, 0.2]))
        .collect();
    emptied.upsert(&all).await;
    let gone: Vec<String> = (0..28).map(|n| format!("i{n:02}")).collect();
    emptied.delete(&gone).await;
    let found = ids(emptied.query(&[0.0, 0.2], 10, json!({})).await);
    assert_eq!(found, ["i28", "i29"]);

    let window = create("window").await;
    for n in 0..60 {
        window
            .upsert(&[Item::bare(format!("w{n}"), vec![n as f32, 0.0])])
            .await;
        if n >= 10 {
            window.delete(&[format!("w{}", n - 10)]).await;
            let found = window.query(&[0.0, 0.0], 10, json!({})).await.len();
            assert_eq!(found, 10, "of a window of ten that ends at {n}");
        }
    }
    server.stop().await;
    let server = home.start().await;
    let found = window
        .through(&server.http)
        .query(&[0.0, 0.0], 20, json!({}))
        .await;
    assert_eq!(found.len(), 10, "after a restart");
}
