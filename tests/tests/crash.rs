//! kill -9 at random moments, on one data directory, round after round: nothing acknowledged is lost, nothing deleted comes back, no
//! item is half there. Some rounds kill a training half way. `SEALDEX_CRASH_ROUNDS` sets the number of rounds.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::ledger::{Ledger, State};
use sealdex_tests::oracle::{fault, nearest, recall};
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;

const DIMENSION: usize = 24;
/// Enough to be worth training.
const BASE_ITEMS: usize = 10_500;
const WRITERS_PER_INDEX: usize = 2;
const IDS_PER_WRITER: usize = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_kill_nine() {
    let rounds: usize = std::env::var("SEALDEX_CRASH_ROUNDS").map_or(12, |given| given.parse().unwrap());
    let mut random = Random::from_clock("crash rounds", "SEALDEX_CRASH_SEED");
    let home = Home::new();
    let mut server = home.start().await;
    let mut lives = prepare(&server, &mut random).await;
    let mut trainings_killed = 0;
    for round in 0..rounds {
        let training = (round % 3 == 1).then(|| start_training(&lives[1].index));
        let writing = lives
            .iter_mut()
            .flat_map(|life| life.start_writing())
            .collect::<Vec<_>>();
        if training.is_some() {
            trainings_killed += usize::from(wait_for_training(&lives[1].index).await);
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.below(500_000) as u64)).await;
        server.kill();
        let mut writers = Vec::new();
        for task in writing {
            writers.push(task.await.expect("a writer found a fault"));
        }
        if let Some(training) = training {
            training.await.unwrap();
        }
        server = home.start().await;
        for life in &mut lives {
            life.take_back(&mut writers);
            life.check(&server, round, &mut random).await;
        }
    }
    lives[1].index.train().await;
    for life in &mut lives {
        life.check_base_whole().await;
        life.check(&server, rounds, &mut random).await;
    }
    server.stop().await;
    let server = home.start().await;
    for life in &mut lives {
        life.check(&server, rounds, &mut random).await;
    }
    let acknowledged: usize = lives.iter().map(|life| life.acknowledged()).sum();
    println!(
        "{rounds} kills, {trainings_killed} of them in a training, {acknowledged} acknowledged writes, none lost"
    );
    assert!(
        acknowledged > rounds * 20,
        "too little was written for the kills to mean anything: {acknowledged}"
    );
    assert!(
        trainings_killed > 0 || rounds < 2,
        "no training was killed half way"
    );
}

/// One index and everything that is known of it.
struct Life {
    index: Index,
    /// Items that are never touched again; they only must stay.
    base: BTreeMap<String, Item>,
    writers: Vec<Writer>,
}

/// An untrained index and a trained one, the second with many items that stay.
async fn prepare(server: &Server, random: &mut Random) -> Vec<Life> {
    let mut lives = Vec::new();
    for (name, base_items) in [("untrained", 0), ("trained", BASE_ITEMS)] {
        let index = Index::create(
            &server.http,
            name,
            &random.hex(32),
            json!({"dimension": DIMENSION}),
        )
        .await;
        let base = clumped(random, base_items, 100, DIMENSION)
            .into_iter()
            .enumerate()
            .map(|(i, vector)| {
                Item::bare(format!("base{i}"), vector)
                    .with_metadata(json!({"b": i}))
                    .with_contents(format!("base {i}"))
            });
        let base = by_id(base.collect());
        if !base.is_empty() {
            index
                .upsert_binary(&base.values().cloned().collect::<Vec<_>>())
                .await;
            index.train().await;
            assert_eq!(index.describe().await["is_trained"], true);
        }
        let writers = (0..WRITERS_PER_INDEX)
            .map(|n| Writer::new(&index, n, random.word()))
            .collect();
        lives.push(Life { index, base, writers });
    }
    lives
}

impl Life {
    fn start_writing(&mut self) -> Vec<JoinHandle<Writer>> {
        self.writers
            .drain(..)
            .map(|writer| tokio::spawn(writer.write_until_killed()))
            .collect()
    }

