//! From one key epoch to the next on a node: both are read, everything is sealed again, nothing opens with the old keys after.

use super::bench::*;
use crate::storage::{Family, block_of, item_of};
use sealdex_core::{Generation, ItemLabel, KeyEpoch, Metric, PartitionId};
use sealdex_crypto::{Aad, BlockAddress, BlockReader, Bundle, DataKeys, RecordKind};
use sealdex_index::dataplane::{ResealPlace, ResealRequest, ShardError};
use sealdex_proto::partition as wire;
use sealdex_proto::partition::entry::Command;

const NEXT: KeyEpoch = KeyEpoch(2);

/// Keys that seal under the next epoch and open both.
fn both(old: &Bundle, next: &Bundle, partition: PartitionId) -> DataKeys {
    let keys = next.partition_keys(INDEX, NEXT, partition);
    keys.opening_also(old.partition_keys(INDEX, EPOCH, partition))
}

/// Goes through everything; returns items and blocks looked at, and bytes sealed.
async fn reseal_all(bench: &Bench) -> (u64, u64, u64) {
    let (mut items, mut blocks, mut bytes) = (0, 0, 0);
    for partition in bench.partitions() {
        for place in [ResealPlace::Items(None), ResealPlace::Blocks(GENERATION, None)] {
            let mut next = Some(place);
            while let Some(from) = next {
                let target = target(partition);
                let done = bench.node.reseal(ResealRequest { target, from }).await.unwrap();
                match from {
                    ResealPlace::Items(_) => items += done.looked_at,
                    ResealPlace::Blocks(..) => blocks += done.looked_at,
                }
                bytes += done.bytes;
                next = done.next;
            }
        }
    }
    (items, blocks, bytes)
}

/// How many records there are on disk, and how many of them open with these keys.
fn opening_with(bench: &Bench, keys: impl Fn(PartitionId) -> DataKeys) -> (usize, usize) {
    let (mut all, mut opened) = (0, 0);
    let keys: Vec<DataKeys> = bench.partitions().map(keys).collect();
    let kinds = [
        (Family::Vectors, Some(RecordKind::Vector)),
        (Family::Meta, Some(RecordKind::Meta)),
        (Family::Contents, Some(RecordKind::Contents)),
        (Family::Blocks, None),
    ];
    for (family, kind) in kinds {
        for record in bench.node.database.latest().range(family, &[0], vec![9]) {
            let (key, stored) = record.unwrap();
            let keys = &keys[usize::from(key[1])];
            let opens = match kind {
                Some(kind) => {
                    let (op, sealed) = stored.split_first_chunk::<16>().unwrap();
                    let aad = Aad {
                        kind,
                        part: 0,
                        label: &item_of(&key).unwrap().0,
                        generation: Generation(0),
                        op,
                    };
                    keys.open(&aad, sealed).is_ok()
                }
                None => {
                    let (_, generation, label, block) = block_of(&key).unwrap();
                    let at = BlockAddress {
                        label,
                        generation,
                        block,
                    };
                    BlockReader::open(keys, &at, &stored).is_ok()
                }
            };
            all += 1;
            opened += usize::from(opens);
        }
    }
    (all, opened)
}

/// What a query finds, with exact distances.
async fn answers(bench: &Bench, query: &[f32]) -> Vec<(f64, ItemLabel)> {
    let queries = [query.to_vec()];
    let candidates = bench
        .scan(&queries, None, 2000, EVERYWHERE)
        .await
        .candidates
        .remove(0);
    bench.resolve(query, &candidates).await
}

async fn propose_key(bench: &Bench, bundle: &Bundle, epoch: KeyEpoch) -> Result<(), ShardError> {
    for partition in bench.partitions() {
        let command = Command::PinWriteKey(wire::PinWriteKey {
            epoch: epoch.0,
            write_key: bundle.public_keys().write.as_bytes().to_vec().into(),
        });
        bench.propose(partition, command).await?;
    }
    Ok(())
}

#[tokio::test]
async fn everything_is_sealed_again_and_nothing_opens_with_the_old_keys() {
    for (trained, dimension) in [(false, 6), (true, 80)] {
        let vectors = Numbers(7).rows(900, dimension);
        let mut bench = Bench::new(trained, Metric::Euclidean, &vectors).await;
        for (n, batch) in vectors.chunks(150).enumerate() {
            bench.upsert("i", n * 150, batch).await;
        }
        bench.delete(&["i7", "i8"]).await;
        let before = answers(&bench, &vectors[3]).await;
        assert!(!before.is_empty());
        let (old, next) = (bench.bundle.clone(), bench.bundle.next());
        bench.go_on_with(|partition| both(&old, &next, partition));
        assert_eq!(answers(&bench, &vectors[3]).await, before, "both are read");
        // Written under the new epoch, signed under the old one still.
        bench.upsert("n", 0, &vectors[..40]).await;
        bench.delete(&["n0"]).await;
        let now = answers(&bench, &vectors[3]).await;

        let (items, blocks, bytes) = reseal_all(&bench).await;
        assert_eq!(items, bench.items.len() as u64);
        assert!(blocks > 0 && bytes > 0);
        assert_eq!(
            reseal_all(&bench).await,
            (items, blocks, 0),
            "nothing is done twice"
        );
        assert_eq!(answers(&bench, &vectors[3]).await, now);

        bench.go_on_with(|partition| next.partition_keys(INDEX, NEXT, partition));
        assert_eq!(
            answers(&bench, &vectors[3]).await,
            now,
            "the new keys alone open everything"
        );
        assert_eq!(reseal_all(&bench).await, (items, blocks, 0));
        let bench = bench.reopen().await;
        assert_eq!(answers(&bench, &vectors[3]).await, now);
        let (all, opened) = opening_with(&bench, |p| next.partition_keys(INDEX, NEXT, p));
        assert!(all > 2 * bench.items.len() && opened == all, "{opened} of {all}");
        let (_, opened) = opening_with(&bench, |p| old.partition_keys(INDEX, EPOCH, p));
        assert_eq!(opened, 0, "the old keys open nothing");
    }
}

