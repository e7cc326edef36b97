//! Items over their lives: replaced, deleted, fetched, walked, and found again after a restart.

use super::bench::*;
use sealdex_core::{Metric, Op, Precision};
use sealdex_index::dataplane::{
    FetchRequest, Fetched, Fields, InboxRequest, ShardError, WalkReply, WalkRequest,
};
use sealdex_proto::partition as wire;
use sealdex_proto::partition::entry::Command;
use std::collections::BTreeMap;

const ALL: Fields = Fields {
    vector: true,
    meta: true,
    contents: true,
};

async fn fetch(bench: &Bench, id: &str, op: Option<Op>, fields: Fields) -> Option<Fetched> {
    let label = bench.labels.item(id);
    let (target, precision) = (bench.home(&label), bench.precision);
    let request = FetchRequest {
        target,
        precision,
        fields,
        items: vec![(label, op)],
        since: None,
        bytes_max: 0,
    };
    bench.node.fetch(request).await.unwrap().remove(0)
}

/// Every item of every partition, by id, walked in steps of `limit`.
async fn walk(bench: &Bench, limit: usize) -> BTreeMap<String, Fetched> {
    let mut all = BTreeMap::new();
    for partition in bench.partitions() {
        let mut after = None;
        loop {
            let (target, precision) = (target(partition), bench.precision);
            let request = WalkRequest {
                target,
                precision,
                fields: ALL,
                after,
                limit,
                bytes_max: 3_000,
            };
            let WalkReply { items, next } = bench.node.walk(request).await.unwrap();
            assert!((1..=limit).contains(&items.len()) || all.is_empty() && next.is_none());
            assert!(next.is_none() || next == items.last().map(|item| item.label));
            assert!(items.is_sorted_by(|a, b| a.label < b.label));
            assert!(
                items
                    .iter()
                    .all(|item| after.is_none_or(|after| after < item.label))
            );
            all.extend(items.into_iter().map(|item| (item.id.clone(), item)));
            if next.is_none() {
                break;
            }
            after = next;
        }
    }
    all
}

#[tokio::test]
async fn a_fetched_item_is_what_was_written() {
    let vectors = Numbers(5).rows(40, 9);
    for precision in [Precision::Float32, Precision::Float16] {
        let mut bench = Bench::new(false, Metric::Cosine, &vectors).await;
        bench.precision = precision;
        bench.upsert("i", 0, &vectors).await;
        for n in [0, 7] {
            let id = format!("i{n}");
            let item = fetch(&bench, &id, None, ALL).await.unwrap();
            assert_eq!(
                (item.label, item.op),
                (bench.labels.item(&id), bench.items[&id].op)
            );
            assert_eq!(item.id, id);
            assert!(item.metadata == metadata(n as u64 % 10, n));
            assert_eq!(
                item.contents,
                (n % 2 == 0).then(|| format!("contents of {id}").into_bytes())
            );
            let stored = item.vector.unwrap();
            let error = stored
                .iter()
                .zip(&vectors[n])
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(
                error
                    <= if precision == Precision::Float32 {
                        0.0
                    } else {
                        2e-3
                    }
            );
        }
        assert!(fetch(&bench, "no such", None, ALL).await.is_none());
    }
}

