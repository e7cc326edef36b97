//! A replica whose records are taken from it, by a snapshot that replaces them or because another node has it now: a read in the middle
//! of that answers with everything or not at all.

use super::bench::*;
use sealdex_core::{Metric, PartitionId};
use sealdex_index::dataplane::ShardError;
use std::sync::Arc;

const GONE: ShardError = ShardError::NotLeader { leader: None };

#[tokio::test]
async fn what_is_read_while_records_are_replaced_counts_for_nothing() {
    let vectors = Numbers(70).rows(60, 8);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let request = || bench.scans(&vectors[..1], None, 100, EVERYWHERE).remove(0);
    assert!(bench.node.scan(request()).await.is_ok());
    let partition = request().target.partition;
    let replica = bench.node.replica(partition).unwrap();
    replica.directory().begin_replacing();
    assert_eq!(bench.node.scan(request()).await.err(), Some(GONE));
    assert!(
        bench.node.count(partition, INDEX).await.is_ok(),
        "memory is as it was"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_given_up_answers_whole_or_not_at_all() {
    let vectors = Numbers(71).rows(600, 8);
    for partition in (0..PARTITIONS).map(PartitionId) {
        let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
        bench.upsert("i", 0, &vectors).await;
        let mut candidates = Vec::new();
        for (id, item) in &bench.items {
            let label = bench.labels.item(id);
            if bench.placement.of_item(&label) == partition {
                candidates.push((0, label, item.op));
            }
        }
        let request = bench.resolve_request(partition, &vectors[0], candidates);
        let readers: Vec<_> = (0..8)
            .map(|_| tokio::spawn(keep_resolving(Arc::clone(&bench.node), request.clone())))
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        bench.node.drop_partition(partition).await.unwrap();
        for reader in readers {
            assert!(reader.await.unwrap() > 0);
        }
    }
}

/// Resolves items that are all there, until the node has the partition no more; returns how often it did.
async fn keep_resolving(node: Arc<crate::Node>, request: sealdex_index::dataplane::ResolveRequest) -> usize {
    for n in 0.. {
        match node.resolve(request.clone()).await {
            Ok(resolved) => {
                let missing = resolved.iter().filter(|resolved| resolved.is_none()).count();
                assert_eq!(missing, 0, "of {}", resolved.len());
            }
            Err(ShardError::NotHosted | ShardError::Stopped | ShardError::NotLeader { .. }) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("the partition is dropped")
}
