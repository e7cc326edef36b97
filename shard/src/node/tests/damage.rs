//! Damaged records: an error that names the kind, never a wrong answer, never a panic.

use super::bench::*;
use crate::storage::{Family, Keys};
use sealdex_core::{ClusterNo, Generation, ItemLabel, Metric, PartitionId};
use sealdex_index::dataplane::{
    Candidate, FetchRequest, Fields, FoldRequest, ScanReply, ScanRequest, ShardError, WalkRequest,
};
use serde_json::json;

async fn bench(rows: usize) -> (Bench, Vec<Vec<f32>>) {
    let vectors = Numbers(40).rows(rows, 20);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    (bench, vectors)
}

fn read(bench: &Bench, family: Family, key: &[u8]) -> Vec<u8> {
    bench
        .node
        .database
        .latest()
        .get(family, key)
        .unwrap()
        .unwrap()
        .to_vec()
}

/// Puts a record as only somebody with access to the disk could.
fn write(bench: &Bench, family: Family, key: &[u8], value: &[u8]) {
    let mut batch = bench.node.database.batch();
    batch.put(family, key, value);
    bench.node.database.commit(batch.finish()).unwrap();
}

fn item_key(bench: &Bench, id: &str) -> (PartitionId, [u8; 26]) {
    let label = bench.labels.item(id);
    let partition = bench.home(&label).partition;
    (partition, Keys::new(partition, INDEX).item(&label))
}

async fn fetch(bench: &Bench, id: &str, fields: Fields) -> Result<(), ShardError> {
    let label = bench.labels.item(id);
    let (target, precision) = (bench.home(&label), bench.precision);
    let request = FetchRequest {
        target,
        precision,
        fields,
        items: vec![(label, None)],
        since: None,
        bytes_max: usize::MAX,
    };
    bench
        .node
        .fetch(request)
        .await
        .map(|items| assert!(items[0].is_some()))
}

async fn resolve(bench: &Bench, id: &str, query: &[f32]) -> Result<Option<f64>, ShardError> {
    let label = bench.labels.item(id);
    let candidates = vec![(0, label, bench.items[id].op)];
    let request = bench.resolve_request(bench.home(&label).partition, query, candidates);
    let resolved = bench.node.resolve(request).await?[0];
    Ok(resolved.map(|resolved| resolved.distance))
}

/// `record` with one bit changed, for every byte, and cut short.
fn damaged(record: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..record.len()).map(|n| {
        let mut record = record.to_vec();
        record[n] ^= 1 << (n % 8);
        record
    });
    let cut = [0, 1, 15, 16, 17, 40].into_iter().filter(|n| *n < record.len());
    flipped.chain(cut.map(|n| record[..n].to_vec()))
}

#[tokio::test]
async fn an_item_record_with_any_bit_changed() {
    let (bench, vectors) = bench(20).await;
    let only = |vector, meta, contents| Fields {
        vector,
        meta,
        contents,
    };
    for (family, fields, kind) in [
        (Family::Vectors, only(true, false, false), "vector"),
        (Family::Meta, only(false, true, false), "meta"),
        (Family::Contents, only(false, false, true), "contents"),
    ] {
        let (_, key) = item_key(&bench, "i4");
        let sound = read(&bench, family, &key);
        for record in damaged(&sound) {
            write(&bench, family, &key, &record);
            assert_eq!(fetch(&bench, "i4", fields).await, Err(ShardError::Corrupt(kind)));
            if family == Family::Vectors {
                match resolve(&bench, "i4", &vectors[0]).await {
                    Err(ShardError::Corrupt("vector")) => {}
                    // With another op in front it is another write's record, so this one is not current.
                    Ok(None) => assert!(record.len() >= 16 && record[..16] != sound[..16]),
                    other => panic!("{other:?}"),
                }
            }
        }
        write(&bench, family, &key, &sound);
        assert_eq!(fetch(&bench, "i4", fields).await, Ok(()));
    }
}

