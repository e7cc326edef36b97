//! Scan and resolve against exhaustive search.

use super::bench::*;
use crate::pool::{Crew, Pool};
use crate::scan::{Access, search_listed};
use parking_lot::Mutex;
use sealdex_core::{ClusterLabel, Generation, Metric, Op, PartitionId, Precision};
use sealdex_index::dataplane::{ResolveRequest, Resolved, ScanRequest, ShardError};
use sealdex_index::filter::Filter;
use sealdex_proto::partition as wire;
use sealdex_proto::partition::entry::Command;
use serde_json::json;
use std::sync::Arc;

/// A bench with `rows` items of `dimension`, and queries near them.
async fn filled(trained: bool, metric: Metric, rows: usize, dimension: usize) -> (Bench, Vec<Vec<f32>>) {
    let mut numbers = Numbers(dimension as u64);
    let mut vectors = numbers.rows(rows + 20, dimension);
    let queries = vectors.split_off(rows);
    let mut bench = Bench::new(trained, metric, &vectors).await;
    for (n, batch) in vectors.chunks(700).enumerate() {
        bench.upsert("i", n * 700, batch).await;
    }
    (bench, queries)
}

#[tokio::test]
async fn every_codec_finds_the_nearest() {
    for (trained, metric, dimension, precision) in [
        (false, Metric::Euclidean, 7, Precision::Float32),
        (false, Metric::Cosine, 40, Precision::Float32),
        (false, Metric::SquaredEuclidean, 33, Precision::Float16),
        (true, Metric::Cosine, 24, Precision::Float32),
        (true, Metric::Euclidean, 96, Precision::Float32),
    ] {
        let mut numbers = Numbers(1);
        let mut vectors = numbers.rows(1520, dimension);
        let queries = vectors.split_off(1500);
        let mut bench = Bench::new(trained, metric, &vectors).await;
        bench.precision = precision;
        bench.upsert("i", 0, &vectors[..900]).await;
        bench.upsert("i", 900, &vectors[900..]).await;
        let recall = bench.recall(&queries, None, (10, 80, EVERYWHERE)).await;
        assert!(recall >= 0.95, "{trained} {metric:?} {dimension}: {recall}");
        let recall = bench.recall(&queries, Some(3), (10, 80, EVERYWHERE)).await;
        assert!(
            recall >= 0.98,
            "filtered, {trained} {metric:?} {dimension}: {recall}"
        );
    }
}

#[tokio::test]
async fn distances_are_exact() {
    let (bench, queries) = filled(false, Metric::Euclidean, 300, 20).await;
    let reply = bench.scan(&queries[..1], None, 1000, EVERYWHERE).await;
    assert_eq!(
        bench.resolve(&queries[0], &reply.candidates[0]).await,
        bench.nearest(&queries[0], 1000, None)
    );
    assert_eq!(reply.scored, [300]);
}

#[tokio::test]
async fn a_filter_keeps_all_that_matches_and_nothing_else() {
    let (bench, queries) = filled(true, Metric::Cosine, 1000, 64).await;
    let filter = json!({ "colour": 4, "n": { "$gte": 500 } });
    let reply = bench.scan(&queries[..2], Some(&filter), 1000, EVERYWHERE).await;
    let matching = (500..1000)
        .filter(|n| n % 10 == 4)
        .map(|n| bench.labels.item(&format!("i{n}")));
    let matching = std::collections::BTreeSet::from_iter(matching);
    for (candidates, scored) in reply.candidates.iter().zip(reply.scored) {
        let found = std::collections::BTreeSet::from_iter(candidates.iter().map(|candidate| candidate.label));
        assert_eq!(found, matching);
        assert_eq!(scored, 50);
    }
    let nothing = json!({ "colour": 11 });
    let reply = bench.scan(&queries, Some(&nothing), 10, EVERYWHERE).await;
    assert!(reply.candidates.iter().all(Vec::is_empty));
    assert!(reply.scored.iter().all(|scored| *scored == 0));
}

