//! From one key epoch of an index to the next, in three commits: both can be read; everything is sealed under the new one;
//! nothing is left of the old one. Only the first needs keys.

use super::{EpochStage, IndexRecord, KeyEnvelope, Rejection, UserRecord};
use sealdex_core::{KeyEpoch, UserId};
use std::collections::BTreeMap;
use std::mem::swap;

/// Puts the next epoch's keys and grants beside the present ones. Refused if a key was exchanged or a user made meanwhile.
pub(super) fn begin(
    record: &mut IndexRecord,
    replaces: [u8; 32],
    key: KeyEnvelope,
    users: Vec<UserRecord>,
) -> Result<(), Rejection> {
    let (present, next) = (record.key.epochs(), key.epochs());
    let follows = present.stage() == EpochStage::Settled
        && next.sealing == present.sealing
        && next.other == Some(KeyEpoch(present.sealing.0 + 1))
        && key.public == record.key.public;
    if record.key.commitment != replaces || !follows {
        return Err(Rejection::OutOfTurn);
    }
    let mut users: BTreeMap<UserId, UserRecord> = users.into_iter().map(|user| (user.id, user)).collect();
    let extended = |user: &UserRecord| {
        users
            .remove(&user.id)
            .filter(|extended| extended.grants == user.grants && extended.other.is_some())
            .ok_or(Rejection::OutOfTurn)
    };
    record.users = record.users.iter().map(extended).collect::<Result<_, _>>()?;
    record.key = key;
    Ok(())
}

/// Seals under the next epoch from now on.
pub(super) fn switch(record: &mut IndexRecord, epoch: KeyEpoch) -> Result<(), Rejection> {
    let stage = record.key.epochs().stage();
    let key = &mut record.key;
    match &mut key.other {
        Some(next) if stage == EpochStage::Announced && next.epoch == epoch => {
            swap(&mut key.epoch, &mut next.epoch);
            swap(&mut key.bundle, &mut next.bundle);
            swap(&mut key.public, &mut next.public);
        }
        _ => return Err(Rejection::OutOfTurn),
    }
    for user in &mut record.users {
        if let Some(next) = &mut user.other {
            swap(&mut user.grants, next);
        }
    }
    Ok(())
}

