//! A client that writes and deletes items of its own until the server dies, and remembers what was acknowledged.

use crate::index::Index;
use crate::item::Item;
use crate::ledger::{Ledger, State};
use crate::random::Random;
use serde_json::{Value, json};

/// One client that writes, deletes and reads ids of its own.
pub struct Writer {
    /// The index, through the server that runs now.
    pub index: Index,
    /// What the writer knows.
    pub ledger: Ledger,
    /// How many writes of an item were acknowledged.
    pub acknowledged: usize,
    ids: Vec<String>,
    random: Random,
    version: u64,
    dimension: usize,
}

impl Writer {
    /// The writer `number` of an index; no two of one index share a number.
    pub fn new(index: &Index, number: usize, dimension: usize, seed: u64) -> Self {
        let ids = (0..IDS_PER_WRITER).map(|i| format!("w{number}-{i}")).collect();
        let (ledger, random) = (Ledger::default(), Random::new(seed));
        Self {
            index: index.clone(),
            ids,
            ledger,
            random,
            version: 0,
            dimension,
            acknowledged: 0,
        }
    }

    /// Works until a request gets no answer. Any answer but a 200 is a fault.
    pub async fn write_until_killed(mut self) -> Self {
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
        let rows = answer["results"].as_array().expect("results is a list");
        assert!(
            rows.iter().any(|row| row["id"] == *item.id),
            "{} is not found by its own vector: {answer}",
            item.id
        );
        for row in rows {
            let id = row["id"].as_str().expect("an id is text");
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
        Item::bare(id, self.random.vector(self.dimension))
            .with_metadata(metadata)
            .with_contents(contents)
    }
}

/// Few enough that ids are written over and over, enough that a batch holds no id twice.
const IDS_PER_WRITER: usize = 150;
