//! Opening an index at every stage between two key epochs, as its owner and as a user.

use super::super::bundles::Rights;
use super::*;
use crate::domain::{Catalog, Command, GenerationRecord, IndexRecord, KeySource};
use sealdex_core::{Generation, KeyEpoch, Metric, Precision};
use sealdex_crypto::{Aad, RecordKind, TokenAuthority};

const ID: IndexId = IndexId(7);
const NAME: &str = "a";
const BOTH: Rights = Rights {
    read: true,
    write: true,
};

fn key() -> IndexKey {
    IndexKey::from_bytes([1; 32])
}

fn custodian() -> Custodian {
    Custodian::new(&Placement::new(2), Duration::from_secs(60))
}

/// A catalogue with one index and one user, and the user's token.
fn catalog() -> (Catalog, UserToken) {
    let bundles = Bundles::generate(ID);
    let (id, token) = TokenAuthority::new("root key").mint();
    let record = IndexRecord {
        name: NAME.into(),
        id: ID,
        metric: Metric::Euclidean,
        precision: Precision::Float32,
        dimension: None,
        created_unix_seconds: 0,
        key: bundles.envelope(&key(), KeySource::Client),
        users: vec![bundles.user(id, &token.public_key(), BOTH)],
        without_inbox: true,
        active: GenerationRecord {
            generation: Generation(1),
            trained: false,
            clusters: 2,
            model: None,
            former: Vec::new(),
        },
        building: None,
        retiring: vec![],
        next_generation: Generation(2),
    };
    (Catalog::restore([record]), token)
}

fn begin(catalog: &mut Catalog) -> Arc<IndexRecord> {
    let record = catalog.get(NAME).unwrap();
    let bundles = Bundles::open(&record, &key()).unwrap().with_next();
    let users = record
        .users
        .iter()
        .map(|user| bundles.extended(&record, user).unwrap());
    let begin = Command::BeginEpoch {
        name: NAME.into(),
        id: ID,
        replaces: record.key.commitment,
        key: Box::new(bundles.envelope(&key(), KeySource::Client)),
        users: users.collect(),
    };
    catalog.apply(begin).unwrap()
}

fn switch(catalog: &mut Catalog) -> Arc<IndexRecord> {
    let (name, id, epoch) = (NAME.into(), ID, KeyEpoch(2));
    catalog.apply(Command::SwitchEpoch { name, id, epoch }).unwrap()
}

fn finish(catalog: &mut Catalog) -> Arc<IndexRecord> {
    let (name, id, epoch) = (NAME.into(), ID, KeyEpoch(2));
    catalog.apply(Command::FinishEpoch { name, id, epoch }).unwrap()
}

fn session(custodian: &Custodian, record: &IndexRecord) -> Arc<Session> {
    custodian.open(record, &key()).unwrap().unwrap().0.unwrap()
}

const AAD: Aad<'static> = Aad {
    kind: RecordKind::Vector,
    part: 0,
    label: &[1; 16],
    generation: Generation(0),
    op: &[2; 16],
};

fn sealed(session: &Session) -> Vec<u8> {
    session.keys(PartitionId(1)).seal(&AAD, b"vector")
}

fn opens(session: &Session, record: &[u8]) -> bool {
    session.keys(PartitionId(1)).open(&AAD, record).is_ok()
}

#[test]
fn whoever_opened_an_index_before_it_went_on_is_waited_for() {
    let (mut catalog, token) = catalog();
    let custodian = custodian();
    let before = catalog.get(NAME).unwrap();
    let owner = session(&custodian, &before);
    let (_, user) = custodian.open_as_user(&before, &token).unwrap().unwrap();
    let announced = begin(&mut catalog);
    custodian.reached(&announced).unwrap();
    assert!(!custodian.is_drained(ID));
    assert!(
        custodian.open(&before, &key()).unwrap().is_err(),
        "nobody opens it as it was"
    );
    assert!(custodian.open_as_user(&before, &token).unwrap().is_err());
    assert!(custodian.reached(&before).is_err());
    let now = session(&custodian, &announced);
    drop(owner);
    custodian.sweep();
    assert!(!custodian.is_drained(ID), "the user is still there");
    drop(user);
    assert!(
        custodian.is_drained(ID),
        "who is at the present stage is not waited for"
    );

    let switched = switch(&mut catalog);
    session(&custodian, &switched);
    assert!(!custodian.is_drained(ID), "opening takes note too");
    drop(now);
    assert!(custodian.is_drained(ID));
}