/// Erases the epoch before.
pub(super) fn finish(record: &mut IndexRecord, epoch: KeyEpoch) -> Result<(), Rejection> {
    if record.key.epochs().stage() != EpochStage::Resealing || record.key.epoch != epoch {
        return Err(Rejection::OutOfTurn);
    }
    record.key.other = None;
    for user in &mut record.users {
        user.other = None;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::catalog::tests::{index, user};
    use super::super::{Catalog, Command, EpochKeys, Epochs, Grants, PublicKeys};
    use super::*;
    use sealdex_core::IndexId;

    const NAME: &str = "a";
    const ID: IndexId = IndexId(1);

    fn public(n: u8) -> PublicKeys {
        PublicKeys {
            admin: [n; 32],
            write: [n; 32],
            inbox: [n; 32],
        }
    }

    fn of_next(n: u8) -> Grants {
        Grants {
            read: Some(vec![n, n]),
            ..user(n).grants
        }
    }

    fn extended(n: u8) -> UserRecord {
        UserRecord {
            other: Some(of_next(n)),
            ..user(n)
        }
    }

    fn with_next(key: &KeyEnvelope) -> KeyEnvelope {
        KeyEnvelope {
            other: Some(EpochKeys {
                epoch: KeyEpoch(key.epoch.0 + 1),
                bundle: vec![9],
                public: public(9),
            }),
            commitment: [5; 32],
            ..key.clone()
        }
    }

    fn begin_with(users: &[u8]) -> Command {
        Command::BeginEpoch {
            name: NAME.into(),
            id: ID,
            replaces: [0; 32],
            key: Box::new(with_next(&index(NAME, 1).key)),
            users: users.iter().map(|n| extended(*n)).collect(),
        }
    }

    fn switch_to(epoch: u32) -> Command {
        Command::SwitchEpoch {
            name: NAME.into(),
            id: ID,
            epoch: KeyEpoch(epoch),
        }
    }

    fn finish_at(epoch: u32) -> Command {
        Command::FinishEpoch {
            name: NAME.into(),
            id: ID,
            epoch: KeyEpoch(epoch),
        }
    }

    fn epochs(sealing: u32, other: Option<u32>) -> Epochs {
        Epochs {
            sealing: KeyEpoch(sealing),
            other: other.map(KeyEpoch),
        }
    }

    fn catalog(users: &[u8]) -> Catalog {
        Catalog::restore([IndexRecord {
            users: users.iter().map(|n| user(*n)).collect(),
            ..index(NAME, 1)
        }])
    }

    #[test]
    fn an_epoch_begins_is_switched_to_and_ends_in_that_order_only() {
        let mut catalog = catalog(&[1, 2]);
        for early in [switch_to(2), finish_at(1), finish_at(2)] {
            assert_eq!(catalog.apply(early), Err(Rejection::OutOfTurn));
        }
        let before = catalog.get(NAME).unwrap();
        let announced = catalog.apply(begin_with(&[1, 2])).unwrap();
        assert_eq!(announced.key.epochs(), epochs(1, Some(2)));
        assert_eq!(announced.users, [extended(1), extended(2)]);
        for wrong in [begin_with(&[1, 2]), switch_to(3), finish_at(1), finish_at(2)] {
            assert_eq!(catalog.apply(wrong), Err(Rejection::OutOfTurn));
        }
        let switched = catalog.apply(switch_to(2)).unwrap();
        assert_eq!(switched.key.epochs(), epochs(2, Some(1)));
        assert_eq!((&switched.key.bundle, switched.key.public), (&vec![9], public(9)));
        assert_eq!(switched.key.other.as_ref().unwrap().public, before.key.public);
        assert_eq!(switched.users[0].grants, of_next(1));
        assert_eq!(switched.users[0].other, Some(user(1).grants));
        for wrong in [begin_with(&[1, 2]), switch_to(2), switch_to(1), finish_at(1)] {
            assert_eq!(catalog.apply(wrong), Err(Rejection::OutOfTurn));
        }
        let finished = catalog.apply(finish_at(2)).unwrap();
        assert_eq!(finished.key.epochs(), epochs(2, None));
        assert_eq!(finished.users[1].grants, of_next(2));
        assert!(finished.users.iter().all(|user| user.other.is_none()));
        assert_eq!(catalog.apply(finish_at(2)), Err(Rejection::OutOfTurn));
    }

    #[test]
    fn nobody_is_forgotten_and_nobody_comes_back_when_an_epoch_begins() {
        let of = |begun: Result<std::sync::Arc<IndexRecord>, Rejection>| {
            begun.map(|record| record.users.iter().map(|user| user.id).collect::<Vec<_>>())
        };
        // Made meanwhile.
        assert_eq!(
            of(catalog(&[1, 2]).apply(begin_with(&[1]))),
            Err(Rejection::OutOfTurn)
        );
        // Revoked meanwhile.
        assert_eq!(
            of(catalog(&[2]).apply(begin_with(&[1, 2]))),
            Ok(vec![UserId([2; 16])])
        );
        let lacking = Command::BeginEpoch {
            name: NAME.into(),
            id: ID,
            replaces: [0; 32],
            key: Box::new(with_next(&index(NAME, 1).key)),
            users: vec![user(1)],
        };
        assert_eq!(of(catalog(&[1]).apply(lacking)), Err(Rejection::OutOfTurn));
    }

    #[test]
    fn a_user_whose_grants_are_of_other_epochs_is_refused() {
        let mut catalog = catalog(&[]);
        let add = |epochs| Command::AddUser {
            name: NAME.into(),
            id: ID,
            epochs,
            user: Box::new(extended(1)),
        };
        catalog.apply(begin_with(&[])).unwrap();
        for wrong in [epochs(1, None), epochs(2, Some(1)), epochs(2, None)] {
            assert_eq!(catalog.apply(add(wrong)), Err(Rejection::OutOfTurn));
        }
        catalog.apply(add(epochs(1, Some(2)))).unwrap();
        let switched = catalog.apply(switch_to(2)).unwrap();
        assert_eq!(switched.users[0].grants, of_next(1));
    }

    #[test]
    fn a_key_is_exchanged_at_every_stage_and_brings_no_other_bundle() {
        let mut catalog = catalog(&[]);
        let rewrap = |replaces, key| Command::Rewrap {
            name: NAME.into(),
            id: ID,
            replaces: [replaces; 32],
            key: Box::new(key),
        };
        let before = catalog.get(NAME).unwrap().key.clone();
        let announced = catalog.apply(begin_with(&[])).unwrap().key.clone();
        assert_eq!(
            catalog.apply(rewrap(5, before)),
            Err(Rejection::OutOfTurn),
            "of an earlier stage"
        );
        let exchanged = KeyEnvelope {
            commitment: [6; 32],
            ..announced
        };
        assert_eq!(
            catalog.apply(rewrap(5, exchanged.clone())).unwrap().key,
            exchanged
        );
        let switched = catalog.apply(switch_to(2)).unwrap().key.clone();
        assert_eq!(switched.commitment, [6; 32]);
        assert_eq!(catalog.apply(rewrap(6, exchanged)), Err(Rejection::OutOfTurn));
        let mut forged = switched.clone();
        forged.other.as_mut().unwrap().public = public(8);
        assert_eq!(catalog.apply(rewrap(6, forged)), Err(Rejection::OutOfTurn));
        assert!(catalog.apply(rewrap(6, switched)).is_ok());
    }

    #[test]
    fn stages_come_in_order() {
        let stages = [
            epochs(1, None),
            epochs(1, Some(2)),
            epochs(2, Some(1)),
            epochs(2, None),
            epochs(2, Some(3)),
        ];
        for (n, one) in stages.iter().enumerate() {
            for (m, other) in stages.iter().enumerate() {
                assert_eq!(one.precedes(*other), n < m, "{one:?} {other:?}");
            }
        }
    }
}
