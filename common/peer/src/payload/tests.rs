//! Every value comes out as it went in, and no bytes make a reader panic.

use super::*;
use proptest::prelude::*;
use prost::Message;
use sealdex_core::{
    BlobLabel, BlockId, ClusterLabel, Dimension, Generation, IndexId, ItemLabel, KeyEpoch, Metric, Op,
    PartitionId, Precision, ReadIndex,
};
use sealdex_index::dataplane::*;
use sealdex_index::filter::Filter;
use sealdex_index::metadata::Metadata;
use sealdex_index::quantiser::{Codec, Quantiser};
use sealdex_proto::shard as wire;
use serde_json::json;
use std::sync::Arc;

const TARGET: Target = Target {
    index: IndexId(3),
    epoch: KeyEpoch(4),
    other: None,
    partition: PartitionId(5),
};

type Writes = Vec<([u8; 16], [u8; 16])>;

fn writes(rows: &Writes) -> Vec<(ItemLabel, Op)> {
    rows.iter()
        .map(|(label, op)| (ItemLabel(*label), Op(*op)))
        .collect()
}

/// Through the bytes, as between two processes.
fn sent<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn item(
    label: [u8; 16],
    op: [u8; 16],
    id: String,
    vector: Option<Vec<f32>>,
    contents: Option<Vec<u8>>,
) -> Fetched {
    let metadata = json!({"n": 1.5, "id": id, "deep": {"list": [1, null, "x"]}});
    Fetched {
        label: ItemLabel(label),
        op: Op(op),
        bytes: id.len(),
        metadata: Metadata::new(metadata.as_object().unwrap().clone()).unwrap(),
        id,
        vector,
        contents,
    }
}

fn same(a: &Fetched, b: &Fetched) -> bool {
    let bits = |vector: &Option<Vec<f32>>| {
        let bits = |values: &Vec<f32>| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        vector.as_ref().map(bits)
    };
    (a.label, a.op, &a.id, &a.contents, a.bytes) == (b.label, b.op, &b.id, &b.contents, b.bytes)
        && a.metadata == b.metadata
        && bits(&a.vector) == bits(&b.vector)
}

