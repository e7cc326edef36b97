//! What a crash leaves of a partition, whose changes are in memory until they are flushed: a state that its mark names,
//! from which the log goes on to the same state.

use super::*;
use std::fs;

fn put(n: u32) -> wire::Entry {
    let blob = wire::Blob {
        label: [&[0; 12], &n.to_be_bytes()[..]].concat().into(),
        sealed: vec![n as u8; 1000].into(),
    };
    entry(
        1,
        Command::PutBlobs(wire::PutBlobs {
            generation: 1,
            blobs: vec![blob],
        }),
    )
}

/// The files of a database that is not closed, as a crash leaves them.
fn crashed(bench: &Bench) -> Bench {
    let image = tempfile::tempdir().unwrap();
    fs::create_dir(image.path().join("db")).unwrap();
    for file in fs::read_dir(bench.home.path().join("db")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), image.path().join("db").join(file.file_name())).unwrap();
    }
    Bench {
        open: Some(open(image.path()).unwrap()),
        home: image,
    }
}

#[test]
fn a_crash_leaves_the_state_that_its_mark_names() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    for n in 0..40u32 {
        if n == 25 {
            bench.partition().flush().unwrap();
        }
        bench.run(put(n)).unwrap();
        let durable = bench.partition().durable().unwrap().map(|mark| mark.index());
        assert_eq!(durable, (n >= 25).then_some(LogIndex(26)));
    }
    let mut left = crashed(&bench);
    assert_eq!(left.applied(), LogIndex(26));
    assert_eq!(left.records(Family::Blobs).len(), 25);
    // The log goes on from there.
    for n in 25..40 {
        left.run(put(n)).unwrap();
    }
    for family in Family::ALL {
        assert_eq!(left.records(family), bench.records(family));
    }
}

#[test]
fn entries_of_a_membership_move_the_mark_alone() {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    let before = bench.records(Family::Blobs);
    let replies = bench.partition().apply(&[], &Mark::at(LogIndex(2)));
    assert!(replies.unwrap().is_empty());
    assert_eq!(bench.applied(), LogIndex(2));
    assert_eq!(bench.records(Family::Blobs), before);
    bench.reopen();
    assert_eq!(bench.applied(), LogIndex(2));
}
