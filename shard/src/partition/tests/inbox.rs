//! What waits in the inbox: replaced, promoted, overtaken, and what a reader who looks twice is told.

use super::*;
use crate::partition::{list_inbox, read_inbox};
use sealdex_core::{IndexId, ItemLabel, Op};
use sealdex_index::dataplane::{InboxReply, InboxRequest};

const ROWS: &[(u32, u8)] = &[(1, 9)];

fn begun() -> Bench {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    bench
}

fn look(bench: &mut Bench, seen: u64) -> InboxReply {
    let directory = bench.partition().directory();
    let request = InboxRequest {
        partition: PARTITION,
        index: IndexId(1),
        seen,
    };
    if let Some(listed) = list_inbox(&directory, &request).unwrap() {
        return listed;
    }
    read_inbox(bench.database(), &directory, &request).unwrap()
}

/// Label, op, and whether the sealed item came with it.
fn items(reply: &InboxReply) -> Vec<(u8, u8, bool)> {
    let item = |item: &sealdex_index::dataplane::WaitingItem| {
        let (ItemLabel([label, ..]), Op([op, ..])) = (item.label, item.op);
        if let Some(sealed) = &item.sealed {
            assert_eq!(sealed.sealed, inbox_sealed(label, op));
        }
        (label, op, item.sealed.is_some())
    };
    let mut items: Vec<_> = reply.waiting.iter().map(item).collect();
    items.sort_unstable();
    items
}

#[test]
fn an_item_that_waits_takes_the_place_of_its_older_version_at_once() {
    let mut bench = begun();
    bench
        .run(commit(1, vec![item(1, 1, ROWS, true), item(2, 1, ROWS, false)]))
        .unwrap();
    let reply = bench.run(put_inbox(1, &[(1, 2), (3, 2)])).unwrap();
    assert_eq!((reply.created, reply.orphaned), (1, orphaned(ROWS)));
    for family in [Family::Vectors, Family::Meta] {
        assert_eq!(
            bench.records(family).len(),
            1,
            "only of the item that did not move"
        );
    }
    assert!(bench.records(Family::Contents).is_empty());
    assert_eq!(items(&look(&mut bench, 0)), [(1, 2, true), (3, 2, true)]);

    let reply = bench.run(commit(1, vec![item(1, 3, ROWS, false)])).unwrap();
    assert_eq!(reply, Applied::default(), "it had no rows");
    assert_eq!(bench.run(delete(1, &[3])).unwrap().removed, 1);
    assert!(bench.records(Family::Inbox).is_empty());
    bench.check_directory();
}

#[test]
fn what_still_waits_is_promoted_and_what_was_overtaken_is_not() {
    let mut bench = begun();
    bench.run(put_inbox(1, &[(1, 1), (2, 1), (3, 1)])).unwrap();
    bench.run(put_inbox(1, &[(2, 2)])).unwrap();
    bench.run(delete(1, &[3])).unwrap();
    let all = || (1..4).map(|of| item(of, 1, ROWS, false)).collect();
    let reply = bench.run(promote(1, all())).unwrap();
    assert_eq!(reply.orphaned, [orphaned(ROWS), orphaned(ROWS)].concat());
    assert_eq!(bench.records(Family::Vectors).len(), 1);
    assert_eq!(items(&look(&mut bench, 0)), [(2, 2, true)]);
    // Once more, as after a crash: nothing changes, and the rows of what is promoted are not dead.
    let reply = bench.run(promote(1, all())).unwrap();
    assert_eq!(reply.orphaned, [orphaned(ROWS), orphaned(ROWS)].concat());
    // The put of before comes again, late: it neither takes the item back nor appears twice.
    assert_eq!(bench.run(put_inbox(1, &[(1, 1)])), OK);
    assert_eq!(bench.records(Family::Vectors).len(), 1);
    bench.reopen();
    bench.check_directory();
    assert_eq!(items(&look(&mut bench, 0)), [(2, 2, true)]);
}

#[test]
fn nothing_is_promoted_without_a_row_in_every_live_generation() {
    let mut bench = begun();
    bench.run(put_inbox(1, &[(1, 1)])).unwrap();
    bench.run(begin(1, 2)).unwrap();
    let refused = bench.run(promote(1, vec![item(1, 1, ROWS, false)]));
    assert_eq!(refused, Err(ShardError::StaleGeneration));
    bench
        .run(promote(1, vec![item(1, 1, &[(1, 9), (2, 9)], false)]))
        .unwrap();
    assert!(items(&look(&mut bench, 0)).is_empty());
}

#[test]
fn who_looks_twice_is_told_of_what_came_and_went() {
    let mut bench = begun();
    bench.run(put_inbox(1, &[(1, 1)])).unwrap();
    let first = look(&mut bench, 0);
    bench.run(promote(1, vec![item(1, 1, ROWS, false)])).unwrap();
    let second = look(&mut bench, first.arrivals);
    assert!(second.departed <= first.arrivals, "the first look had it");

    bench.run(put_inbox(1, &[(2, 1), (3, 1)])).unwrap();
    let third = look(&mut bench, second.arrivals);
    assert_eq!(items(&third), [(2, 1, true), (3, 1, true)]);
    assert_eq!(
        items(&look(&mut bench, third.arrivals)),
        [(2, 1, false), (3, 1, false)]
    );
    // Replaced where it waits: the next look has it.
    bench.run(put_inbox(1, &[(3, 2)])).unwrap();
    let fourth = look(&mut bench, third.arrivals);
    assert_eq!(items(&fourth), [(2, 1, false), (3, 2, true)]);
    assert!(fourth.departed <= second.arrivals);
    // Came after the second look, and is gone: not in this one, but in its numbers.
    bench.run(commit(1, vec![item(3, 3, ROWS, false)])).unwrap();
    let fifth = look(&mut bench, fourth.arrivals);
    assert_eq!(items(&fifth), [(2, 1, false)]);
    assert!(fifth.departed > second.arrivals);
}

#[test]
fn a_dropped_index_leaves_nothing_in_the_inbox() {
    let mut bench = begun();
    bench.run(put_inbox(1, &[(1, 1)])).unwrap();
    bench.apply(vec![
        drop_index(1),
        begin(1, 1),
        commit(1, vec![item(1, 2, ROWS, false)]),
        put_inbox(1, &[(2, 2)]),
    ]);
    assert_eq!(items(&look(&mut bench, 0)), [(2, 2, true)]);
    bench.check_directory();
    bench.run(drop_index(1)).unwrap();
    assert!(bench.records(Family::Inbox).is_empty());
}