    fn take_back(&mut self, all: &mut Vec<Writer>) {
        let (ours, others) = all
            .drain(..)
            .partition(|writer| writer.index.name == self.index.name);
        (self.writers, *all) = (ours, others);
    }

    fn acknowledged(&self) -> usize {
        self.writers.iter().map(|writer| writer.acknowledged).sum()
    }

    /// Reads everything that writers ever wrote, a sample of the rest, and asks queries.
    async fn check(&mut self, server: &Server, round: usize, random: &mut Random) {
        self.index = self.index.through(&server.http);
        for writer in &mut self.writers {
            writer.index = self.index.clone();
            let found = by_id(self.index.get(&writer.ledger.ids()).await);
            let violations = writer.ledger.violations(&found);
            let shown: String = violations
                .iter()
                .take(5)
                .map(|violation| format!("{violation}\n"))
                .collect();
            assert!(
                violations.is_empty(),
                "{}, after kill {round}: {} faults\n{shown}",
                self.index.name,
                violations.len()
            );
            writer.ledger.adopt(&found);
        }
        let sample: Vec<String> = self.base.keys().filter(|_| random.chance(10)).cloned().collect();
        assert!(
            self.index
                .get(&sample)
                .await
                .iter()
                .all(|item| item.is_same_as(&self.base[&item.id]))
        );
        let expected: BTreeMap<&str, &Item> = self.items().map(|item| (item.id.as_str(), item)).collect();
        assert_eq!(
            self.index.ids().await,
            expected.keys().copied().collect::<Vec<_>>(),
            "{}, round {round}",
            self.index.name
        );
        assert_eq!(self.index.count().await, expected.len() as u64);
        self.check_queries(&expected, round, random).await;
    }

    async fn check_queries(&self, expected: &BTreeMap<&str, &Item>, round: usize, random: &mut Random) {
        let all: Vec<&Item> = expected.values().copied().collect();
        let mut total = 0.0;
        for _ in 0..QUERIES {
            let query = if all.is_empty() {
                random.vector(DIMENSION)
            } else {
                all[random.below(all.len())].vector.clone()
            };
            let found = self.index.query(&query, 10, json!({"n_probes": 1_000_000})).await;
            let wrong = fault("euclidean", &found, &query, |id| expected.get(id).copied());
            assert_eq!(wrong, None, "{}, after kill {round}", self.index.name);
            for hit in &found {
                assert_eq!(
                    hit.metadata,
                    Value::Object(expected[hit.id.as_str()].metadata.clone()),
                    "{}",
                    hit.id
                );
            }
            total += recall(&found, &nearest("euclidean", all.iter().copied(), &query, 10));
        }
        let mean = total / QUERIES as f64;
        assert!(
            mean >= 0.97,
            "{}, after kill {round}: recall {mean} with every cluster probed",
            self.index.name
        );
    }

    async fn check_base_whole(&self) {
        let read = self
            .index
            .get(&self.base.keys().cloned().collect::<Vec<_>>())
            .await;
        assert!(
            read.len() == self.base.len()
                && read.iter().zip(self.base.values()).all(|(a, b)| a.is_same_as(b))
        );
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.writers
            .iter()
            .flat_map(|writer| writer.ledger.items())
            .chain(self.base.values())
    }
}

const QUERIES: usize = 20;

/// One client that writes, deletes and reads ids of its own.
struct Writer {
    index: Index,
    ids: Vec<String>,
    ledger: Ledger,
    random: Random,
    version: u64,
    acknowledged: usize,
}

impl Writer {
    fn new(index: &Index, number: usize, seed: u64) -> Self {
        let ids = (0..IDS_PER_WRITER).map(|i| format!("w{number}-{i}")).collect();
        let (ledger, random) = (Ledger::default(), Random::new(seed));
        Self {
            index: index.clone(),
            ids,
            ledger,
            random,
            version: 0,
            acknowledged: 0,
        }
    }

