//! Folding: few well-filled blocks, the same answers, no dead rows.

use super::bench::*;
use sealdex_core::{BlockId, ClusterNo, ItemLabel, Metric, Op};
use sealdex_index::dataplane::{ClusterRows, FoldRequest, ShardError};
use std::collections::BTreeSet;

async fn rows(bench: &Bench, cluster: ClusterNo) -> ClusterRows {
    bench
        .node
        .cluster_rows(bench.target_of(cluster), GENERATION, bench.cluster(cluster))
        .await
        .unwrap()
}

fn request(
    bench: &Bench,
    cluster: ClusterNo,
    blocks: Vec<BlockId>,
    dead: Vec<(ItemLabel, Op)>,
) -> FoldRequest {
    FoldRequest {
        target: bench.target_of(cluster),
        generation: GENERATION,
        cluster: bench.cluster(cluster),
        blocks,
        dead,
        codec: bench.model.quantiser.codec(),
        dimension: bench.model.dimension,
    }
}

/// The rows of a cluster that no item acknowledges.
fn dead(bench: &Bench, rows: &ClusterRows) -> Vec<(ItemLabel, Op)> {
    let current: BTreeSet<_> = bench
        .items
        .iter()
        .map(|(id, item)| (bench.labels.item(id), item.op))
        .collect();
    rows.rows
        .iter()
        .filter(|row| !current.contains(row))
        .copied()
        .collect()
}

fn clusters(bench: &Bench) -> Vec<ClusterNo> {
    (0..bench.model.clusters()).map(ClusterNo).collect()
}

#[tokio::test]
async fn small_blocks_become_one_and_answers_stay() {
    for (trained, dimension) in [(false, 6), (false, 40), (true, 80)] {
        let vectors = Numbers(20).rows(900, dimension);
        let mut bench = Bench::new(trained, Metric::Euclidean, &vectors).await;
        let mut crowded = BTreeSet::new();
        for (n, batch) in vectors.chunks(60).enumerate() {
            for reply in bench.upsert("i", n * 60, batch).await {
                crowded.extend(reply.crowded);
            }
        }
        bench.upsert("i", 100, &vectors[..50]).await;
        bench.delete(&["i7", "i8"]).await;
        assert!(!crowded.is_empty());
        let queries = &vectors[..10];
        let mut before = Vec::new();
        for candidates in bench.scan(queries, None, 2000, EVERYWHERE).await.candidates {
            before.push(bench.resolve(&queries[before.len()], &candidates).await);
        }
        for cluster in clusters(&bench) {
            let found = rows(&bench, cluster).await;
            let dead = dead(&bench, &found);
            let live = found.rows.len() - dead.len();
            bench
                .node
                .fold(request(&bench, cluster, found.blocks, dead))
                .await
                .unwrap();
            let folded = rows(&bench, cluster).await;
            assert_eq!(folded.rows.len(), live);
            assert!(folded.blocks.len() <= 1 + live / 256);
        }
        bench = bench.reopen().await;
        let after = bench.scan(queries, None, 2000, EVERYWHERE).await;
        for (n, candidates) in after.candidates.iter().enumerate() {
            assert_eq!(
                candidates.len(),
                bench.items.len(),
                "every live row once, and no dead one"
            );
            assert_eq!(bench.resolve(&queries[n], candidates).await, before[n]);
        }
        assert_eq!(
            bench.recall(queries, Some(2), (10, 100, EVERYWHERE)).await,
            1.0,
            "metadata came along"
        );
    }
}

#[tokio::test]
async fn what_is_in_order_is_left_alone() {
    let vectors = Numbers(21).rows(1500, 200);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors[..1400]).await;
    bench.upsert("i", 1400, &vectors[1400..]).await;
    let cluster = ClusterNo(1);
    let found = rows(&bench, cluster).await;
    assert_eq!(found.blocks.len(), 2);
    // One small block beside a good one: nothing to merge it with.
    bench
        .node
        .fold(request(&bench, cluster, found.blocks.clone(), Vec::new()))
        .await
        .unwrap();
    assert_eq!(rows(&bench, cluster).await.blocks, found.blocks);
    // A dead row in the small one: only that one is written again.
    let lost = bench.items["i1405"].op;
    let in_small = found.rows.iter().filter(|(label, op)| {
        (1400..1500)
            .any(|n| bench.labels.item(&format!("i{n}")) == *label && bench.items[&format!("i{n}")].op == *op)
    });
    let dead: Vec<_> = in_small.take(1).copied().collect();
    assert!(dead.len() == 1 && lost != Op([0; 16]));
    bench
        .node
        .fold(request(&bench, cluster, found.blocks.clone(), dead))
        .await
        .unwrap();
    let folded = rows(&bench, cluster).await;
    assert_eq!(
        folded
            .blocks
            .iter()
            .filter(|block| found.blocks.contains(block))
            .count(),
        1
    );
    assert_eq!(folded.rows.len(), found.rows.len() - 1);
}

#[tokio::test]
async fn large_piles_become_blocks_of_equal_size() {
    let vectors = Numbers(22).rows(4000, 4);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    for (n, batch) in vectors.chunks(500).enumerate() {
        bench.upsert("i", n * 500, batch).await;
    }
    // Four f32 make a code of 16 bytes, so 2048 rows are the most a block may have.
    let cluster = ClusterNo(0);
    let found = rows(&bench, cluster).await;
    assert!(found.rows.len() > 600 && found.blocks.len() == 8);
    bench
        .node
        .fold(request(&bench, cluster, found.blocks, Vec::new()))
        .await
        .unwrap();
    let folded = rows(&bench, cluster).await;
    assert_eq!(folded.blocks.len(), 1);
    let of = |rows: &ClusterRows| BTreeSet::from_iter(rows.rows.iter().copied());
    assert_eq!(of(&folded).len(), folded.rows.len());
}

#[tokio::test]
async fn the_second_of_two_folds_is_told() {
    let vectors = Numbers(23).rows(200, 20);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors[..100]).await;
    bench.upsert("i", 100, &vectors[100..]).await;
    let cluster = ClusterNo(2);
    let found = rows(&bench, cluster).await;
    let fold = || request(&bench, cluster, found.blocks.clone(), Vec::new());
    bench.node.fold(fold()).await.unwrap();
    assert_eq!(bench.node.fold(fold()).await, Err(ShardError::BlocksGone));
    let nothing = request(&bench, cluster, Vec::new(), Vec::new());
    assert!(bench.node.fold(nothing).await.is_ok());
    let stale = FoldRequest {
        generation: sealdex_core::Generation(9),
        ..fold()
    };
    assert_eq!(bench.node.fold(stale).await, Err(ShardError::StaleGeneration));
}

#[tokio::test]
async fn a_cluster_without_a_live_row_is_emptied() {
    let vectors = Numbers(24).rows(60, 20);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let cluster = ClusterNo(3);
    let found = rows(&bench, cluster).await;
    bench
        .node
        .fold(request(&bench, cluster, found.blocks, found.rows))
        .await
        .unwrap();
    let folded = rows(&bench, cluster).await;
    assert!(folded.blocks.is_empty() && folded.rows.is_empty());
    bench = bench.reopen().await;
    assert!(rows(&bench, cluster).await.rows.is_empty());
}
