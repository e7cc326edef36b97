//! The rules about generations and items, and what holds for every entry.

use super::*;
use crate::storage::Keys;
use sealdex_consensus::LogIndex;
use sealdex_core::{IndexId, ItemLabel};

#[test]
fn a_generation_begins_once_and_never_after_it_was_retired() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(begin(1, 1)), OK);
    assert_eq!(bench.run(begin(1, 1)), OK);
    assert_eq!(bench.run(begin(1, 3)), OK);
    assert_eq!(bench.run(retire(1, 1)), OK);
    assert_eq!(bench.run(retire(1, 1)), OK);
    assert_eq!(bench.run(begin(1, 1)), Err(ShardError::StaleGeneration));
    // Still live, though the next training was given up before it came here.
    assert_eq!(bench.run(retire(1, 4)), OK);
    assert_eq!(bench.run(begin(1, 4)), Err(ShardError::StaleGeneration));
    assert_eq!(bench.run(begin(1, 3)), OK);
    assert_eq!(bench.run(retire(2, 1)), Err(ShardError::UnknownIndex));
    bench.check_directory();
}

#[test]
fn nothing_happens_to_an_index_that_is_not_known() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    for refused in [
        append(2, 1, 1, &[(1, 1)]),
        replace(2, 1, 1, &[1], &[]),
        commit(2, vec![item(1, 1, &[(1, 1)], false)]),
        delete(2, &[1]),
        put_blobs(2, 1, &[1]),
    ] {
        assert_eq!(bench.run(refused), Err(ShardError::UnknownIndex));
    }
    assert_eq!(bench.run(drop_index(2)), OK);
    assert_eq!(bench.partition().directory().indexes(), [IndexId(1)]);
}

#[test]
fn an_item_needs_a_row_in_every_live_generation() {
    let mut bench = Bench::new();
    bench.apply(vec![begin(1, 1), begin(1, 2), retire(1, 1), begin(1, 3)]);
    let whole = item(1, 1, &[(2, 7), (3, 8)], false);
    let lacking = item(2, 1, &[(1, 6), (2, 7)], false);
    assert_eq!(
        bench.run(commit(1, vec![whole.clone(), lacking])),
        Err(ShardError::StaleGeneration)
    );
    assert!(
        bench.records(Family::Locators).is_empty(),
        "an entry is refused whole"
    );
    assert_eq!(bench.run(commit(1, vec![whole])), created(1));
    // A row of a retired generation is dropped, and so is no orphan when the item is replaced.
    let extra = item(1, 2, &[(1, 6), (2, 9), (3, 8)], false);
    let rows = orphaned(&[(2, 7), (3, 8)]);
    assert_eq!(
        bench.run(commit(1, vec![extra])),
        Ok(Applied {
            orphaned: rows,
            ..Applied::default()
        })
    );
    let rows = orphaned(&[(2, 9), (3, 8)]);
    assert_eq!(
        bench.run(delete(1, &[1])),
        Ok(Applied {
            removed: 1,
            orphaned: rows,
            ..Applied::default()
        })
    );
}

#[test]
fn a_commit_replaces_all_records_at_once() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    assert_eq!(
        bench.run(commit(1, vec![item(5, 1, &[(1, 1)], true)])),
        created(1)
    );
    let key = Keys::new(PARTITION, IndexId(1))
        .item(&ItemLabel([5; 16]))
        .to_vec();
    assert_eq!(
        bench.records(Family::Contents)[&key],
        [&[1; 16][..], b"c\x05\x01"].concat()
    );
    let replaced = Applied {
        orphaned: orphaned(&[(1, 1)]),
        ..Applied::default()
    };
    assert_eq!(
        bench.run(commit(1, vec![item(5, 2, &[(1, 3)], false)])),
        Ok(replaced)
    );
    assert_eq!(
        bench.records(Family::Vectors)[&key],
        [&[2; 16][..], b"v\x05\x02"].concat()
    );
    assert_eq!(
        bench.records(Family::Meta)[&key],
        [&[2; 16][..], b"m\x05\x02"].concat()
    );
    assert!(
        bench.records(Family::Contents).is_empty(),
        "absent contents delete the old ones"
    );
    // The same write once more changes nothing and orphans nothing.
    assert_eq!(bench.run(commit(1, vec![item(5, 2, &[(1, 3)], false)])), OK);
    assert_eq!(bench.partition().directory().state(IndexId(1)).unwrap().items, 1);
}

