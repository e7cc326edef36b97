//! Grants open for their user, at their place and whole; signatures hold for what they were made over.

use super::*;
use crate::aad::{Aad, RecordKind, Scope};
use crate::token::TokenAuthority;
use proptest::prelude::*;
use sealdex_core::{Generation, PartitionId};

const INDEX: IndexId = IndexId(7);
const EPOCH: KeyEpoch = KeyEpoch(3);

fn user() -> (UserId, UserToken) {
    TokenAuthority::new("root key").mint()
}

fn exposed(roots: [&Secret; 2]) -> [[u8; 32]; 2] {
    roots.map(|root| *root.expose())
}

#[test]
fn hand_over_what_they_are_for() {
    let bundle = Bundle::generate();
    let (id, token) = user();
    let read = bundle.grant_read(INDEX, EPOCH, id, &token.public_key());
    let cap = token.open_read(&read, INDEX, EPOCH).unwrap();
    assert_eq!(exposed(cap.roots()), exposed(bundle.read_cap().roots()));
    let write = bundle.grant_write(INDEX, EPOCH, id, &token.public_key());
    let cap = token.open_write(&write, INDEX, EPOCH).unwrap();
    assert_eq!(exposed(cap.roots()), exposed(bundle.write_cap().roots()));
    assert_eq!(cap.signer().public_key(), bundle.public_keys().write);
    assert_eq!(cap.inbox(), Some(bundle.public_keys().inbox));
    assert_eq!(cap.inbox(), bundle.write_cap().inbox());
}

#[test]
fn open_for_their_user_at_their_place_only() {
    let bundle = Bundle::generate();
    let (id, token) = user();
    let (other_id, other) = user();
    let public_key = token.public_key();
    let read = bundle.grant_read(INDEX, EPOCH, id, &public_key);
    let write = bundle.grant_write(INDEX, EPOCH, id, &public_key);
    assert!(other.open_read(&read, INDEX, EPOCH).is_err());
    assert!(other.open_write(&write, INDEX, EPOCH).is_err());
    for (index, epoch) in [(IndexId(8), EPOCH), (INDEX, KeyEpoch(4))] {
        assert!(token.open_read(&read, index, epoch).is_err());
        assert!(token.open_write(&write, index, epoch).is_err());
    }
    // To this user's key, in another user's name.
    let named_otherwise = bundle.grant_read(INDEX, EPOCH, other_id, &public_key);
    assert!(token.open_read(&named_otherwise, INDEX, EPOCH).is_err());
    // To another user's key, in this user's name.
    let sealed_otherwise = bundle.grant_read(INDEX, EPOCH, id, &other.public_key());
    assert!(token.open_read(&sealed_otherwise, INDEX, EPOCH).is_err());
}

#[test]
fn the_right_to_read_is_not_the_right_to_write() {
    let bundle = Bundle::generate();
    let (id, token) = user();
    let read = bundle.grant_read(INDEX, EPOCH, id, &token.public_key());
    let write = bundle.grant_write(INDEX, EPOCH, id, &token.public_key());
    let read_as_write = WriteGrant::from_bytes(read.as_bytes());
    assert!(token.open_write(&read_as_write, INDEX, EPOCH).is_err());
    let write_as_read = ReadGrant::from_bytes(write.as_bytes());
    assert!(token.open_read(&write_as_read, INDEX, EPOCH).is_err());
}

/// A thief is not held to our types: they may take a writer's roots for any other.
#[test]
fn with_a_writers_roots_nothing_opens_and_with_a_readers_nothing_is_signed() {
    let bundle = Bundle::generate();
    let (id, token) = user();
    let to = token.public_key();
    let writer = token.open_write(&bundle.grant_write(INDEX, EPOCH, id, &to), INDEX, EPOCH);
    let reader = token.open_read(&bundle.grant_read(INDEX, EPOCH, id, &to), INDEX, EPOCH);
    let (writer, reader) = (writer.unwrap(), reader.unwrap());
    let secrets = |roots: [&Secret; 2]| {
        exposed(roots).map(|bytes| Arc::new(Secret::fill_with(|out| out.copy_from_slice(&bytes))))
    };
    let ([write, label], [read, _]) = (secrets(writer.roots()), secrets(reader.roots()));
    let row = Aad {
        kind: RecordKind::Contents,
        part: 0,
        label: &[1; 16],
        generation: Generation(0),
        op: &[2; 16],
    };
    let scope = Scope::Partition(PartitionId(1));
    let sealed = bundle.data_keys(INDEX, EPOCH, scope).seal(&row, b"a row");
    let opens = |root: &Arc<Secret>| {
        let cap = ReadCap::new(root.clone(), label.clone());
        cap.data_keys(INDEX, EPOCH, scope).open(&row, &sealed).is_ok()
    };
    assert!(!opens(&write) && !opens(&label));
    let signs = |root: &Arc<Secret>| {
        let cap = WriteCap::new(root.clone(), label.clone(), None);
        cap.signer().public_key() == bundle.public_keys().write
    };
    assert!(!signs(&read) && !signs(&label));
    assert!(opens(&read) && signs(&write), "each is good for what it is");
}

#[test]
fn show_nothing_but_their_length() {
    let bundle = Bundle::generate();
    let (id, token) = user();
    let read = bundle.grant_read(INDEX, EPOCH, id, &token.public_key());
    assert_eq!(format!("{read:?}"), "ReadGrant(113 bytes)");
    let write = bundle.grant_write(INDEX, EPOCH, id, &token.public_key());
    assert_eq!(format!("{write:?}"), "WriteGrant(145 bytes)");
}

