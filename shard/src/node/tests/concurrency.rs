//! Queries beside writes and folds: what was acknowledged is found, whatever goes on.

use super::bench::*;
use crate::Node;
use sealdex_core::{ClusterNo, Metric};
use sealdex_index::dataplane::{FoldRequest, ShardError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A fold of each cluster, its blocks not named yet.
fn folds(bench: &Bench) -> Vec<FoldRequest> {
    let fold = |cluster| FoldRequest {
        target: bench.target_of(cluster),
        generation: GENERATION,
        cluster: bench.cluster(cluster),
        blocks: Vec::new(),
        dead: Vec::new(),
        codec: bench.model.quantiser.codec(),
        dimension: bench.model.dimension,
    };
    (0..bench.model.clusters()).map(ClusterNo).map(fold).collect()
}

/// Folds every cluster again and again until told to stop; returns how many folds went through.
async fn keep_folding(node: Arc<Node>, folds: Vec<FoldRequest>, stop: Arc<AtomicBool>) -> u32 {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        for fold in &folds {
            let blocks = node
                .cluster_rows(fold.target, GENERATION, fold.cluster)
                .await
                .unwrap()
                .blocks;
            match node
                .fold(FoldRequest {
                    blocks,
                    dead: Vec::new(),
                    ..*fold
                })
                .await
            {
                Ok(_) => done += 1,
                Err(ShardError::BlocksGone) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folds_hide_no_row() {
    let vectors = Numbers(30).rows(800, 24);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    for (n, batch) in vectors.chunks(100).enumerate() {
        bench.upsert("i", n * 100, batch).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let folders: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn(keep_folding(
                Arc::clone(&bench.node),
                folds(&bench),
                Arc::clone(&stop),
            ))
        })
        .collect();
    for n in 0..100 {
        bench.upsert("i", n, &vectors[n..n + 1]).await;
        let found = bench.scan(&vectors[..1], None, 2000, EVERYWHERE).await;
        let found: BTreeSet<_> = found.candidates[0].iter().map(|c| (c.label, c.op)).collect();
        assert_eq!(found.len(), 800 + n + 1, "every row that was ever written, once");
        let current = |(id, item): (&String, &Item)| found.contains(&(bench.labels.item(id), item.op));
        assert!(bench.items.iter().all(current));
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for folder in folders {
        done += folder.await.unwrap();
    }
    assert!(done > 5, "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_found_at_once() {
    let vectors = Numbers(31).rows(400, 24);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    for (n, vector) in vectors.iter().enumerate() {
        bench.upsert("i", n, std::slice::from_ref(vector)).await;
        let found = bench
            .scan(std::slice::from_ref(vector), None, 5, EVERYWHERE)
            .await;
        let nearest = bench.resolve(vector, &found.candidates[0]).await;
        assert_eq!(nearest[0], (0.0, bench.labels.item(&format!("i{n}"))));
    }
}
