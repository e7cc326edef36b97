//! Queries answer correctly while a training runs and while others write; a write is seen by the next request.
#![allow(clippy::unwrap_used)]

use sealdex_tests::fashion;
use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::oracle::{distance, fault, is_close, nearest, recall};
use sealdex_tests::random::Random;
use sealdex_tests::server::Home;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const KEY: &str = "77777777777777777777777777777777777777777777777777777777777777aa";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_and_writes_go_on_during_a_training() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(
        &server.http,
        "busy",
        KEY,
        json!({"dimension": fashion::DIMENSION}),
    )
    .await;
    let items = Arc::new(by_id(fashion::items()));
    index
        .upsert_binary(&items.values().cloned().collect::<Vec<_>>())
        .await;
    let finished = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|n| tokio::spawn(read_until(index.clone(), items.clone(), n, finished.clone())))
        .collect();
    let writer = tokio::spawn(write_until(index.clone(), finished.clone()));
    for training in ["the first", "a second"] {
        assert!(
            train_and_watch(&index).await,
            "training-status never named the index during {training} training"
        );
    }
    finished.store(true, Ordering::Relaxed);
    for reader in readers {
        let asked = reader.await.expect("a reader found a fault");
        println!("{asked} queries while training");
        assert!(asked > 0);
    }
    let written = writer.await.expect("the writer found a fault");
    assert!(written.values().any(Option::is_some) && written.values().any(Option::is_none));
    assert_eq!(index.describe().await["is_trained"], true);
    // What was written during the trainings is in the new generation, what was deleted is not.
    let total = items.len() + written.values().flatten().count();
    assert_eq!(index.count().await, total as u64);
    for (id, state) in &written {
        let found = index.get(std::slice::from_ref(id)).await;
        assert_eq!(found.first(), state.as_ref(), "{id}");
        if let Some(item) = state {
            let hits = index.query(&item.vector, 3, json!({})).await;
            assert!(
                hits.iter().any(|hit| hit.id == *id),
                "{id} is not found after the training"
            );
        }
    }
}

