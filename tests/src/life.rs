//! An index and everything that is known of it, over crashes and restarts of its server.

use crate::index::{Index, by_id};
use crate::item::Item;
use crate::oracle::{fault, nearest, recall};
use crate::random::Random;
use crate::server::Server;
use crate::writer::Writer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::task::JoinHandle;

/// One index and everything that is known of it.
pub struct Life {
    /// The index, through the server that runs now.
    pub index: Index,
    /// Items that are never touched again; they only must stay.
    base: BTreeMap<String, Item>,
    writers: Vec<Writer>,
    dimension: usize,
}

impl Life {
    /// Creates the index with `base` in it, trained if there is one, and `writers` clients that will write beside it.
    pub async fn begin(
        server: &Server,
        name: &str,
        base: Vec<Vec<f32>>,
        dimension: usize,
        writers: usize,
        random: &mut Random,
    ) -> Self {
        let index = Index::create(
            &server.http,
            name,
            &random.hex(32),
            json!({"dimension": dimension}),
        )
        .await;
        let base = base.into_iter().enumerate().map(|(i, vector)| {
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
        let writers = (0..writers)
            .map(|n| Writer::new(&index, n, dimension, random.word()))
            .collect();
        Self {
            index,
            base,
            writers,
            dimension,
        }
    }

    /// Lets every writer write until the server dies.
    pub fn start_writing(&mut self) -> Vec<JoinHandle<Writer>> {
        self.writers
            .drain(..)
            .map(|writer| tokio::spawn(writer.write_until_killed()))
            .collect()
    }

    /// Takes one's own of the writers that have ended.
    pub fn take_back(&mut self, all: &mut Vec<Writer>) {
        let (ours, others) = all
            .drain(..)
            .partition(|writer| writer.index.name == self.index.name);
        (self.writers, *all) = (ours, others);
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.writers.iter().map(|writer| writer.acknowledged).sum()
    }

    /// Reads everything that writers ever wrote, a sample of the rest, and asks queries.
    pub async fn check(&mut self, server: &Server, round: usize, random: &mut Random) {
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
                random.vector(self.dimension)
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

    /// Reads every item that is never touched.
    pub async fn check_base_whole(&self) {
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
