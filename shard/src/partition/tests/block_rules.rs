//! The rules about blocks and models, and what is left when their generation or index goes.

use super::*;
use crate::storage::Keys;
use sealdex_core::{ClusterLabel, Generation, IndexId};

#[test]
fn what_was_dropped_does_not_come_back_with_a_new_beginning() {
    let mut bench = Bench::new();
    let old = commit(1, vec![item(5, 1, &[(1, 1)], true)]);
    bench.apply(vec![
        begin(1, 1),
        append(1, 1, 1, &[(1, 1), (2, 1)]),
        old,
        put_blobs(1, 1, &[1]),
    ]);
    let replies = bench.apply(vec![
        drop_index(1),
        begin(1, 1),
        append(1, 1, 1, &[(3, 1)]),
        replace(1, 1, 1, &[1], &[]),
        delete(1, &[5]),
        commit(1, vec![item(5, 2, &[(1, 1)], false)]),
    ]);
    assert_eq!(replies, [OK, OK, OK, Err(ShardError::BlocksGone), OK, created(1)]);
    assert_eq!(bench.records(Family::Blocks).len(), 1);
    assert!(bench.records(Family::Blobs).is_empty() && bench.records(Family::Contents).is_empty());
    bench.check_directory();
}

#[test]
fn blocks_are_appended_replaced_and_reported_when_crowded() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    let small: Vec<(u8, u32)> = (1..=8).map(|id| (id, 63)).collect();
    assert_eq!(bench.run(append(1, 1, 4, &small)), OK);
    assert_eq!(bench.run(append(1, 1, 4, &[(9, 64)])), OK, "not a small one");
    let crowded = Applied {
        crowded: orphaned(&[(1, 4)]),
        ..Applied::default()
    };
    assert_eq!(bench.run(append(1, 1, 4, &[(10, 1)])), Ok(crowded.clone()));
    assert_eq!(
        bench.run(append(1, 1, 4, &[(10, 1)])),
        Ok(crowded),
        "the same append again"
    );
    assert_eq!(
        bench.run(append(1, 2, 4, &[(11, 1)])),
        Err(ShardError::StaleGeneration)
    );
    assert_eq!(
        bench.run(replace(1, 1, 4, &[1, 2, 77], &[(12, 126)])),
        Err(ShardError::BlocksGone)
    );
    assert_eq!(
        bench.run(replace(1, 1, 5, &[1, 2], &[(12, 126)])),
        Err(ShardError::BlocksGone),
        "another cluster"
    );
    assert_eq!(bench.run(replace(1, 1, 4, &[1, 2], &[(12, 126)])), OK);
    let blocks = bench
        .partition()
        .directory()
        .blocks(IndexId(1), Generation(1), &ClusterLabel([4; 16]));
    let listed: Vec<(u8, u32)> = blocks.iter().map(|block| (block.id.0[0], block.rows)).collect();
    assert_eq!(
        listed,
        [
            (3, 63),
            (4, 63),
            (5, 63),
            (6, 63),
            (7, 63),
            (8, 63),
            (9, 64),
            (10, 1),
            (12, 126)
        ]
    );
    assert_eq!(bench.records(Family::Blocks).len(), 9);
    bench.check_directory();
}

#[test]
fn retiring_and_dropping_leave_nothing_behind() {
    let mut bench = Bench::new();
    for index in [1, 2] {
        bench.apply(vec![
            begin(index, 1),
            begin(index, 2),
            append(index, 1, 1, &[(1, 2)]),
            append(index, 2, 1, &[(2, 2)]),
            put_blobs(index, 1, &[1, 2]),
            put_blobs(index, 2, &[3]),
            commit(
                index,
                vec![
                    item(1, 1, &[(1, 1), (2, 1)], true),
                    item(0xff, 1, &[(1, 1), (2, 1)], true),
                ],
            ),
            put_inbox(index, &[(7, 1)]),
        ]);
    }
    assert_eq!(bench.run(retire(1, 1)), OK);
    assert_eq!(bench.run(put_blobs(1, 1, &[9])), Err(ShardError::StaleGeneration));
    assert_eq!(bench.records(Family::Blocks).len(), 3);
    assert_eq!(bench.records(Family::Blobs).len(), 1 + 3);
    bench.check_directory();
    assert_eq!(bench.run(drop_index(1)), OK);
    let of_first = Keys::new(PARTITION, IndexId(1)).index();
    for family in Family::ALL {
        let left = bench.records(family);
        assert!(!left.keys().any(|key| key.starts_with(&of_first)), "{family:?}");
        assert!(!left.is_empty(), "{family:?} of the other index");
    }
    bench.check_directory();
    assert_eq!(bench.run(delete(1, &[1])), Err(ShardError::UnknownIndex));
}

#[test]
fn a_model_may_come_before_its_generation_and_goes_with_it() {
    let mut bench = Bench::new();
    bench.apply(vec![begin(1, 1), put_blobs(1, 1, &[1]), put_blobs(1, 2, &[2])]);
    assert_eq!(bench.records(Family::Blobs).len(), 2);
    // A training that was given up before its generation began here.
    assert_eq!(bench.run(retire(1, 2)), OK);
    assert_eq!(bench.records(Family::Blobs).len(), 1);
    assert_eq!(bench.run(put_blobs(1, 2, &[2])), Err(ShardError::StaleGeneration));
}