    /// Works until a request gets no answer. Any answer but a 200 is a fault.
    async fn write_until_killed(mut self) -> Self {
        loop {
            let answered = match self.random.below(10) {
                0 => self.query_one().await,
                1..=3 => self.delete_some().await,
                _ => self.upsert_some().await,
            };
            if !answered {
                return self;
            }
        }
    }

    async fn upsert_some(&mut self) -> bool {
        let writes: Vec<(String, State)> = self
            .some_ids()
            .into_iter()
            .map(|id| (id.clone(), Some(self.version_of(id))))
            .collect();
        let items: Vec<Value> = writes
            .iter()
            .filter_map(|(_, state)| state.as_ref())
            .map(Item::to_json)
            .collect();
        self.write("vectors/upsert", json!({"items": items}), &writes)
            .await
    }

    async fn delete_some(&mut self) -> bool {
        let ids = self.some_ids();
        let writes: Vec<(String, State)> = ids.iter().map(|id| (id.clone(), None)).collect();
        self.write("vectors/delete", json!({"ids": ids}), &writes).await
    }

    async fn write(&mut self, route: &str, body: Value, writes: &[(String, State)]) -> bool {
        self.ledger.begin(writes);
        let Ok(reply) = self.index.call(route, body).await else {
            return false;
        };
        assert_eq!(reply.status, 200, "{route}: {}", reply.text());
        self.ledger.acknowledge(writes);
        self.acknowledged += writes.len();
        true
    }

    /// An item of one's own is found where it is, and nothing of one's own in an older state or after its deletion.
    async fn query_one(&mut self) -> bool {
        let Some(item) = self
            .ledger
            .get(&self.ids[self.random.below(self.ids.len())])
            .cloned()
        else {
            return true;
        };
        let body = json!({"query_vectors": item.vector, "top_k": 10, "include": ["distance", "metadata"]});
        let Ok(reply) = self.index.call("vectors/query", body).await else {
            return false;
        };
        let answer = reply.ok();
        let rows = answer["results"].as_array().unwrap();
        assert!(
            rows.iter().any(|row| row["id"] == *item.id),
            "{} is not found by its own vector: {answer}",
            item.id
        );
        for row in rows {
            let id = row["id"].as_str().unwrap();
            if self.ids.iter().any(|own| own == id) {
                let known = self
                    .ledger
                    .get(id)
                    .unwrap_or_else(|| panic!("{id} was deleted before this query: {row}"));
                assert_eq!(
                    row["metadata"],
                    Value::Object(known.metadata.clone()),
                    "{id} is in an older state"
                );
            }
        }
        true
    }

    fn some_ids(&mut self) -> Vec<String> {
        let count = 1 + self.random.below(20);
        let start = self.random.below(self.ids.len());
        (0..count)
            .map(|i| self.ids[(start + i * 7) % self.ids.len()].clone())
            .collect()
    }

    /// A state whose every part names its version. Sizes vary, so that some writes are large.
    fn version_of(&mut self, id: String) -> Item {
        self.version += 1;
        let version = self.version;
        let filler = if self.random.chance(10) {
            self.random.below(60_000)
        } else {
            self.random.below(200)
        };
        let contents = format!("{id} version {version} {}", "x".repeat(filler));
        let metadata = json!({"version": version, "even": version.is_multiple_of(2), "owner": id});
        Item::bare(id, self.random.vector(DIMENSION))
            .with_metadata(metadata)
            .with_contents(contents)
    }
}

fn start_training(index: &Index) -> JoinHandle<()> {
    let index = index.clone();
    tokio::spawn(async move {
        // Killed, or finished before the kill: both are right.
        if let Ok(reply) = index.call("indexes/train", json!({})).await {
            reply.ok();
        }
    })
}

/// True once the server says that it trains; false if the training was too quick to be seen.
async fn wait_for_training(index: &Index) -> bool {
    for _ in 0..1_000 {
        if index.is_training().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}