#[test]
fn the_last_of_one_label_wins() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    let twice = commit(1, vec![item(5, 1, &[(1, 1)], true), item(5, 2, &[(1, 2)], false)]);
    let expected = Applied {
        created: 1,
        orphaned: orphaned(&[(1, 1)]),
        ..Applied::default()
    };
    assert_eq!(bench.run(twice), Ok(expected));
    assert!(bench.records(Family::Contents).is_empty());
    let gone = Applied {
        removed: 1,
        orphaned: orphaned(&[(1, 2)]),
        ..Applied::default()
    };
    assert_eq!(bench.run(delete(1, &[5, 5, 6])), Ok(gone));
    for family in [Family::Locators, Family::Vectors, Family::Meta, Family::Contents] {
        assert!(bench.records(family).is_empty());
    }
}

#[test]
fn entries_of_one_apply_see_each_other() {
    let mut bench = Bench::new();
    let replies = bench.apply(vec![
        append(1, 1, 1, &[(1, 1)]),
        begin(1, 1),
        append(1, 1, 1, &[(1, 1)]),
        commit(1, vec![item(5, 1, &[(1, 1)], false)]),
        commit(1, vec![item(5, 2, &[(1, 2)], false)]),
        delete(1, &[5]),
        replace(1, 1, 1, &[1], &[(2, 1)]),
        replace(1, 1, 1, &[1], &[(3, 1)]),
        drop_index(1),
        begin(1, 1),
        commit(1, vec![item(5, 3, &[(1, 1)], false)]),
        replace(1, 1, 1, &[2], &[]),
    ]);
    let replaced = Applied {
        orphaned: orphaned(&[(1, 1)]),
        ..Applied::default()
    };
    let removed = Applied {
        removed: 1,
        orphaned: orphaned(&[(1, 2)]),
        ..Applied::default()
    };
    let expected = [
        Err(ShardError::UnknownIndex),
        OK,
        OK,
        created(1),
        Ok(replaced),
        Ok(removed),
        OK,
        Err(ShardError::BlocksGone),
        OK,
        OK,
        created(1),
        Err(ShardError::BlocksGone),
    ];
    assert_eq!(replies, expected);
    assert!(bench.records(Family::Blocks).is_empty());
    assert_eq!(bench.records(Family::Locators).len(), 1);
    bench.check_directory();
}

#[test]
fn a_malformed_entry_is_refused_and_counted() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    let short_op = wire::Item {
        op: vec![1; 15].into(),
        ..item(1, 1, &[(1, 1)], false)
    };
    let bad_place = wire::RowPlace {
        generation: 1,
        cluster: vec![1; 17].into(),
    };
    let bad_row = wire::Item {
        rows: vec![bad_place],
        ..item(1, 1, &[], false)
    };
    let later = wire::Entry {
        version: ENTRY_VERSION + 1,
        ..begin(1, 2)
    };
    let before = bench.applied();
    for (malformed, what) in [
        (later, "version"),
        (
            wire::Entry {
                version: 0,
                ..begin(1, 2)
            },
            "version",
        ),
        (
            wire::Entry {
                command: None,
                ..begin(1, 2)
            },
            "command",
        ),
        (commit(1, vec![item(2, 2, &[(1, 1)], false), short_op]), "item op"),
        (commit(1, vec![bad_row]), "row place"),
        (append(1, 1, 1, &[(1, 0)]), "rows of a block"),
        (replace(1, 1, 1, &[], &[(1, 1)]), "blocks to replace"),
    ] {
        assert_eq!(bench.run(malformed), Err(ShardError::BadEntry(what)));
    }
    let index = LogIndex(before.0 + 8);
    let garbage = Entry {
        index,
        payload: vec![0xff; 7].into(),
    };
    assert_eq!(
        bench.partition().apply(&[garbage], &Mark::at(index)).unwrap(),
        [Err(ShardError::BadEntry("encoding"))]
    );
    assert_eq!(bench.applied(), index);
    assert!(bench.records(Family::Vectors).is_empty() && bench.records(Family::Blocks).is_empty());
    bench.reopen();
    assert_eq!(bench.applied(), index);
}

#[test]
fn partitions_keep_to_themselves() {
    let mut bench = Bench::new();
    bench.apply(vec![begin(1, 1), append(1, 1, 1, &[(1, 1)])]);
    let (database, _) = bench.open.as_ref().unwrap();
    let neighbours = [PARTITION.0 - 1, PARTITION.0 + 1].map(PartitionId);
    for id in neighbours {
        let mut neighbour = Partition::open(Arc::clone(database), id).unwrap();
        assert!(neighbour.mark().is_none());
        assert!(neighbour.directory().indexes().is_empty());
        for (index, entry) in [(1, begin(1, 1)), (2, drop_index(1))] {
            let index = LogIndex(index);
            let payload = entry.encode_to_vec().into();
            let replies = neighbour.apply(&[Entry { index, payload }], &Mark::at(index));
            replies.unwrap()[0].clone().unwrap();
        }
    }
    bench.check_directory();
    assert_eq!(bench.records(Family::Blocks).len(), 1);
}