#[test]
fn bytes_of_any_length_are_no_grant() {
    let (_, token) = user();
    for length in (0..160).chain([1 << 16]) {
        let bytes = vec![FORMAT; length];
        assert!(
            token
                .open_read(&ReadGrant::from_bytes(&bytes), INDEX, EPOCH)
                .is_err()
        );
        assert!(
            token
                .open_write(&WriteGrant::from_bytes(&bytes), INDEX, EPOCH)
                .is_err()
        );
    }
}

proptest! {
    #[test]
    fn changed_grants_do_not_open(at: prop::sample::Index, bit in 0u8..8) {
        let bundle = Bundle::generate();
        let (id, token) = user();
        let read = bundle.grant_read(INDEX, EPOCH, id, &token.public_key());
        let mut changed = read.as_bytes().to_vec();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        prop_assert!(token.open_read(&ReadGrant::from_bytes(&changed), INDEX, EPOCH).is_err());
        prop_assert!(token.open_read(&ReadGrant::from_bytes(&changed[..at]), INDEX, EPOCH).is_err());

        let write = bundle.grant_write(INDEX, EPOCH, id, &token.public_key());
        let mut changed = write.as_bytes().to_vec();
        changed[at] ^= 1 << bit;
        prop_assert!(token.open_write(&WriteGrant::from_bytes(&changed), INDEX, EPOCH).is_err());
        prop_assert!(token.open_write(&WriteGrant::from_bytes(&changed[..at]), INDEX, EPOCH).is_err());
    }

    #[test]
    fn changed_signatures_are_refused(at in 0usize..64, bit in 0u8..8) {
        let bundle = Bundle::generate();
        let (id, token) = user();
        let public_key = token.public_key();
        let grants = UserGrants { index: INDEX, epoch: EPOCH, user: id, public_key: &public_key, read: None, write: None };
        let signature = bundle.sign_user(&grants);
        let admin = bundle.public_keys().admin;
        prop_assert_eq!(admin.verify(&grants, &signature), Ok(()));
        let mut changed = *signature.as_bytes();
        changed[at] ^= 1 << bit;
        let changed = GrantSignature::from_slice(&changed).unwrap();
        prop_assert_eq!(admin.verify(&grants, &changed), Err(BadSignature));
    }
}

#[test]
fn signatures_hold_for_exactly_what_was_signed() {
    let bundle = Bundle::generate();
    let (id, token) = user();
    let (other_id, other) = user();
    let (public_key, other_key) = (token.public_key(), other.public_key());
    let read = bundle.grant_read(INDEX, EPOCH, id, &public_key);
    let again = bundle.grant_read(INDEX, EPOCH, id, &public_key);
    let write = bundle.grant_write(INDEX, EPOCH, id, &public_key);
    let read_as_write = WriteGrant::from_bytes(read.as_bytes());
    let (empty_read, empty_write) = (ReadGrant::from_bytes(&[]), WriteGrant::from_bytes(&[]));

    let none = UserGrants {
        index: INDEX,
        epoch: EPOCH,
        user: id,
        public_key: &public_key,
        read: None,
        write: None,
    };
    let all = [
        none,
        UserGrants {
            read: Some(&read),
            ..none
        },
        UserGrants {
            read: Some(&again),
            ..none
        },
        UserGrants {
            write: Some(&write),
            ..none
        },
        UserGrants {
            write: Some(&read_as_write),
            ..none
        },
        UserGrants {
            read: Some(&read),
            write: Some(&write),
            ..none
        },
        UserGrants {
            read: Some(&empty_read),
            ..none
        },
        UserGrants {
            write: Some(&empty_write),
            ..none
        },
        UserGrants {
            index: IndexId(8),
            ..none
        },
        UserGrants {
            epoch: KeyEpoch(4),
            ..none
        },
        UserGrants {
            user: other_id,
            ..none
        },
        UserGrants {
            public_key: &other_key,
            ..none
        },
    ];
    let admin = bundle.public_keys().admin;
    let another_admin = Bundle::generate().public_keys().admin;
    for (signed, one) in all.iter().enumerate() {
        let signature = bundle.sign_user(one);
        assert_eq!(another_admin.verify(one, &signature), Err(BadSignature));
        for (given, other) in all.iter().enumerate() {
            assert_eq!(
                admin.verify(other, &signature).is_ok(),
                signed == given,
                "{other:?}"
            );
        }
    }
}

#[test]
fn the_signed_message_has_this_layout() {
    let key = UserPublicKey::from_slice(&[9; 32]).unwrap();
    let grants = UserGrants {
        index: INDEX,
        epoch: EPOCH,
        user: UserId([0xab; 16]),
        public_key: &key,
        read: Some(&ReadGrant::from_bytes(&[0xc1, 0xc2])),
        write: None,
    };
    let expected = [
        "0000000e",
        "75736572207369676e6174757265", // "user signature"
        "0000000101",
        "000000080000000000000007",
        "0000000400000003",
        "00000010abababababababababababababababab",
        "000000200909090909090909090909090909090909090909090909090909090909090909",
        "0000000301c1c2",
        "00000000",
    ]
    .concat();
    let message: String = grants
        .message()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(message, expected);
}

#[test]
fn only_64_bytes_are_a_signature() {
    assert!(GrantSignature::from_slice(&[0; 63]).is_none());
    assert!(GrantSignature::from_slice(&[0; 65]).is_none());
}