#[tokio::test]
async fn records_that_changed_places() {
    let (bench, vectors) = bench(40).await;
    let (home, first) = item_key(&bench, "i2");
    let (_, second) = (0..40)
        .step_by(2)
        .map(|n| item_key(&bench, &format!("i{n}")))
        .find(|(partition, key)| *partition == home && *key != first)
        .unwrap();
    for (family, kind) in [
        (Family::Vectors, "vector"),
        (Family::Meta, "meta"),
        (Family::Contents, "contents"),
    ] {
        let sound = read(&bench, family, &first);
        let other = read(&bench, family, &second);
        write(&bench, family, &first, &other);
        let all = Fields {
            vector: true,
            meta: true,
            contents: true,
        };
        assert_eq!(fetch(&bench, "i2", all).await, Err(ShardError::Corrupt(kind)));
        // The other item's sealed bytes behind this one's op.
        write(&bench, family, &first, &[&sound[..16], &other[16..]].concat());
        assert_eq!(fetch(&bench, "i2", all).await, Err(ShardError::Corrupt(kind)));
        if family == Family::Vectors {
            assert_eq!(
                resolve(&bench, "i2", &vectors[0]).await,
                Err(ShardError::Corrupt(kind))
            );
        }
        write(&bench, family, &first, &sound);
    }
    let mut batch = bench.node.database.batch();
    batch.delete(Family::Meta, &first);
    bench.node.database.commit(batch.finish()).unwrap();
    let all = Fields {
        vector: true,
        meta: true,
        contents: true,
    };
    assert_eq!(
        fetch(&bench, "i2", all).await,
        Err(ShardError::Corrupt("meta")),
        "one of its records is missing"
    );
}

#[tokio::test]
async fn a_damaged_locator() {
    let (bench, _) = bench(10).await;
    let (home, key) = item_key(&bench, "i3");
    let label = bench.labels.item("i3");
    let sound = read(&bench, Family::Locators, &key);
    write(&bench, Family::Locators, &key, b"\x12\x03xyz");
    let current = bench
        .node
        .current(target(home), vec![(label, bench.items["i3"].op)])
        .await;
    assert_eq!(current, Err(ShardError::Corrupt("locator")));
    assert_eq!(
        fetch(&bench, "i3", Fields::default()).await,
        Err(ShardError::Corrupt("locator"))
    );
    // A locator of an item that is not there.
    write(&bench, Family::Locators, &key, &sound);
    let ghost = Keys::new(home, INDEX).item(&ItemLabel([0; 16]));
    write(
        &bench,
        Family::Locators,
        &ghost,
        &read(&bench, Family::Locators, &item_key(&bench, "i4").1),
    );
    let fields = Fields {
        vector: true,
        ..Fields::default()
    };
    let request = WalkRequest {
        target: target(home),
        precision: bench.precision,
        fields,
        after: None,
        limit: 1,
        bytes_max: usize::MAX,
    };
    assert_eq!(
        bench.node.walk(request).await.err(),
        Some(ShardError::Corrupt("item"))
    );
}

fn key_of_block(bench: &Bench, request: &ScanRequest) -> Vec<u8> {
    let (partition, cluster) = (request.target.partition, request.probes[0].cluster);
    let replica = bench.node.replica(partition).unwrap();
    let block = replica.directory().blocks(INDEX, GENERATION, &cluster)[0];
    Keys::new(partition, INDEX)
        .block(GENERATION, &cluster, &block.id)
        .to_vec()
}

fn found(reply: &ScanReply) -> &[Candidate] {
    &reply.candidates[0]
}

