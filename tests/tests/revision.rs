//! Revisions: an index that grows or moves is revised by itself while clients use it. No item is missed meanwhile, through whichever
//! coordinator, and whatever is killed on the way.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::oracle::{nearest, recall};
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::server::{Home, Server};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const DIMENSION: usize = 32;
const TRAINED: usize = 3_000;
const BATCH: usize = 250;
/// Recall of so many queries is right to about a hundredth.
const QUERIES: usize = 300;
const ROUNDS: usize = 4;
const KEY: &str = "7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d7d";

/// What an index should hold.
struct Grown {
    index: Index,
    items: BTreeMap<String, Item>,
    random: Random,
    next: usize,
}

impl Grown {
    /// An index of `TRAINED` items, trained.
    async fn begin(index: Index, seed: u64) -> Self {
        let mut grown = Self {
            index,
            items: BTreeMap::new(),
            random: Random::new(seed),
            next: 0,
        };
        let first = grown.more(TRAINED, 0.0);
        grown.index.upsert_binary(&first).await;
        grown.items.extend(by_id(first));
        grown.index.train().await;
        grown
    }

    /// Items of the same kind, `away` from the first.
    fn more(&mut self, count: usize, away: f32) -> Vec<Item> {
        // The same clumps each time.
        let rows = clumped(&mut Random::new(77), 4 * TRAINED, 40, DIMENSION);
        let mut row = || {
            let row = &rows[self.random.below(rows.len())];
            let noise = |x: &f32| x + away + 0.05 * self.random.normal();
            let row: Vec<f32> = row.iter().map(noise).collect();
            self.next += 1;
            Item::bare(format!("item{}", self.next), row).with_metadata(json!({"n": self.next}))
        };
        (0..count).map(|_| row()).collect()
    }

    async fn lists(&self) -> u64 {
        self.index.describe().await["n_lists"].as_u64().unwrap()
    }

    /// Every item is nearest to its own vector, with default parameters.
    async fn all_find_themselves(&self) {
        let all: Vec<&Item> = self.items.values().collect();
        for some in all.chunks(1_000) {
            let vectors: Vec<Vec<f32>> = some.iter().map(|item| item.vector.clone()).collect();
            let answers = self.index.query_batch(&vectors, 1, json!({})).await;
            for (item, hits) in some.iter().zip(answers) {
                assert_eq!(
                    (&hits[0].id, hits[0].distance),
                    (&item.id, 0.0),
                    "{} is missed",
                    item.id
                );
            }
        }
        let mut expected: Vec<&String> = self.items.keys().collect();
        expected.sort();
        let ids = self.index.ids().await;
        assert!(
            ids.iter().eq(expected),
            "{} ids of {}",
            ids.len(),
            self.items.len()
        );
    }

    async fn recall(&mut self) -> f64 {
        let queries: Vec<Vec<f32>> = self
            .more(QUERIES, 0.0)
            .into_iter()
            .map(|item| item.vector)
            .collect();
        let answers = self.index.query_batch(&queries, 10, json!({})).await;
        let truth = |query: &Vec<f32>| nearest("euclidean", self.items.values(), query, 10);
        let recalls = queries
            .iter()
            .zip(&answers)
            .map(|(query, hits)| recall(hits, &truth(query)));
        recalls.sum::<f64>() / queries.len() as f64
    }
}

async fn create(http: &Arc<sealdex_tests::http::Http>) -> Index {
    Index::create(
        http,
        "grown",
        KEY,
        json!({"metric": "euclidean", "dimension": DIMENSION}),
    )
    .await
}

fn times_said(log: &Path, words: &str) -> usize {
    std::fs::read_to_string(log).unwrap().matches(words).count()
}

async fn until_said(log: &Path, words: &str, times: usize) {
    for _ in 0..600 {
        if times_said(log, words) >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "within a minute {} did not say {times} times: {words}",
        log.display()
    );
}

/// Asks without a pause for items that were acknowledged, each by its own vector, until it is told to stop. Returns how many it asked for.
async fn ask_for_what_was_written(
    index: Index,
    mut written: watch::Receiver<Vec<Item>>,
    mut random: Random,
) -> usize {
    let mut asked = 0;
    while written.has_changed().is_ok() {
        let known = written.borrow_and_update().clone();
        for _ in 0..20 {
            let item = &known[random.below(known.len())];
            let hits = index.query(&item.vector, 1, json!({})).await;
            assert_eq!(
                (&hits[0].id, hits[0].distance),
                (&item.id, 0.0),
                "{} is missed",
                item.id
            );
            asked += 1;
        }
    }
    asked
}