#[tokio::test]
async fn a_batch_answers_as_its_queries_alone() {
    let (bench, queries) = filled(true, Metric::Euclidean, 1200, 72).await;
    let together = bench.scan(&queries, None, 15, 4).await;
    for (n, query) in queries.iter().enumerate() {
        let alone = bench.scan(std::slice::from_ref(query), None, 15, 4).await;
        assert_eq!(alone.candidates[0], together.candidates[n]);
        assert_eq!(alone.scored[0], together.scored[n]);
    }
}

/// What `request` finds when `crew` has that many parts to give.
async fn run_on(bench: &Bench, threads: usize, request: ScanRequest) -> (usize, Vec<Vec<(u32, Op)>>) {
    let access = access(bench, request.target.partition);
    let pool = Pool::new(threads, 4).unwrap();
    let search = move |crew: &Crew| Ok((crew.parts(), crate::scan::search(&access, &request, crew)?));
    let (parts, reply) = pool.run(search).await.unwrap();
    let bits = |c: &sealdex_index::dataplane::Candidate| (c.estimate.to_bits(), c.op);
    (
        parts,
        reply
            .candidates
            .iter()
            .map(|candidates| candidates.iter().map(bits).collect())
            .collect(),
    )
}

fn access(bench: &Bench, partition: PartitionId) -> Access {
    Access {
        database: Arc::clone(&bench.node.database),
        directory: Arc::clone(bench.node.replica(partition).unwrap().directory()),
        target: target(partition),
        keys: bench.keys(partition),
    }
}

#[tokio::test]
async fn a_large_scan_is_the_same_on_one_thread_and_on_many() {
    // Some 3 MB of codes in the largest partition: enough for several parts.
    let (bench, queries) = filled(false, Metric::Euclidean, 2100, 2000).await;
    for request in bench.scans(&queries[..3], None, 40, EVERYWHERE) {
        let (one, alone) = run_on(&bench, 1, request.clone()).await;
        let (many, spread) = run_on(&bench, 3, request).await;
        assert_eq!((one, many), (1, 3));
        assert_eq!(alone, spread);
    }
}

#[tokio::test]
async fn a_block_that_vanished_is_looked_for_where_its_rows_went() {
    let (bench, queries) = filled(false, Metric::Euclidean, 300, 20).await;
    let request = bench.scans(&queries[..1], None, 1000, EVERYWHERE).remove(0);
    let expected = bench.node.scan(request.clone()).await.unwrap();
    let access = access(&bench, request.target.partition);
    let stale = crate::partition::BlockRef {
        id: sealdex_core::BlockId([9; 16]),
        rows: 5,
        bytes: 700,
    };
    let read = Arc::new(Mutex::new(Vec::new()));
    let list = {
        let (directory, read) = (Arc::clone(&access.directory), Arc::clone(&read));
        move |generation: Generation, cluster: &ClusterLabel| {
            let mut blocks = directory.blocks(INDEX, generation, cluster);
            // The first list of some clusters still names a block that is gone.
            if cluster.0[0] < 128 && !read.lock().contains(cluster) {
                blocks.push(stale);
            }
            read.lock().push(*cluster);
            blocks
        }
    };
    let probed: Vec<ClusterLabel> = request.probes.iter().map(|probe| probe.cluster).collect();
    let pool = Pool::new(2, 4).unwrap();
    let reply = pool
        .run(move |crew| search_listed(&access, &request, crew, list))
        .await
        .unwrap();
    assert_eq!(reply.candidates, expected.candidates);
    assert_eq!(reply.scored, expected.scored);
    let with_gap = probed.iter().filter(|cluster| cluster.0[0] < 128);
    let expected: Vec<ClusterLabel> = probed.iter().chain(with_gap).copied().collect();
    assert_eq!(*read.lock(), expected, "only clusters with a gap are read again");
}

#[tokio::test]
async fn a_list_that_names_what_never_was_is_damage() {
    let (bench, queries) = filled(false, Metric::Euclidean, 100, 20).await;
    let request = bench.scans(&queries[..1], None, 10, EVERYWHERE).remove(0);
    let access = access(&bench, request.target.partition);
    let ghost = crate::partition::BlockRef {
        id: sealdex_core::BlockId([9; 16]),
        rows: 5,
        bytes: 700,
    };
    let pool = Pool::new(2, 4).unwrap();
    let reply = pool
        .run(move |crew| search_listed(&access, &request, crew, |_, _| vec![ghost]))
        .await;
    assert_eq!(reply.err(), Some(ShardError::Corrupt("block directory")));
}

