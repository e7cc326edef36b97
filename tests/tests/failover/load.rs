//! A steady load through all coordinators: one client per coordinator writes items again and again, others read them and query. What was
//! acknowledged before a read began is in its answer, else it is stale.

use parking_lot::Mutex;
use sealdex_tests::index::{Index, hits_of, items_of};
use sealdex_tests::item::Item;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

pub(crate) const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Clients of each coordinator.
const READERS: usize = 2;

/// Items that are written again and again: enough for every partition to have some.
const ITEMS: usize = 48;

/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(10);

/// A loaded machine is given so long to answer what is waited for.
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Of each item, the last version that was acknowledged, and the last that was sent.
    acknowledged: Vec<AtomicU64>,
    seen: Mutex<Seen>,
    marked: Mutex<Seen>,
}

/// What clients saw.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) reads: u64,
    pub(crate) failed_reads: u64,
    pub(crate) writes: u64,
    pub(crate) failed_writes: u64,
    pub(crate) stale: Vec<String>,
    read_times: Vec<Duration>,
    write_times: Vec<Duration>,
}

impl Load {
    pub(crate) fn start(indexes: &[Index]) -> Self {
        let shared = Arc::new(Shared {
            acknowledged: (0..ITEMS).map(|_| AtomicU64::new(0)).collect(),
            ..Shared::default()
        });
        let mut clients = Vec::new();
        for (n, index) in indexes.iter().enumerate() {
            // Each item has one writer.
            let mine = (0..ITEMS).filter(|item| item % indexes.len() == n).collect();
            clients.push(tokio::spawn(write(
                index.through(&index.http),
                mine,
                shared.clone(),
            )));
            for reader in 0..READERS {
                let index = index.through(&index.http);
                clients.push(tokio::spawn(read(index, n + 7 * reader, shared.clone())));
            }
        }
        Self { shared, clients }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn answers(&self, more: u64) {
        self.wait(more, |seen| {
            seen.reads - seen.failed_reads + seen.writes - seen.failed_writes
        })
        .await;
    }

    /// The same of reads.
    pub(crate) async fn read_answers(&self, more: u64) {
        self.wait(more, |seen| seen.reads - seen.failed_reads).await;
    }

    async fn wait(&self, more: u64, count: impl Fn(&Seen) -> u64) {
        let until = Instant::now() + PATIENCE;
        let enough = count(&self.shared.seen.lock()) + more;
        while count(&self.shared.seen.lock()) < enough {
            assert!(Instant::now() < until, "no answers: {}", self.shared.seen.lock());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// From here on [`since_mark`](Self::since_mark) counts.
    pub(crate) fn mark(&self) {
        *self.shared.marked.lock() = self.shared.seen.lock().clone();
    }

    pub(crate) fn since_mark(&self) -> Seen {
        let (seen, marked) = (self.shared.seen.lock(), self.shared.marked.lock());
        Seen {
            reads: seen.reads - marked.reads,
            failed_reads: seen.failed_reads - marked.failed_reads,
            writes: seen.writes - marked.writes,
            failed_writes: seen.failed_writes - marked.failed_writes,
            stale: seen.stale[marked.stale.len()..].to_vec(),
            read_times: seen.read_times[marked.read_times.len()..].to_vec(),
            write_times: seen.write_times[marked.write_times.len()..].to_vec(),
        }
    }

    pub(crate) async fn stop(self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.shared.seen.lock().clone()
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn wrote(&self, took: Duration, answered: bool) {
        let mut seen = self.seen.lock();
        seen.writes += 1;
        seen.failed_writes += u64::from(!answered);
        seen.write_times.push(took);
    }

    fn read(&self, took: Duration, answered: bool) {
        let mut seen = self.seen.lock();
        seen.reads += 1;
        seen.failed_reads += u64::from(!answered);
        seen.read_times.push(took);
    }
}

/// Versions of one item are nearer to each other than to any other item.
fn vector(item: usize, version: u64) -> Vec<f32> {
    vec![1000.0 * (item + 1) as f32, version as f32, 1.0]
}

async fn write(index: Index, mine: Vec<usize>, shared: Arc<Shared>) {
    for version in 1.. {
        for item in &mine {
            if !shared.goes_on() {
                return;
            }
            let written = Item::bare(format!("i{item}"), vector(*item, version))
                .with_metadata(json!({"version": version}));
            let begun = Instant::now();
            let reply = index
                .call("vectors/upsert", json!({"items": [written.to_json()]}))
                .await;
            let answered = reply.is_ok_and(|reply| reply.status == 200);
            shared.wrote(begun.elapsed(), answered);
            if answered {
                shared.acknowledged[*item].store(version, Ordering::SeqCst);
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

async fn read(index: Index, first: usize, shared: Arc<Shared>) {
    for n in first.. {
        if !shared.goes_on() {
            return;
        }
        let item = n % ITEMS;
        let id = format!("i{item}");
        let floor = shared.acknowledged[item].load(Ordering::SeqCst);
        let begun = Instant::now();
        let seen = if n % 2 == 0 {
            let answer = answer(&index, "vectors/get", json!({"ids": [id]})).await;
            answer.map(|answer| {
                let items = items_of(&answer).unwrap();
                items
                    .first()
                    .map_or(0, |item| version_of(&item.metadata["version"]))
            })
        } else {
            let body = json!({"query_vectors": vector(item, floor), "top_k": 1, "include": ["metadata"]});
            let answer = answer(&index, "vectors/query", body).await;
            answer.map(|answer| {
                let hits = hits_of(&answer["results"]).unwrap();
                let hit = hits.first().filter(|hit| hit.id == id);
                hit.map_or(0, |hit| version_of(&hit.metadata["version"]))
            })
        };
        shared.read(begun.elapsed(), seen.is_some());
        if seen.is_some_and(|version| version < floor) {
            let stale = format!("item {item}: {seen:?} after {floor} was acknowledged (request {n})");
            shared.seen.lock().stale.push(stale);
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn answer(index: &Index, route: &str, body: Value) -> Option<Value> {
    let reply = index.call(route, body).await.ok()?;
    (reply.status == 200).then(|| reply.json())
}

fn version_of(metadata: &Value) -> u64 {
    metadata.as_u64().unwrap_or_default()
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} reads failed, {}; {} of {} writes failed, {}; {} stale",
            self.failed_reads,
            self.reads,
            times(&self.read_times),
            self.failed_writes,
            self.writes,
            times(&self.write_times),
            self.stale.len()
        )
    }
}

fn times(times: &[Duration]) -> String {
    let mut sorted: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    sorted.sort_unstable();
    let at = |share: usize| sorted.get((sorted.len() * share / 1000).min(sorted.len().saturating_sub(1)));
    let ms = |share| at(share).copied().unwrap_or_default();
    format!(
        "ms p50 {} p95 {} p99 {} max {}",
        ms(500),
        ms(950),
        ms(990),
        ms(1000)
    )
}