#[tokio::test]
async fn a_crash_half_way_loses_nothing_and_what_is_done_is_not_done_again() {
    let vectors = Numbers(8).rows(1200, 8);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let before = answers(&bench, &vectors[3]).await;
    let (old, next) = (bench.bundle.clone(), bench.bundle.next());
    bench.go_on_with(|partition| both(&old, &next, partition));
    let target = target(PartitionId(0));
    let from = ResealPlace::Items(None);
    let part = bench.node.reseal(ResealRequest { target, from }).await.unwrap();
    assert!(part.bytes > 0 && part.next.is_some());
    let mut bench = bench.reopen().await;
    // Fresh keys, which know no sub-epoch.
    bench.go_on_with(|partition| both(&old, &next, partition));
    let again = bench.node.reseal(ResealRequest { target, from }).await.unwrap();
    assert_eq!(
        (again.looked_at, again.bytes, again.next),
        (part.looked_at, 0, part.next)
    );
    reseal_all(&bench).await;
    bench.go_on_with(|partition| next.partition_keys(INDEX, NEXT, partition));
    assert_eq!(answers(&bench, &vectors[3]).await, before);
}

#[tokio::test]
async fn only_a_writer_brings_in_the_next_write_key_and_both_sign_until_the_old_one_is_dropped() {
    let vectors = Numbers(9).rows(30, 8);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    let (next, stranger) = (bench.bundle.next(), Bundle::generate());
    let partition = PartitionId(1);
    let empty = || Command::DeleteItems(wire::DeleteItems::default());
    let drop_old = || Command::DropWriteKeys(wire::DropWriteKeys { epoch: NEXT.0 });

    let old_signer = std::mem::replace(&mut bench.signer, stranger.write_cap().signer());
    assert_eq!(
        propose_key(&bench, &stranger, NEXT).await,
        Err(ShardError::NotSigned)
    );
    (bench.signer, bench.epoch) = (next.write_cap().signer(), NEXT);
    assert_eq!(
        propose_key(&bench, &next, NEXT).await,
        Err(ShardError::NotSigned),
        "by itself"
    );
    (bench.signer, bench.epoch) = (old_signer, EPOCH);
    propose_key(&bench, &next, NEXT).await.unwrap();
    assert!(
        bench.propose(partition, empty()).await.is_ok(),
        "the old key signs on"
    );
    let old_signer = std::mem::replace(&mut bench.signer, next.write_cap().signer());
    assert_eq!(
        bench.propose(partition, empty()).await,
        Err(ShardError::NotSigned),
        "of the old epoch"
    );
    bench.epoch = NEXT;
    assert!(bench.propose(partition, empty()).await.is_ok());
    assert!(bench.propose(partition, drop_old()).await.is_ok());
    assert!(bench.propose(partition, empty()).await.is_ok());
    (bench.signer, bench.epoch) = (old_signer, EPOCH);
    assert_eq!(
        bench.propose(partition, empty()).await,
        Err(ShardError::NotSigned)
    );
    let bench = bench.reopen().await;
    assert_eq!(
        bench.propose(partition, empty()).await,
        Err(ShardError::NotSigned),
        "for good"
    );
}

#[tokio::test]
async fn a_purge_leaves_no_record_of_before_in_any_file() {
    let vectors = Numbers(10).rows(200, 8);
    let mut bench = Bench::new(false, Metric::Euclidean, &vectors).await;
    bench.upsert("i", 0, &vectors).await;
    bench.node.database.flush().unwrap();
    let stored: Vec<Vec<u8>> = [Family::Vectors, Family::Blocks]
        .into_iter()
        .flat_map(|family| bench.node.database.latest().range(family, &[0], vec![9]))
        .map(|record| record.unwrap().1[16..].to_vec())
        .collect();
    let (old, next) = (bench.bundle.clone(), bench.bundle.next());
    bench.go_on_with(|partition| both(&old, &next, partition));
    reseal_all(&bench).await;
    let on_disk = || {
        let files = std::fs::read_dir(bench.home.path().join("db")).unwrap();
        let bytes: Vec<Vec<u8>> = files
            .filter_map(|file| std::fs::read(file.unwrap().path()).ok())
            .collect();
        let is_there = |record: &&Vec<u8>| {
            let start = &record[..32.min(record.len())];
            bytes
                .iter()
                .any(|file| file.windows(start.len()).any(|window| window == start))
        };
        stored.iter().filter(is_there).count()
    };
    assert!(on_disk() > 0);
    for partition in bench.partitions() {
        bench.node.purge(partition, INDEX).await.unwrap();
    }
    assert_eq!(on_disk(), 0);
}
