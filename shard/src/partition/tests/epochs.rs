//! From one key epoch to the next: which write keys are pinned, and records that are sealed again.

use super::*;
use crate::storage::Keys;
use sealdex_core::{IndexId, ItemLabel};

fn pinned(bench: &mut Bench) -> Vec<u32> {
    let state = bench.partition().directory().state(IndexId(1)).unwrap();
    state.write_keys().map(|key| key.epoch).collect()
}

const REFUSED: Reply = Err(ShardError::BadEntry("write key"));

#[test]
fn the_next_key_is_pinned_beside_the_present_one_and_outlives_it() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(pin(1, 2)), Err(ShardError::UnknownIndex));
    assert_eq!(bench.run(drop_keys(1, 1)), Err(ShardError::UnknownIndex));
    bench.run(begin(1, 1)).unwrap();
    assert_eq!(pinned(&mut bench), [1]);
    assert_eq!(bench.run(drop_keys(1, 1)), OK);
    assert_eq!(bench.run(drop_keys(1, 2)), REFUSED);
    assert_eq!(bench.run(pin(1, 2)), OK);
    for _ in 0..2 {
        assert_eq!(bench.run(pin(1, 2)), OK, "again");
        assert_eq!(pinned(&mut bench), [1, 2]);
        bench.reopen();
    }
    assert_eq!(bench.run(pin(1, 3)), REFUSED, "one at a time");
    for generation in [1, 2] {
        assert_eq!(bench.run(begin(1, generation)), OK);
    }
    for _ in 0..2 {
        assert_eq!(bench.run(drop_keys(1, 2)), OK);
        assert_eq!(pinned(&mut bench), [2]);
        bench.reopen();
    }
    assert_eq!(bench.run(drop_keys(1, 1)), REFUSED, "never back");
    assert_eq!(bench.run(pin(1, 1)), REFUSED);
    assert_eq!(bench.run(begin(1, 3)), REFUSED, "with the key of the first epoch");
    assert_eq!(bench.run(pin(1, 3)), OK);
    bench.check_directory();
}

#[test]
fn what_is_no_key_is_not_pinned() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    for (epoch, bytes) in [(2, 31), (2, 33), (2, 0), (1, 32), (0, 32)] {
        let write_key = vec![9; bytes].into();
        let pin = wire::PinWriteKey { epoch, write_key };
        assert_eq!(bench.run(entry(1, Command::PinWriteKey(pin))), REFUSED);
    }
    assert_eq!(pinned(&mut bench), [1]);
}

#[test]
fn an_item_is_sealed_again_only_while_that_write_is_current() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    let items = (1..5).map(|n| item(n, 1, &[(1, 1)], n == 1)).collect();
    bench.run(commit(1, items)).unwrap();
    bench.run(commit(1, vec![item(2, 2, &[(1, 1)], false)])).unwrap();
    bench.run(delete(1, &[3])).unwrap();
    let before = [Family::Locators, Family::Meta, Family::State].map(|family| bench.records(family));
    // All in one apply: those before are not on disk yet.
    let replies = bench.apply(vec![
        reseal(1, &[(1, 1), (2, 1), (3, 1), (9, 1)]),
        commit(1, vec![item(4, 7, &[(1, 1)], false)]),
        reseal(1, &[(4, 1)]),
        reseal(1, &[(2, 2)]),
    ]);
    assert!(replies.iter().all(Result::is_ok));
    let key = |n: u8| {
        Keys::new(PARTITION, IndexId(1))
            .item(&ItemLabel([n; 16]))
            .to_vec()
    };
    let vectors = bench.records(Family::Vectors);
    let vector = |n: u8| vectors.get(&key(n)).map(|record| record[16..].to_vec());
    assert_eq!(vector(1), Some(vec![b'V', 1, 1]));
    assert_eq!(vector(2), Some(vec![b'V', 2, 2]));
    assert_eq!(
        (vector(3), vector(9)),
        (None, None),
        "who was deleted does not come back"
    );
    assert_eq!(vector(4), Some(vec![b'v', 4, 7]), "a later write is not undone");
    for (family, before) in [Family::Locators, Family::Meta, Family::State]
        .into_iter()
        .zip(before)
    {
        let changed = |key_of: &Vec<u8>| *key_of != key(4) && key_of.len() > 2;
        let of = |records: BTreeMap<Vec<u8>, Vec<u8>>| {
            records
                .into_iter()
                .filter(|(key, _)| changed(key))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(bench.records(family)), of(before), "{family:?}");
    }
}

#[test]
fn each_part_is_sealed_again_for_itself() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    bench.run(commit(1, vec![item(1, 1, &[(1, 1)], true)])).unwrap();
    let resealed = wire::ResealedItem {
        label: label(1),
        op: label(1),
        meta: Some(vec![b'M'].into()),
        contents: Some(vec![b'C'].into()),
        ..Default::default()
    };
    let items = vec![resealed];
    assert_eq!(
        bench.run(entry(1, Command::ResealItems(wire::ResealItems { items }))),
        OK
    );
    for (family, sealed) in [
        (Family::Vectors, &[b'v', 1, 1][..]),
        (Family::Meta, b"M"),
        (Family::Contents, b"C"),
    ] {
        let expected = [&[1; 16], sealed].concat();
        assert_eq!(
            bench.records(family).into_values().collect::<Vec<_>>(),
            [expected]
        );
    }
}

#[test]
fn a_block_is_replaced_by_itself() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    bench.run(append(1, 1, 1, &[(1, 40), (2, 50)])).unwrap();
    let before = bench.records(Family::Directory);
    assert_eq!(bench.run(replace(1, 1, 1, &[1], &[(1, 40)])), OK);
    assert_eq!(bench.records(Family::Directory), before);
    assert_eq!(bench.records(Family::Blocks).len(), 2);
    bench.check_directory();
}