#[tokio::test]
async fn a_block_with_any_bit_changed() {
    // Few rows make deltas, many make pages.
    for rows in [60, 400] {
        let (bench, vectors) = bench(rows).await;
        let filter = json!({ "colour": { "$gte": 0 } });
        for filter in [None, Some(&filter)] {
            let request = bench.scans(&vectors[..1], filter, 1000, EVERYWHERE).remove(0);
            let sound_reply = bench.node.scan(request.clone()).await.unwrap();
            assert!(!found(&sound_reply).is_empty());
            let key = key_of_block(&bench, &request);
            let sound = read(&bench, Family::Blocks, &key);
            let mut corrupt = 0;
            for record in damaged(&sound).step_by(1 + sound.len() / 1500) {
                write(&bench, Family::Blocks, &key, &record);
                match bench.node.scan(request.clone()).await {
                    Err(ShardError::Corrupt("block")) => corrupt += 1,
                    Err(error) => panic!("{error}"),
                    // A page's filler says nothing, and without a filter metadata is not opened.
                    Ok(reply) => assert_eq!(found(&reply), found(&sound_reply)),
                }
            }
            assert!(corrupt > 100, "{corrupt}");
            write(&bench, Family::Blocks, &key, &sound);
        }
    }
}

#[tokio::test]
async fn blocks_that_changed_places_and_folds_of_damaged_ones() {
    let (mut bench, vectors) = bench(300).await;
    bench.upsert("j", 0, &vectors).await;
    let cluster = ClusterNo(0);
    let (target, label) = (bench.target_of(cluster), bench.cluster(cluster));
    let rows = bench.node.cluster_rows(target, GENERATION, label).await.unwrap();
    let keys: Vec<_> = rows
        .blocks
        .iter()
        .map(|id| Keys::new(target.partition, INDEX).block(GENERATION, &label, id))
        .collect();
    let sound = read(&bench, Family::Blocks, &keys[0]);
    write(
        &bench,
        Family::Blocks,
        &keys[0],
        &read(&bench, Family::Blocks, &keys[1]),
    );
    let dimension = bench.model.dimension;
    let fold = |dimension| FoldRequest {
        target,
        generation: GENERATION,
        cluster: label,
        blocks: rows.blocks.clone(),
        dead: vec![rows.rows[0]],
        codec: bench.model.quantiser.codec(),
        dimension,
    };
    let damaged = ShardError::Corrupt("block");
    assert_eq!(bench.node.fold(fold(dimension)).await, Err(damaged.clone()));
    assert_eq!(
        bench.node.cluster_rows(target, GENERATION, label).await.err(),
        Some(damaged)
    );
    write(&bench, Family::Blocks, &keys[0], &sound);
    // A codec that the rows are not coded with.
    let other = sealdex_core::Dimension::new(21).unwrap();
    assert_eq!(
        bench.node.fold(fold(other)).await,
        Err(ShardError::Corrupt("block"))
    );
    assert!(bench.node.fold(fold(dimension)).await.is_ok());
}

#[tokio::test]
async fn damage_to_what_a_node_reads_when_it_opens() {
    let partition = PartitionId(1);
    let keys = Keys::new(partition, INDEX);
    let block = keys.block(
        GENERATION,
        &sealdex_core::ClusterLabel([1; 16]),
        &sealdex_core::BlockId([1; 16]),
    );
    let orphan = Keys::new(partition, sealdex_core::IndexId(77));
    let orphan = orphan.block(
        Generation(1),
        &sealdex_core::ClusterLabel([1; 16]),
        &sealdex_core::BlockId([1; 16]),
    );
    let sound = [1, 0, 0, 0, 9, 0, 0, 0, 9];
    for (family, key, value, kind) in [
        (
            Family::State,
            &crate::storage::partition_key(partition)[..],
            &[1, 2][..],
            "mark of what was applied",
        ),
        (Family::State, &keys.index()[..], b"\xff\xff", "index state"),
        (Family::Directory, &block[..], &sound[..8], "block directory"),
        (Family::Directory, &block[..29], &sound, "block directory"),
        (Family::Directory, &orphan[..], &sound, "block directory"),
    ] {
        let (bench, _) = bench(5).await;
        write(&bench, family, key, value);
        bench.close().await;
        let Bench { home, node, .. } = bench;
        drop(node);
        assert_eq!(try_open(&home).await.err(), Some(ShardError::Corrupt(kind)));
    }
}