/// Trains, and says whether the server said so meanwhile.
async fn train_and_watch(index: &Index) -> bool {
    let training = tokio::spawn({
        let index = index.clone();
        async move { index.train().await }
    });
    let mut seen = false;
    while !training.is_finished() {
        seen |= index.is_training().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    training.await.expect("a training failed");
    seen
}

/// Asks queries whose true answers do not change. The writer's items are near none of them.
async fn read_until(
    index: Index,
    items: Arc<BTreeMap<String, Item>>,
    n: usize,
    finished: Arc<AtomicBool>,
) -> usize {
    let queries = fashion::queries();
    let mut asked = 0;
    let mut total = 0.0;
    while !finished.load(Ordering::Relaxed) {
        let query = &queries[(asked * 2 + n) % queries.len()];
        let hits = index.query(query, 10, json!({})).await;
        assert_eq!(hits.len(), 10, "an answer came back short during a training");
        assert_eq!(fault("euclidean", &hits, query, |id| items.get(id)), None);
        total += recall(&hits, &nearest("euclidean", items.values(), query, 10));
        asked += 1;
    }
    assert!(
        asked < 20 || total / asked as f64 >= 0.95,
        "recall during a training is {}",
        total / asked as f64
    );
    asked
}

/// Writes, replaces and deletes, and reads each of its writes back at once. Returns the final states.
async fn write_until(index: Index, finished: Arc<AtomicBool>) -> BTreeMap<String, Option<Item>> {
    let pictures = fashion::items();
    let mut states = BTreeMap::new();
    for i in 0.. {
        if finished.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("written{}", i % 60);
        let vector = negative(&pictures[i * 17 % pictures.len()].vector);
        if i % 3 == 2 {
            index.delete(std::slice::from_ref(&id)).await;
            let hits = index.query(&vector, 200, json!({})).await;
            assert!(
                hits.iter().all(|hit| hit.id != id),
                "{id} was deleted before this query"
            );
            states.insert(id, None);
        } else {
            let item = Item::bare(&id, vector)
                .with_metadata(json!({"i": i}))
                .with_contents(i.to_string());
            index.upsert(std::slice::from_ref(&item)).await;
            let read = index.get(std::slice::from_ref(&id)).await;
            assert_eq!(read, std::slice::from_ref(&item), "a write is read back at once");
            let hits = index.query(&item.vector, 3, json!({})).await;
            let hit = hits
                .iter()
                .find(|hit| hit.id == id)
                .unwrap_or_else(|| panic!("{id} is not found at once: {hits:?}"));
            assert_eq!(hit.metadata["i"], i, "{id} is found in an older state");
            states.insert(id, Some(item));
        }
    }
    states
}

/// A picture's negative. No picture is near one.
fn negative(picture: &[f32]) -> Vec<f32> {
    picture.iter().map(|x| 255.0 - x).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_writing_one_index_lose_nothing() {
    let home = Home::new();
    let server = home.start().await;
    let index = Index::create(&server.http, "shared", KEY, json!({})).await;
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let index = index.clone();
            tokio::spawn(async move {
                for batch in 0..10 {
                    let items: Vec<Item> = (0..20)
                        .map(|i| {
                            Item::bare(
                                format!("{client}-{batch}-{i}"),
                                vec![client as f32, batch as f32, i as f32],
                            )
                        })
                        .collect();
                    index.upsert(&items).await;
                    // All clients fight over one id; some whole version of it must win.
                    index
                        .upsert(&[
                            Item::bare("contested", vec![client as f32; 3]).with_contents(client.to_string())
                        ])
                        .await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(index.count().await, 8 * 10 * 20 + 1);
    let contested = &index.get(&["contested".to_owned()]).await[0];
    assert_eq!(
        contested.vector,
        vec![contested.contents.parse::<f32>().unwrap(); 3]
    );
    let hits = index.query(&[3.0, 4.0, 5.0], 1, json!({})).await;
    assert_eq!(hits[0].id, "3-4-5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_being_replaced_is_found_all_the_time() {
    let home = Home::new();
    let server = home.start().await;
    let mut random = Random::new(11);
    let index = Index::create(
        &server.http,
        "replaced",
        &random.hex(32),
        json!({"dimension": 16}),
    )
    .await;
    let items: Vec<Item> = (0..500)
        .map(|n| Item::bare(n.to_string(), random.vector(16)))
        .collect();
    index.upsert(&items).await;
    let stop = AtomicBool::new(false);
    let write = async {
        while !stop.load(Ordering::Relaxed) {
            index.upsert(&items[..50]).await;
        }
    };
    let read = async {
        for n in 0..1500 {
            let item = &items[n % 50];
            let hits = index.query(&item.vector, 10, json!({})).await;
            assert_eq!(hits.len(), 10, "query {n} comes back short");
            assert_eq!(hits[0].id, item.id, "query {n}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_being_replaced_is_found_under_a_filter_that_it_goes_on_matching() {
    let home = Home::new();
    let server = home.start().await;
    let mut random = Random::new(12);
    let index = Index::create(
        &server.http,
        "replaced",
        &random.hex(32),
        json!({"dimension": 16}),
    )
    .await;
    let mut items: Vec<Item> = (0..500)
        .map(|n| Item::bare(n.to_string(), random.vector(16)).with_metadata(json!({"kind": "other"})))
        .collect();
    index.upsert(&items).await;
    for item in &mut items[..50] {
        item.metadata["kind"] = json!("wanted");
    }
    index.upsert(&items[..50]).await;
    let stop = AtomicBool::new(false);
    let write = async {
        while !stop.load(Ordering::Relaxed) {
            index.upsert(&items[..50]).await;
        }
    };
    let read = async {
        for n in 0..1500 {
            let hits = index
                .query(&items[n % 50].vector, 50, json!({"filters": {"kind": "wanted"}}))
                .await;
            assert_eq!(hits.len(), 50, "query {n} misses an item");
            assert_eq!(hits[0].id, items[n % 50].id, "query {n}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(write, read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_writes_overtake_every_time_misses_nothing() {
    const WRITERS: usize = 6;
    const EACH: usize = 10;
    const TOP_K: usize = WRITERS * EACH + 10;
    let home = Home::new();
    let server = home.start().await;
    let mut random = Random::new(13);
    let settings = json!({"dimension": 4});
    let index = Index::create(&server.http, "overtaken", &random.hex(32), settings).await;
    let item = |id: String, vector| Item::bare(id, vector).with_metadata(json!({"kind": "wanted"}));
    // To settle which of so many that tie come first takes a while, in which some of the others are written.
    let tied: Vec<Item> = (0..4_000)
        .map(|n| item(format!("tied{n}"), vec![1.0, 2.0, 3.0, 4.0]))
        .collect();
    let replaced: Vec<Item> = (0..WRITERS * EACH)
        .map(|n| {
            item(
                format!("replaced{n}"),
                random.vector(4).iter().map(|x| x / 100.0).collect(),
            )
        })
        .collect();
    index.upsert(&tied).await;
    index.upsert(&replaced).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = replaced
        .chunks(EACH)
        .map(|share| {
            let (index, stop, mut share) = (index.clone(), stop.clone(), share.to_vec());
            tokio::spawn(async move {
                for version in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let x = (version % 50) as f32 / 100.0;
                    share.iter_mut().for_each(|item| item.vector[0] = x);
                    index.upsert(&share).await;
                }
            })
        })
        .collect();
    for filter in [json!({}), json!({"kind": "wanted"})] {
        let queries = vec![[0.0; 4]; 40];
        let query = json!({
            "query_vectors": queries, "top_k": TOP_K, "filters": filter,
            "include": ["distance", "vector", "metadata", "contents"],
        });
        let answer = index.must("vectors/query", query).await;
        for hits in answer["results"].as_array().unwrap() {
            check_hits_of_origin(hits.as_array().unwrap(), TOP_K);
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

/// So many, in order, each with the distance of the vector that comes with it.
fn check_hits_of_origin(hits: &[Value], expected: usize) {
    assert_eq!(hits.len(), expected, "an answer is short");
    let mut farthest = 0.0;
    for hit in hits {
        let item = Item::from_json(hit).unwrap();
        let exact = distance("euclidean", &item.vector, &[0.0; 4]);
        let told = hit["distance"].as_f64().unwrap();
        assert!(
            is_close(told, exact),
            "{told}, not {exact}, that of the vector beside it"
        );
        assert!(told >= farthest, "an answer is out of order");
        farthest = told;
    }
}