proptest! {
    #[test]
    fn targets(index: u64, epoch: u32, other: Option<u32>, partition: u16) {
        let given = Target {
            index: IndexId(index),
            epoch: KeyEpoch(epoch),
            other: other.map(KeyEpoch),
            partition: PartitionId(partition),
        };
        prop_assert_eq!(read_target(Some(&sent(target(&given)))), Ok(given));
    }

    #[test]
    fn what_was_applied(created: u64, removed: u64, clusters: Vec<(u32, [u8; 16])>) {
        let given = Applied {
            created,
            removed,
            orphaned: clusters.iter().map(|(g, c)| (Generation(*g), ClusterLabel(*c))).collect(),
            crowded: clusters.iter().rev().map(|(g, c)| (Generation(*g), ClusterLabel(*c))).collect(),
        };
        prop_assert_eq!(read_applied(&sent(applied(&given))), Ok(given));
    }

    #[test]
    fn candidates(found: Vec<(Vec<([u8; 16], [u8; 16], f32)>, u64)>) {
        let candidates = |rows: &Vec<([u8; 16], [u8; 16], f32)>| {
            let candidate = |(label, op, estimate): &([u8; 16], [u8; 16], f32)| Candidate {
                label: ItemLabel(*label),
                op: Op(*op),
                estimate: *estimate,
            };
            rows.iter().map(candidate).collect::<Vec<_>>()
        };
        let given = ScanReply {
            candidates: found.iter().map(|(rows, _)| candidates(rows)).collect(),
            scored: found.iter().map(|(_, scored)| *scored).collect(),
        };
        let read = read_scan_reply(&sent(scan_reply(&given))).unwrap();
        let bits = |reply: &ScanReply| {
            let row = |row: &Candidate| (row.label, row.op, row.estimate.to_bits());
            reply.candidates.iter().map(|rows| rows.iter().map(row).collect()).collect::<Vec<Vec<_>>>()
        };
        prop_assert_eq!(bits(&read), bits(&given));
        prop_assert_eq!(read.scored, given.scored);
    }

    #[test]
    fn what_was_resolved(found: Vec<Option<([u8; 16], f64)>>) {
        let resolved = |(op, distance): ([u8; 16], f64)| Resolved { op: Op(op), distance };
        let given: ResolveReply = found.into_iter().map(|found| found.map(resolved)).collect();
        let read = read_resolve_reply(&sent(resolve_reply(&given))).unwrap();
        let bits = |reply: &ResolveReply| {
            let bits = |row: &Option<Resolved>| row.map(|row| (row.op, row.distance.to_bits()));
            reply.iter().map(bits).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(&read), bits(&given));
    }

    #[test]
    fn resolves(
        queries in prop::collection::vec(any::<f32>(), 0..20),
        rows: Vec<(u32, [u8; 16], [u8; 16])>,
        since: Option<u64>,
    ) {
        let given = ResolveRequest {
            target: TARGET,
            metric: Metric::Cosine,
            precision: Precision::Float16,
            queries: queries.into(),
            dimension: Dimension::new(7).unwrap(),
            candidates: rows.iter().map(|(q, label, op)| (*q, ItemLabel(*label), Op(*op))).collect(),
            filter: Filter::parse(&json!({"a": 1})).unwrap().map(Arc::new),
            since: since.map(ReadIndex),
        };
        let read = read_resolve_request(TARGET, &sent(resolve_request(&given))).unwrap();
        prop_assert_eq!((read.target, read.since), (TARGET, given.since));
        prop_assert_eq!((read.metric, read.precision, read.dimension), (given.metric, given.precision, given.dimension));
        prop_assert_eq!(read.candidates, given.candidates);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&read.queries), bits(&given.queries));
        prop_assert_eq!(read.filter.unwrap().to_bytes(), given.filter.unwrap().to_bytes());
    }

    #[test]
    fn fetches(items: Vec<([u8; 16], Option<[u8; 16]>)>, vector: bool, meta: bool, contents: bool, bytes_max: usize, since: Option<u64>) {
        let given = FetchRequest {
            target: TARGET,
            precision: Precision::Float32,
            fields: Fields { vector, meta, contents },
            items: items.iter().map(|(label, op)| (ItemLabel(*label), op.map(Op))).collect(),
            since: since.map(ReadIndex),
            bytes_max,
        };
        let read = read_fetch_request(TARGET, &sent(fetch_request(&given))).unwrap();
        prop_assert_eq!((read.fields, read.precision, read.bytes_max), (given.fields, given.precision, bytes_max));
        prop_assert_eq!((read.items, read.since), (given.items, given.since));
    }

    #[test]
    fn items(
        found in prop::collection::vec(
            prop::option::of((any::<[u8; 16]>(), ".{0,9}", any::<Option<Vec<f32>>>(), any::<Option<Vec<u8>>>())),
            0..5,
        ),
    ) {
        let given: Vec<Option<Fetched>> = found
            .into_iter()
            .map(|found| found.map(|(label, id, vector, contents)| item(label, [9; 16], id, vector, contents)))
            .collect();
        let read = read_fetch_reply(sent(fetch_reply(given.clone()))).unwrap();
        prop_assert_eq!(read.len(), given.len());
        for pair in read.iter().zip(&given) {
            prop_assert!(matches!(pair, (None, None)) || matches!(pair, (Some(a), Some(b)) if same(a, b)));
        }
        let page = WalkReply { items: given.into_iter().flatten().collect(), next: Some(ItemLabel([1; 16])) };
        let count = page.items.len();
        let read = read_walk_reply(sent(walk_reply(page))).unwrap();
        prop_assert_eq!((read.items.len(), read.next), (count, Some(ItemLabel([1; 16]))));
    }

    #[test]
    fn walks(after: Option<[u8; 16]>, limit: usize, bytes_max: usize) {
        let given = WalkRequest {
            target: TARGET,
            precision: Precision::Float32,
            fields: Fields::default(),
            after: after.map(ItemLabel),
            limit,
            bytes_max,
        };
        let read = read_walk_request(TARGET, &sent(walk_request(&given))).unwrap();
        prop_assert_eq!((read.after, read.limit, read.bytes_max), (given.after, limit, bytes_max));
    }

    #[test]
    fn rows(blocks: Vec<[u8; 16]>, rows: Writes, current: Vec<bool>, sealed: Option<Vec<u8>>, generation: u32) {
        let given = ClusterRows { blocks: blocks.into_iter().map(BlockId).collect(), rows: writes(&rows) };
        let read = read_cluster_rows(&sent(cluster_rows(&given))).unwrap();
        prop_assert_eq!((&read.blocks, &read.rows), (&given.blocks, &given.rows));
        prop_assert_eq!(read_current_request(&sent(current_request(&given.rows))), Ok(given.rows.clone()));
        prop_assert_eq!(read_current_reply(&sent(current_reply(&current))), Ok(current));
        prop_assert_eq!(read_blob_reply(sent(blob_reply(sealed.clone()))), sealed);
        let (generation, blob) = (Generation(generation), BlobLabel([3; 16]));
        prop_assert_eq!(read_blob_request(&sent(blob_request(generation, &blob))), Ok((generation, blob)));
        let cluster = ClusterLabel([4; 16]);
        let read = read_cluster_rows_request(&sent(cluster_rows_request(generation, &cluster)));
        prop_assert_eq!(read, Ok((generation, cluster)));
        let fold = FoldRequest {
            target: TARGET,
            generation,
            cluster,
            blocks: given.blocks,
            dead: given.rows,
            codec: Codec::Pq4,
            dimension: Dimension::new(64).unwrap(),
        };
        let read = read_fold_request(TARGET, &sent(fold_request(&fold))).unwrap();
        prop_assert_eq!((read.blocks, read.dead), (fold.blocks, fold.dead));
        prop_assert_eq!((read.codec, read.cluster, read.dimension), (fold.codec, fold.cluster, fold.dimension));
    }

    #[test]
    fn reseals(generation: u32, label: Option<[u8; 16]>, block: Option<([u8; 16], [u8; 16])>, bytes: u64) {
        let behind = block.map(|(cluster, block)| (ClusterLabel(cluster), BlockId(block)));
        for from in [
            ResealPlace::Items(label.map(ItemLabel)),
            ResealPlace::Blocks(Generation(generation), behind),
        ] {
            let message = sent(reseal_request(&ResealRequest { target: TARGET, from }));
            prop_assert_eq!(read_reseal_request(TARGET, &message).unwrap().from, from);
            let given = Resealed { looked_at: 7, bytes, next: Some(from) };
            prop_assert_eq!(read_resealed(&sent(resealed(&given))), Ok(given));
        }
    }

    #[test]
    fn inboxes(waiting: Vec<([u8; 16], [u8; 16], u64, Option<(u32, Vec<u8>)>)>) {
        let given = || InboxReply {
            bytes: 1,
            arrivals: 2,
            departed: 3,
            waiting: waiting
                .iter()
                .map(|(label, op, arrival, sealed)| WaitingItem {
                    label: ItemLabel(*label),
                    op: Op(*op),
                    arrival: *arrival,
                    sealed: sealed.as_ref().map(|(epoch, sealed)| SealedItem {
                        epoch: KeyEpoch(*epoch),
                        sealed: sealed.clone(),
                    }),
                })
                .collect(),
        };
        let read = read_inbox_reply(sent(inbox_reply(given()))).unwrap();
        prop_assert_eq!((read.bytes, read.arrivals, read.departed), (1, 2, 3));
        for (a, b) in read.waiting.iter().zip(&given().waiting) {
            prop_assert_eq!((a.label, a.op, a.arrival), (b.label, b.op, b.arrival));
            let sealed = |item: &WaitingItem| item.sealed.as_ref().map(|s| (s.epoch, s.sealed.clone()));
            prop_assert_eq!(sealed(a), sealed(b));
        }
        prop_assert_eq!(read.waiting.len(), waiting.len());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fn decoded<M: Message + Default>(bytes: &[u8]) -> M {
            M::decode(bytes).unwrap_or_default()
        }
        let _ = read_scan_request(TARGET, &decoded(&bytes));
        let _ = read_resolve_request(TARGET, &decoded(&bytes));
        let _ = read_fetch_request(TARGET, &decoded(&bytes));
        let _ = read_walk_request(TARGET, &decoded(&bytes));
        let _ = read_fold_request(TARGET, &decoded(&bytes));
        let _ = read_reseal_request(TARGET, &decoded(&bytes));
        let _ = read_scan_reply(&decoded(&bytes));
        let _ = read_fetch_reply(decoded(&bytes));
        let packed = wire::CurrentRequest { rows: bytes.clone().into() };
        prop_assert_eq!(read_current_request(&packed).is_ok(), bytes.len() % 32 == 0);
    }
}