#[tokio::test]
async fn requests_that_are_out_of_date_are_refused() {
    let (bench, queries) = filled(false, Metric::Euclidean, 50, 4).await;
    let request = bench.scans(&queries[..1], None, 10, EVERYWHERE).remove(0);
    let target = request.target;
    let scan = |change: fn(&mut ScanRequest)| {
        let mut request = request.clone();
        change(&mut request);
        let node = Arc::clone(&bench.node);
        async move { node.scan(request).await.err() }
    };
    assert_eq!(scan(|_| {}).await, None);
    assert_eq!(
        scan(|request| request.generation = Generation(2)).await,
        Some(ShardError::StaleGeneration)
    );
    assert_eq!(
        scan(|request| request.target.epoch.0 += 1).await,
        Some(ShardError::LeaseRequired)
    );
    assert_eq!(
        scan(|request| request.target.partition.0 = PARTITIONS).await,
        Some(ShardError::NotHosted)
    );
    let unknown = scan(|request| request.probes[0].asked_by[0].0 = 7).await;
    assert_eq!(unknown, Some(ShardError::BadEntry("query of a probe")));
    let retire = Command::RetireGeneration(wire::RetireGeneration {
        generation: GENERATION.0,
    });
    bench.propose(target.partition, retire).await.unwrap();
    assert_eq!(scan(|_| {}).await, Some(ShardError::StaleGeneration));
    bench
        .propose(target.partition, Command::DropIndex(wire::DropIndex {}))
        .await
        .unwrap();
    assert_eq!(
        scan(|_| {}).await,
        Some(ShardError::LeaseRequired),
        "a dropped index takes its leases with it"
    );
    bench.grant();
    assert_eq!(scan(|_| {}).await, Some(ShardError::UnknownIndex));
    bench.node.close().await;
    assert_eq!(scan(|_| {}).await, Some(ShardError::Stopped));
}

#[tokio::test]
async fn many_candidates_resolve_in_their_order() {
    let (bench, queries) = filled(false, Metric::Cosine, 2500, 12).await;
    let partition = PartitionId(1);
    let here = bench
        .items
        .iter()
        .filter(|(id, _)| bench.home(&bench.labels.item(id)).partition == partition);
    let here: Vec<_> = here.collect();
    let mut candidates = Vec::new();
    // Those that were written anew since they were scanned count as they are now, if they still match.
    let (mut matching, mut everyone) = (Vec::new(), Vec::new());
    for (n, (id, item)) in here.iter().chain(&here).chain(&here).enumerate() {
        let (query, stale) = (n % 2, n % 7 == 0);
        let op = if stale { Op([0; 16]) } else { item.op };
        candidates.push((query as u32, bench.labels.item(id), op));
        let distance = sealdex_index::distance::answered(Metric::Cosine, &queries[query], &item.vector);
        let op = item.op;
        matching.push((!stale || item.colour == 3).then_some(Resolved { op, distance }));
        everyone.push(Some(Resolved { op, distance }));
    }
    assert!(candidates.len() > 1024);
    let request = bench.resolve_request(partition, &queries[..2].concat(), candidates);
    assert_eq!(bench.node.resolve(request.clone()).await.unwrap(), everyone);
    assert!(matching.iter().filter(|resolved| resolved.is_none()).count() > 100);
    let filter = Filter::parse(&json!({"colour": 3})).unwrap().map(Arc::new);
    let filtered = ResolveRequest { filter, ..request };
    assert_eq!(bench.node.resolve(filtered).await.unwrap(), matching);
    let misplaced = vec![(2, bench.labels.item(here[0].0), here[0].1.op)];
    let request = bench.resolve_request(partition, &queries[..2].concat(), misplaced);
    assert_eq!(
        bench.node.resolve(request).await,
        Err(ShardError::BadEntry("query of a candidate"))
    );
}