#[tokio::test]
async fn only_the_fields_asked_for_are_opened() {
    let vectors = Numbers(5).rows(10, 3);
    let mut bench = Bench::new(false, Metric::Cosine, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    for bits in 0..8 {
        let fields = Fields {
            vector: bits & 1 != 0,
            meta: bits & 2 != 0,
            contents: bits & 4 != 0,
        };
        let item = fetch(&bench, "i2", None, fields).await.unwrap();
        assert_eq!(item.op, bench.items["i2"].op);
        assert_eq!(item.vector.is_some(), fields.vector);
        assert_eq!(item.id.is_empty(), !fields.meta);
        assert_eq!(item.metadata.is_empty(), !fields.meta);
        assert_eq!(item.contents.is_some(), fields.contents);
        assert!(fetch(&bench, "no such", None, fields).await.is_none());
        assert!(fetch(&bench, "i2", Some(Op([1; 16])), fields).await.is_none());
    }
}

#[tokio::test]
async fn the_order_asked_for_is_kept() {
    let vectors = Numbers(6).rows(600, 4);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let partition = bench.home(&bench.labels.item("i0")).partition;
    let ids = (0..700).rev().map(|n| format!("i{n}"));
    let mut ids: Vec<String> = ids
        .filter(|id| bench.home(&bench.labels.item(id)).partition == partition)
        .collect();
    ids.extend(ids.clone());
    let fields = Fields {
        meta: true,
        ..Fields::default()
    };
    let items = ids.iter().map(|id| (bench.labels.item(id), None)).collect();
    let request = FetchRequest {
        target: target(partition),
        precision: bench.precision,
        fields,
        items,
        since: None,
        bytes_max: usize::MAX,
    };
    let fetched = bench.node.fetch(request.clone()).await.unwrap();
    assert_eq!(fetched.len(), ids.len());
    for (id, item) in ids.iter().zip(fetched) {
        assert_eq!(
            item.map(|item| item.id),
            bench.items.contains_key(id).then(|| id.clone())
        );
    }
}

#[tokio::test]
async fn a_reply_ends_where_it_is_full() {
    let vectors = Numbers(16).rows(600, 64);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let partition = bench.home(&bench.labels.item("i0")).partition;
    let of_partition = |id: &String| bench.home(&bench.labels.item(id)).partition == partition;
    let ids: Vec<String> = (0..600).map(|n| format!("i{n}")).filter(of_partition).collect();
    let mut request = FetchRequest {
        target: target(partition),
        precision: bench.precision,
        fields: ALL,
        items: ids.iter().map(|id| (bench.labels.item(id), None)).collect(),
        since: None,
        bytes_max: 40 * 64 * 4,
    };
    let mut fetched = Vec::new();
    while !request.items.is_empty() {
        let items = bench.node.fetch(request.clone()).await.unwrap();
        let bytes: usize = items.iter().flatten().map(|item| item.bytes).sum();
        assert!(!items.is_empty() && bytes < 2 * request.bytes_max, "{bytes}");
        request.items.drain(..items.len());
        fetched.extend(items.into_iter().map(|item| item.unwrap().id));
    }
    assert_eq!(fetched, ids);
}

#[tokio::test]
async fn a_replaced_or_deleted_item_is_never_seen_again() {
    let vectors = Numbers(7).rows(200, 16);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors[..100]).await;
    let old = bench.items["i5"].clone();
    let replies = bench.upsert("i", 5, &vectors[150..151]).await;
    assert_eq!(
        replies
            .iter()
            .map(|reply| (reply.created, reply.orphaned.len()))
            .max(),
        Some((0, 1))
    );
    assert_eq!(bench.delete(&["i6", "i7", "never"]).await, 2);
    assert_eq!(bench.items.len(), 98);
    for restarted in [false, true] {
        if restarted {
            bench = bench.reopen().await;
        }
        // Both rows of i5, and those of i6 and i7, are still in their blocks.
        let query = &vectors[5..6];
        let found = bench.scan(query, None, 1000, EVERYWHERE).await;
        assert_eq!(found.candidates[0].len(), 101);
        assert_eq!(
            bench.resolve(&query[0], &found.candidates[0]).await,
            bench.nearest(&query[0], 1000, None)
        );
        assert!(fetch(&bench, "i5", Some(old.op), ALL).await.is_none());
        assert_eq!(
            fetch(&bench, "i5", None, ALL).await.unwrap().vector.unwrap(),
            vectors[150]
        );
        let label = bench.labels.item("i5");
        let writes = vec![
            (label, old.op),
            (label, bench.items["i5"].op),
            (bench.labels.item("i6"), old.op),
        ];
        assert_eq!(
            bench.node.current(bench.home(&label), writes).await.unwrap(),
            [false, true, false]
        );
        let mut count = 0;
        for partition in bench.partitions() {
            count += bench.node.count(partition, INDEX).await.unwrap().items;
            assert_eq!(bench.node.indexes(partition).await.unwrap(), [INDEX]);
        }
        assert_eq!(count, 98);
    }
}

