//! A rolling restart that no client notices: three coordinators and three shard nodes are asked to end and started again, one after the
//! other, under a steady load. Clients do what a load balancer does and no more: they leave a coordinator that is not ready, and a
//! connection that the server says is closed. They repeat nothing that was sent.

#![allow(clippy::unwrap_used)]

use parking_lot::Mutex;
use sealdex_tests::http::{Http, Reply, Unanswered};
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const DIMENSION: usize = 8;
const WORKERS: usize = 6;

/// Between two requests of a worker: the load is to be steady, not as much as goes.
const PAUSE: Duration = Duration::from_millis(5);

/// How often a coordinator is asked whether it is ready.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// The coordinators, and which of them are ready as far as is known.
struct Balancer {
    coordinators: Vec<(Arc<Http>, AtomicBool)>,
}

impl Balancer {
    fn of(nodes: &Nodes) -> Arc<Self> {
        let coordinators = nodes.all(Kind::Coordinator).into_iter();
        let balancer = Arc::new(Self {
            coordinators: coordinators
                .map(|n| (nodes.http(n), AtomicBool::new(true)))
                .collect(),
        });
        for (place, n) in nodes.all(Kind::Coordinator).into_iter().enumerate() {
            let (admin, balancer) = (nodes.admin(n), Arc::downgrade(&balancer));
            tokio::spawn(async move {
                while let Some(balancer) = balancer.upgrade() {
                    let ready = admin.get("/readyz").await.is_ok_and(|reply| reply.status == 200);
                    balancer.coordinators[place].1.store(ready, Ordering::Relaxed);
                    drop(balancer);
                    tokio::time::sleep(PROBE_EVERY).await;
                }
            });
        }
        balancer
    }

    /// One that is ready; the turn goes round.
    fn pick(&self, turn: usize) -> &Arc<Http> {
        let ready: Vec<_> = self
            .coordinators
            .iter()
            .filter(|(_, ready)| ready.load(Ordering::Relaxed))
            .collect();
        &ready
            .get(turn % ready.len().max(1))
            .expect("a coordinator is ready")
            .0
    }
}

/// What came of the requests.
#[derive(Default)]
struct Tally {
    done: BTreeMap<&'static str, usize>,
    failed: Vec<String>,
    slowest: Duration,
}

impl Tally {
    /// Takes note of an answer; returns whether it was the one that was asked for.
    fn note(
        &mut self,
        kind: &'static str,
        what: String,
        took: Duration,
        answer: Result<Reply, Unanswered>,
    ) -> bool {
        self.slowest = self.slowest.max(took);
        let said = match answer {
            Ok(reply) if reply.status == 200 => {
                *self.done.entry(kind).or_default() += 1;
                return true;
            }
            Ok(reply) => format!("{} {}", reply.status, reply.text()),
            Err(why) => why.0,
        };
        self.failed.push(format!("{what} after {took:?}: {said}"));
        false
    }
}

/// Writes, reads, asks and deletes its own items until it is told to stop; returns those that must be there.
fn worker(
    number: usize,
    index: Index,
    balancer: Arc<Balancer>,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let (begun, mut kept) = (Instant::now(), Vec::new());
        for round in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let id = format!("w{number}-{round}");
            let vector: Vec<f32> = (0..DIMENSION)
                .map(|axis| ((number * 31 + round * 7 + axis * 13) % 101) as f32)
                .collect();
            let item = Item::bare(id.clone(), vector.clone());
            let deletes = round % 4 == 3;
            let mut steps = vec![
                ("upsert", "vectors/upsert", json!({"items": [item.to_json()]})),
                ("get", "vectors/get", json!({"ids": [id], "include": ["vector"]})),
                (
                    "query",
                    "vectors/query",
                    json!({"query_vectors": [vector], "top_k": 3}),
                ),
            ];
            if deletes {
                steps.push(("delete", "vectors/delete", json!({"ids": [id]})));
            }
            let mut whole = true;
            for (turn, (kind, path, body)) in steps.into_iter().enumerate() {
                let through = index.through(balancer.pick(number + round + turn));
                let sent = Instant::now();
                let answer = through.call(path, body).await;
                let what = format!("{:.2} s: {kind} of {id}", begun.elapsed().as_secs_f64());
                whole &= tally.lock().note(kind, what, sent.elapsed(), answer);
                tokio::time::sleep(PAUSE).await;
            }
            if whole && !deletes {
                kept.push(id);
            }
        }
        kept
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_every_node_is_restarted() {
    let mut nodes = Nodes::new(3, 3);
    nodes.start_all().await;
    let all: Vec<usize> = nodes
        .all(Kind::Coordinator)
        .into_iter()
        .chain(nodes.all(Kind::Shard))
        .collect();
    for n in &all {
        nodes.ready(*n).await;
    }
    let index = Index::create(&nodes.http(all[0]), "kept", KEY, json!({"dimension": DIMENSION})).await;
    let (balancer, tally) = (Balancer::of(&nodes), Arc::new(Mutex::new(Tally::default())));
    let (stop, begun) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let index = index.through(&nodes.http(all[0]));
            worker(number, index, balancer.clone(), tally.clone(), stop.clone())
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for n in &all {
        let failed = tally.lock().failed.len();
        nodes.stop(*n).await;
        println!(
            "{:.1} s: node {n} has ended, {} requests failed meanwhile",
            begun.elapsed().as_secs_f64(),
            tally.lock().failed.len() - failed
        );
        nodes.start(*n);
        for other in &all {
            nodes.ready(*other).await;
        }
        // Not ready for a moment only: leaders are spread again.
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!(
            "{:.1} s: it is back, {} in all",
            begun.elapsed().as_secs_f64(),
            tally.lock().failed.len() - failed
        );
    }
    stop.store(true, Ordering::Relaxed);
    let mut kept = Vec::new();
    for worker in workers {
        kept.extend(worker.await.unwrap());
    }
    let there = index.ids().await;
    let tally = tally.lock();
    println!(
        "{:?}, slowest {:?}, failed {}",
        tally.done,
        tally.slowest,
        tally.failed.len()
    );
    assert!(tally.failed.is_empty(), "{:#?}", tally.failed);
    assert!(tally.done.values().sum::<usize>() > 1000, "{:?}", tally.done);
    let lost: Vec<_> = kept.iter().filter(|id| !there.contains(*id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
