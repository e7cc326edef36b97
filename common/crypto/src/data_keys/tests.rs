//! Records open as what they were sealed as, and as nothing else.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use sealdex_core::{Generation, PartitionId};
use std::collections::BTreeMap;

/// Everything that decides whether a record opens.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    root: u8,
    index: u64,
    epoch: u32,
    scope: Scope,
    kind: RecordKind,
    part: u8,
    label: [u8; 16],
    generation: u32,
    op: [u8; 16],
}

impl Place {
    fn keys(&self) -> DataKeys {
        let root = Secret::fill_with(|out| out.fill(self.root));
        DataKeys::derive(&root, IndexId(self.index), KeyEpoch(self.epoch), self.scope)
    }

    fn aad(&self) -> Aad<'_> {
        Aad {
            kind: self.kind,
            part: self.part,
            label: &self.label,
            generation: Generation(self.generation),
            op: &self.op,
        }
    }
}

fn place() -> impl Strategy<Value = Place> {
    let scope = prop_oneof![
        any::<u16>().prop_map(|n| Scope::Partition(PartitionId(n))),
        Just(Scope::Model)
    ];
    let labels: (_, _) = (any::<[u8; 16]>(), any::<[u8; 16]>());
    (
        any::<(u8, u64, u32, u8, u32)>(),
        scope,
        select(&RecordKind::ALL[..]),
        labels,
    )
        .prop_map(
            |((root, index, epoch, part, generation), scope, kind, (label, op))| Place {
                root,
                index,
                epoch,
                scope,
                kind,
                part,
                label,
                generation,
                op,
            },
        )
}

/// `one` with a single field taken from `other`, for each field.
fn mixed(one: &Place, other: &Place) -> [Place; 9] {
    let one = || one.clone();
    [
        Place {
            root: other.root,
            ..one()
        },
        Place {
            index: other.index,
            ..one()
        },
        Place {
            epoch: other.epoch,
            ..one()
        },
        Place {
            scope: other.scope,
            ..one()
        },
        Place {
            kind: other.kind,
            ..one()
        },
        Place {
            part: other.part,
            ..one()
        },
        Place {
            label: other.label,
            ..one()
        },
        Place {
            generation: other.generation,
            ..one()
        },
        Place {
            op: other.op,
            ..one()
        },
    ]
}

proptest! {
    #[test]
    fn opens_where_it_was_sealed_and_nowhere_else(
        here in place(),
        there in place(),
        plaintext in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let sealed = here.keys().seal(&here.aad(), &plaintext);
        prop_assert_eq!(sealed.len(), plaintext.len() + SEALED_OVERHEAD);
        prop_assert_eq!(here.keys().open(&here.aad(), &sealed), Ok(plaintext.clone()));
        for elsewhere in mixed(&here, &there) {
            let expected = if elsewhere == here { Ok(plaintext.clone()) } else { Err(OpenError) };
            prop_assert_eq!(elsewhere.keys().open(&elsewhere.aad(), &sealed), expected);
        }
    }

    #[test]
    fn every_byte_and_the_length_count(
        here in place(),
        plaintext in prop::collection::vec(any::<u8>(), 0..40),
        flip in 1u8..,
    ) {
        let keys = here.keys();
        let sealed = keys.seal(&here.aad(), &plaintext);
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= flip;
            prop_assert_eq!(keys.open(&here.aad(), &damaged), Err(OpenError));
            prop_assert_eq!(keys.open(&here.aad(), &sealed[..place]), Err(OpenError));
        }
        prop_assert_eq!(keys.open(&here.aad(), &[&sealed[..], &[flip]].concat()), Err(OpenError));
        prop_assert_eq!(keys.open(&here.aad(), &sealed), Ok(plaintext));
    }
}

fn some_place() -> Place {
    Place {
        root: 1,
        index: 2,
        epoch: 3,
        scope: Scope::Partition(PartitionId(4)),
        kind: RecordKind::Vector,
        part: 0,
        label: [5; 16],
        generation: 0,
        op: [6; 16],
    }
}

#[test]
fn sealing_appends_and_opening_replaces() {
    let (here, plaintext) = (some_place(), [7; 100]);
    let (keys, aad) = (here.keys(), here.aad());
    let mut sealed = b"before".to_vec();
    keys.seal_into(&aad, &plaintext, &mut sealed);
    assert_eq!(&sealed[..6], b"before");

    let mut out = vec![9; 1_000];
    let at = out.as_ptr();
    keys.open_into(&aad, &sealed[6..], &mut out).unwrap();
    assert_eq!(out, plaintext);
    assert_eq!((out.as_ptr(), out.capacity()), (at, 1_000));

    assert_eq!(keys.open_into(&aad, &sealed, &mut out), Err(OpenError));
    assert!(out.is_empty());
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    out.resize(10, 9);
    assert_eq!(keys.open_into(&aad, &sealed[6..], &mut out), Err(OpenError));
    assert!(out.is_empty());
}