#[tokio::test]
async fn a_walk_meets_every_item_once() {
    let vectors = Numbers(8).rows(700, 4);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    assert!(walk(&bench, 5).await.is_empty());
    bench.upsert("i", 0, &vectors).await;
    for limit in [1, 97, 10_000] {
        let all = walk(&bench, limit).await;
        assert!(all.keys().eq(bench.items.keys()));
        assert!(
            all.iter()
                .all(|(id, item)| item.vector.as_ref() == Some(&bench.items[id].vector))
        );
    }
}

#[tokio::test]
async fn pieces_of_a_model_come_back_sealed() {
    let vectors = Numbers(9).rows(3, 4);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    let (partition, label) = (
        bench.partitions().next().unwrap(),
        bench.labels.blob(GENERATION, &[3; 16], 0),
    );
    let blob = wire::Blob {
        label: label.0.to_vec().into(),
        sealed: vec![7; 900].into(),
    };
    let command = wire::PutBlobs {
        generation: GENERATION.0,
        blobs: vec![blob],
    };
    bench
        .propose(partition, Command::PutBlobs(command))
        .await
        .unwrap();
    bench = bench.reopen().await;
    let get = |label| bench.node.blob(target(partition), GENERATION, label);
    assert_eq!(get(label).await.unwrap(), Some(vec![7; 900]));
    assert_eq!(
        get(bench.labels.blob(GENERATION, &[3; 16], 1)).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn an_item_in_the_inbox_is_one_of_the_index_and_only_the_inbox_has_it() {
    let vectors = Numbers(11).rows(30, 4);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let (label, op) = (bench.labels.item("i7"), Op([9; 16]));
    let home = bench.home(&label);
    let before = bench.node.count(home.partition, INDEX).await.unwrap().items;
    let item = wire::InboxItem {
        label: label.0.to_vec().into(),
        op: op.0.to_vec().into(),
        epoch: EPOCH.0,
        sealed: vec![5; 70].into(),
    };
    let put = wire::PutInbox { items: vec![item] };
    bench
        .propose(home.partition, Command::PutInbox(put))
        .await
        .unwrap();
    for reopened in [false, true] {
        if reopened {
            bench = bench.reopen().await;
        }
        let contents = Fields {
            contents: true,
            ..Fields::default()
        };
        for fields in [ALL, contents, Fields::default()] {
            assert!(fetch(&bench, "i7", None, fields).await.is_none());
        }
        for limit in [1, 3, 100] {
            let walked = walk(&bench, limit).await;
            assert!(walked.len() == 29 && !walked.contains_key("i7"));
        }
        assert_eq!(
            bench.node.count(home.partition, INDEX).await.unwrap().items,
            before
        );
        let current = bench.node.current(home, vec![(label, op)]).await;
        assert_eq!(current, Ok(vec![true]));
        let request = InboxRequest {
            partition: home.partition,
            index: INDEX,
            seen: 0,
        };
        let reply = bench.node.inbox(request).await.unwrap();
        let [waiting] = &reply.waiting[..] else {
            panic!("{} items wait", reply.waiting.len());
        };
        let sealed = waiting.sealed.as_ref().unwrap();
        assert_eq!((waiting.label, waiting.op, sealed.epoch), (label, op, EPOCH));
        assert_eq!((sealed.sealed.as_slice(), reply.bytes), ([5; 70].as_slice(), 70));
    }
}

#[tokio::test]
async fn an_index_that_was_dropped_is_gone() {
    let vectors = Numbers(10).rows(30, 4);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let partition = bench.home(&bench.labels.item("i1")).partition;
    bench
        .propose(partition, Command::DropIndex(wire::DropIndex {}))
        .await
        .unwrap();
    assert_eq!(
        bench.node.count(partition, INDEX).await,
        Err(ShardError::UnknownIndex)
    );
    assert!(bench.node.indexes(partition).await.unwrap().is_empty());
    let request = WalkRequest {
        target: target(partition),
        precision: bench.precision,
        fields: ALL,
        after: None,
        limit: 10,
        bytes_max: usize::MAX,
    };
    assert_eq!(
        bench.node.walk(request.clone()).await.err(),
        Some(ShardError::LeaseRequired)
    );
    bench.grant();
    assert_eq!(
        bench.node.walk(request).await.err(),
        Some(ShardError::UnknownIndex)
    );
}