/// Grows an index to three times its size while others ask through `through`. Returns how many questions were answered.
async fn grow_while_asked(grown: &mut Grown, through: Vec<Index>, away: f32) -> usize {
    let known: Vec<Item> = grown.items.values().cloned().collect();
    let (tell, told) = watch::channel(known);
    let asking: Vec<_> = through
        .into_iter()
        .enumerate()
        .map(|(n, index)| {
            tokio::spawn(ask_for_what_was_written(
                index,
                told.clone(),
                Random::new(n as u64),
            ))
        })
        .collect();
    drop(told);
    for _ in 0..2 * TRAINED / BATCH {
        let items = grown.more(BATCH, away);
        grown.index.upsert_binary(&items).await;
        grown.items.extend(by_id(items.clone()));
        tell.send_modify(|known| known.extend(items));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while grown.index.is_training().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(tell);
    let mut asked = 0;
    for asker in asking {
        asked += asker.await.unwrap();
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_grows_or_moves_is_revised_and_no_item_is_missed() {
    for (away, seed) in [(0.0, 1), (30.0, 2)] {
        let home = Home::new();
        let server = home.start().await;
        let mut grown = Grown::begin(create(&server.http).await, seed).await;
        let (before, lists) = (grown.recall().await, grown.lists().await);
        let through = vec![grown.index.clone(), grown.index.clone()];
        let asked = grow_while_asked(&mut grown, through, away).await;
        let (after, more) = (grown.recall().await, grown.lists().await);
        println!(
            "{away} away: {asked} asked, lists {lists}, then {more}; recall {before:.3}, then {after:.3}"
        );
        assert!(more > lists, "{more} lists, {lists} before");
        assert!(
            after >= before - 0.04 && after >= 0.92,
            "a recall of {after}, {before} before"
        );
        assert!(asked > 100);
        grown.all_find_themselves().await;
        assert!(times_said(&home.log(), "revised a generation") >= 1);
        assert_eq!(
            times_said(&home.log(), "learned a generation"),
            1,
            "nobody trains"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_that_do_not_revise_miss_nothing_either() {
    let mut nodes = Nodes::new(3, 1);
    nodes.start_all().await;
    let coordinators = nodes.all(Kind::Coordinator);
    let mut grown = Grown::begin(create(&nodes.http(coordinators[0])).await, 3).await;
    let lists = grown.lists().await;
    let through = coordinators
        .iter()
        .map(|n| grown.index.through(&nodes.http(*n)))
        .collect();
    let asked = grow_while_asked(&mut grown, through, 0.0).await;
    let more = grown.lists().await;
    println!("{asked} asked, lists {lists}, then {more}");
    assert!(more > lists && asked > 100);
    for n in coordinators {
        grown.index = grown.index.through(&nodes.http(n));
        grown.all_find_themselves().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_is_killed_goes_on_and_loses_nothing() {
    let rounds = std::env::var("SEALDEX_REVISION_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut random = Random::from_clock("killed revisions", "SEALDEX_REVISION_SEED");
    let (mut killed_within, mut acknowledged) = (0, 0);
    for round in 0..rounds {
        let home = Home::new();
        let mut server: Server = home.start().await;
        let mut grown = Grown::begin(create(&server.http).await, round as u64).await;
        for _ in 0..3 {
            let begun = times_said(&home.log(), "revising a generation");
            while times_said(&home.log(), "revising a generation") == begun && grown.items.len() < 4 * TRAINED
            {
                let items = grown.more(BATCH, 0.0);
                grown.index.upsert_binary(&items).await;
                grown.items.extend(by_id(items));
            }
            tokio::time::sleep(Duration::from_millis(random.below(250) as u64)).await;
            let finished = times_said(&home.log(), "revised a generation");
            killed_within += usize::from(finished < times_said(&home.log(), "revising a generation"));
            server.kill();
            server = home.start().await;
            grown.index = grown.index.through(&server.http);
            grown.all_find_themselves().await;
        }
        acknowledged += grown.items.len();
        // A write tells that something is to be done.
        let done = times_said(&home.log(), "revised a generation");
        let items = grown.more(BATCH, 0.0);
        grown.index.upsert_binary(&items).await;
        grown.items.extend(by_id(items));
        if grown.items.len() as u64 >= 2 * TRAINED as u64 && done == 0 {
            until_said(&home.log(), "revised a generation", 1).await;
        }
        while grown.index.is_training().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        grown.all_find_themselves().await;
        assert!(grown.recall().await >= 0.9);
    }
    println!(
        "{killed_within} of {} kills within a revision; {acknowledged} items, none lost",
        3 * rounds
    );
    assert!(killed_within > 0, "no kill met a revision");
}