#[test]
fn a_spent_budget_starts_a_new_sub_epoch() {
    let (here, root) = (some_place(), Secret::generate());
    let keys = DataKeys::derive_with_budget(&root, IndexId(2), KeyEpoch(3), here.scope, 10);
    let sealed: Vec<Vec<u8>> = (0..25u8).map(|i| keys.seal(&here.aad(), &[i])).collect();
    let mut seals_of = BTreeMap::new();
    for record in &sealed {
        *seals_of.entry(record[1..9].to_vec()).or_insert(0) += 1;
    }
    let mut seals: Vec<i32> = seals_of.into_values().collect();
    seals.sort_unstable();
    assert_eq!(seals, [5, 10, 10]);

    // All of them open, also with keys that never sealed any.
    let reader = DataKeys::derive(&root, IndexId(2), KeyEpoch(3), here.scope);
    for (i, record) in sealed.iter().enumerate() {
        assert_eq!(reader.open(&here.aad(), record), Ok(vec![i as u8]));
    }
}

#[test]
fn no_two_seals_are_alike() {
    let here = some_place();
    let keys = here.keys();
    let mut nonces: Vec<Vec<u8>> = (0..1_000)
        .map(|_| keys.seal(&here.aad(), b"same")[1..21].to_vec())
        .collect();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 1_000);
    // Keys that are made again share no sub-epoch with those before, so no budget is ever reused.
    let (first, again) = (keys.seal(&here.aad(), b""), here.keys().seal(&here.aad(), b""));
    assert_ne!(first[1..9], again[1..9]);
}

#[test]
fn many_threads_may_share_them() {
    let here = some_place();
    let keys = here.keys();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (keys, here) = (&keys, &here);
            scope.spawn(move || {
                for i in 0..200u8 {
                    let sealed = keys.seal(&here.aad(), &[thread, i]);
                    assert_eq!(keys.open(&here.aad(), &sealed), Ok(vec![thread, i]));
                }
            });
        }
    });
}

/// The keys of one place in two epochs, each with a root of its own.
fn two_epochs(place: &Place) -> (Place, Place) {
    let old = Place {
        root: 1,
        epoch: 1,
        ..place.clone()
    };
    let new = Place {
        root: 2,
        epoch: 2,
        ..place.clone()
    };
    (old, new)
}

proptest! {
    #[test]
    fn between_two_epochs_both_open_and_one_seals(place in place(), plaintext in prop::collection::vec(any::<u8>(), 0..100)) {
        let (old, new) = two_epochs(&place);
        let of_old = old.keys().seal(&place.aad(), &plaintext);
        let between = new.keys().opening_also(old.keys());
        let of_new = between.seal(&place.aad(), &plaintext);
        for keys in [&between, &new.keys().opening_also(old.keys()), &old.keys().opening_also(new.keys())] {
            // Twice: the second time the sub-epoch is known.
            for _ in 0..2 {
                prop_assert_eq!(keys.open(&place.aad(), &of_old).unwrap(), plaintext.clone());
                prop_assert_eq!(keys.open(&place.aad(), &of_new).unwrap(), plaintext.clone());
            }
        }
        prop_assert_eq!(new.keys().open(&place.aad(), &of_new).unwrap(), plaintext.clone());
        prop_assert_eq!(old.keys().open(&place.aad(), &of_new), Err(OpenError));
        prop_assert_eq!(new.keys().open(&place.aad(), &of_old), Err(OpenError));
    }

    #[test]
    fn what_is_resealed_opens_under_the_new_epoch_only(place in place(), plaintext in prop::collection::vec(any::<u8>(), 0..100)) {
        let (old, new) = two_epochs(&place);
        let sealed = old.keys().seal(&place.aad(), &plaintext);
        let between = new.keys().opening_also(old.keys());
        let resealed = between.reseal(&place.aad(), &sealed).unwrap().unwrap();
        prop_assert_eq!(resealed.len(), sealed.len());
        prop_assert_eq!(new.keys().open(&place.aad(), &resealed).unwrap(), plaintext);
        prop_assert_eq!(old.keys().open(&place.aad(), &resealed), Err(OpenError));
        let after_a_restart = new.keys().opening_also(old.keys());
        for keys in [&between, &after_a_restart] {
            prop_assert_eq!(keys.reseal(&place.aad(), &resealed), Ok(None));
            prop_assert_eq!(keys.is_resealed(&place.aad(), &resealed), Ok(true));
            prop_assert_eq!(keys.is_resealed(&place.aad(), &sealed), Ok(false));
        }
        let mut damaged = sealed;
        damaged[20] ^= 1;
        prop_assert_eq!(after_a_restart.reseal(&place.aad(), &damaged), Err(OpenError));
    }
}