#[test]
fn sessions_of_all_stages_share_what_keeps_writes_and_folds_apart() {
    let (mut catalog, _) = catalog();
    let custodian = custodian();
    let before = session(&custodian, &catalog.get(NAME).unwrap());
    let announced = begin(&mut catalog);
    custodian.reached(&announced).unwrap();
    custodian.sweep();
    let after = session(&custodian, &announced);
    assert!(!Arc::ptr_eq(&before, &after));
    assert!(before.writes.counts_with(&after.writes) && Arc::ptr_eq(&before.models, &after.models));
}

#[test]
fn both_epochs_are_read_while_both_are_there_as_owner_and_as_user() {
    let (mut catalog, token) = catalog();
    let before = catalog.get(NAME).unwrap();
    let of_old = sealed(&session(&custodian(), &before));
    let stages = [begin(&mut catalog), switch(&mut catalog)];
    let of_new = sealed(&session(&custodian(), &stages[1]));
    let old = session(&custodian(), &before);
    assert!(opens(&old, &of_old) && !opens(&old, &of_new));
    for stage in &stages {
        let as_user = custodian()
            .open_as_user(stage, &token)
            .unwrap()
            .unwrap()
            .0
            .unwrap();
        for session in [session(&custodian(), stage), as_user] {
            assert!(opens(&session, &of_old) && opens(&session, &of_new));
        }
    }
    assert!(
        opens(&old, &sealed(&session(&custodian(), &stages[0]))),
        "sealed under the old one before the switch"
    );
    let finished = finish(&mut catalog);
    let as_user = custodian().open_as_user(&finished, &token).unwrap().unwrap();
    for session in [session(&custodian(), &finished), as_user.0.unwrap()] {
        assert!(!opens(&session, &of_old) && opens(&session, &of_new));
    }
    let writer = |record: &IndexRecord| custodian().open(record, &key()).unwrap().unwrap().1.unwrap();
    let signs_for = |record: &IndexRecord| *writer(record).signer.public_key().as_bytes();
    assert_eq!(signs_for(&stages[0]), before.key.public.write);
    assert_eq!(signs_for(&finished), finished.key.public.write);
    assert_eq!(
        as_user.1.unwrap().signer.public_key().as_bytes(),
        &finished.key.public.write
    );
}

#[test]
fn grants_that_the_admin_root_did_not_sign_are_not_carried_over_and_open_nothing() {
    let (mut catalog, token) = catalog();
    let record = catalog.get(NAME).unwrap();
    let bundles = Bundles::open(&record, &key()).unwrap().with_next();
    let stranger = Bundles::generate(ID).user(token.user_id(), &token.public_key(), BOTH);
    let mut more = record.users[0].clone();
    more.grants.write = None;
    for forged in [stranger, more] {
        let refused = bundles.extended(&record, &forged).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Conflict);
        assert!(
            refused.detail().contains("delete the user"),
            "{}",
            refused.detail()
        );
    }
    // Of two epochs both have to be signed, and say the same.
    let announced = begin(&mut catalog);
    let genuine = announced.users[0].clone();
    let mut forgeries = vec![genuine.clone(), genuine.clone(), genuine.clone()];
    forgeries[0].other = None;
    forgeries[1].other.as_mut().unwrap().signature[5] ^= 1;
    forgeries[2].other = Some(genuine.grants.clone());
    for forged in forgeries {
        let record = IndexRecord {
            users: vec![forged],
            ..IndexRecord::clone(&announced)
        };
        let refused = custodian().open_as_user(&record, &token).map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Forbidden);
    }
}