/// Each codec's scorer, and filters that queries share.
#[test]
fn scans() {
    for (dimension, metric) in [
        (3, Metric::Euclidean),
        (20, Metric::Cosine),
        (70, Metric::SquaredEuclidean),
    ] {
        let rows: Vec<f32> = (0..40 * dimension).map(|n| (n % 17) as f32 - 8.0).collect();
        let dimension = Dimension::new(dimension).unwrap();
        let quantiser = Quantiser::train(dimension, metric, &rows, 1);
        let prepared = quantiser.prepare_all(&rows[..3 * dimension.get()]);
        let filters = [None, Filter::parse(&json!({"a": {"$gt": 1}})).unwrap()];
        let query = |n: usize| ScanQuery {
            scorer: quantiser.scorer(&prepared[n * dimension.get()..][..dimension.get()]),
            filter: filters[n % 2].clone(),
            keep: n + 1,
        };
        let given = ScanRequest {
            target: TARGET,
            generation: Generation(2),
            probes: vec![ClusterProbe {
                cluster: ClusterLabel([6; 16]),
                asked_by: vec![(0, 1.5), (2, -0.0)],
            }],
            queries: [query(0), query(1), query(2), query(1)].into(),
            since: Some(ReadIndex(5)),
        };
        let message = sent(scan_request(&given));
        assert_eq!(message.filters.len(), 1, "one filter travels once");
        let read = read_scan_request(TARGET, &message).unwrap();
        assert_eq!(read.probes[0].cluster, given.probes[0].cluster);
        assert_eq!(read.probes[0].asked_by, given.probes[0].asked_by);
        for (a, b) in read.queries.iter().zip(&*given.queries) {
            assert_eq!(a.scorer.to_bytes(), b.scorer.to_bytes());
            assert_eq!((a.keep, a.filter.is_some()), (b.keep, b.filter.is_some()));
        }
        assert_eq!((read.queries.len(), read.since), (4, given.since));
        let mut wrong = message;
        wrong.queries[0].filter = Some(1);
        assert!(read_scan_request(TARGET, &wrong).is_err());
    }
}
