//! Bytes that format 1 wrote must open for as long as format 1 is supported. The files were written once and have been
//! read by an independent implementation; they are never written again. A format that changes gets a file of its own.

#![allow(clippy::unwrap_used)]

use sealdex_core::{
    BlockId, ClusterLabel, ClusterNo, Generation, IndexId, ItemLabel, KeyEpoch, Op, PartitionId,
};
use sealdex_crypto::{
    Aad, BatchContext, BlockAddress, BlockReader, Bundle, Commitment, DataKeys, GrantSignature, InboxContext,
    IndexKey, LocalWrapKey, ReadGrant, RecordKind, Segment, TokenAuthority, UserGrants, UserToken,
    WriteGrant,
};

const INDEX: IndexId = IndexId(0x0123_4567_89ab_cdef);
const EPOCH: KeyEpoch = KeyEpoch(7);
const LABEL: [u8; 16] = [0xa1; 16];
const GENERATION: Generation = Generation(2);
const OP: [u8; 16] = [0xb2; 16];

fn text(name: &str) -> &'static str {
    [include_str!("golden/v1.txt"), include_str!("golden/v1_users.txt")]
        .iter()
        .flat_map(|file| file.lines())
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap()
}

fn golden(name: &str) -> Vec<u8> {
    let hex = text(name);
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

fn key() -> IndexKey {
    IndexKey::from_bytes(std::array::from_fn(|i| i as u8))
}

fn bundle() -> Bundle {
    Bundle::open(&golden("bundle"), &key(), INDEX, EPOCH).unwrap()
}

fn partition_keys() -> DataKeys {
    bundle().partition_keys(INDEX, EPOCH, PartitionId(0x0102))
}

#[test]
fn commitments_stay() {
    let stored = Commitment::from_slice(&golden("commitment")).unwrap();
    stored.verify(&key(), INDEX).unwrap();
}

#[test]
fn labels_stay() {
    let labels = bundle().labels();
    assert_eq!(labels.item("naïve id").as_bytes(), golden("item").as_slice());
    assert_eq!(
        labels.cluster(GENERATION, ClusterNo(300)).as_bytes(),
        golden("cluster").as_slice()
    );
    assert_eq!(
        labels.blob(GENERATION, &[9; 16], 5).as_bytes(),
        golden("blob").as_slice()
    );
}

#[test]
fn records_open() {
    let model_keys = bundle().model_keys(INDEX, EPOCH);
    for (name, kind, keys) in [
        ("vector", RecordKind::Vector, &partition_keys()),
        ("meta", RecordKind::Meta, &partition_keys()),
        ("contents", RecordKind::Contents, &partition_keys()),
        ("model", RecordKind::Model, &model_keys),
    ] {
        let aad = Aad {
            kind,
            part: 0,
            label: &LABEL,
            generation: GENERATION,
            op: &OP,
        };
        assert_eq!(keys.open(&aad, &golden(name)).unwrap(), name.as_bytes());
    }
}

#[test]
fn blocks_open() {
    let keys = partition_keys();
    let at = BlockAddress {
        label: ClusterLabel(LABEL),
        generation: GENERATION,
        block: BlockId(OP),
    };
    for (name, rows) in [("delta", 3), ("page", 40)] {
        let sealed = golden(name);
        let reader = BlockReader::open(&keys, &at, &sealed).unwrap();
        assert_eq!(reader.rows(), rows);
        for (which, expected) in [
            (Segment::Codes, "codes"),
            (Segment::Identities, "identities"),
            (Segment::Metadata, "metadata"),
        ] {
            let mut out = Vec::new();
            reader.segment(which, &mut out).unwrap();
            assert_eq!(out, expected.as_bytes(), "{name}");
        }
    }
}

fn token() -> UserToken {
    TokenAuthority::new("golden root key")
        .verify(text("token"))
        .unwrap()
}

#[test]
fn tokens_are_recognised() {
    let token = token();
    assert_eq!(token.reveal(), text("token"));
    assert_eq!(token.user_id().to_string(), text("user"));
    assert_eq!(
        token.public_key().as_bytes(),
        golden("user_public_key").as_slice()
    );
    assert_eq!(token.fingerprint().as_bytes(), golden("fingerprint").as_slice());
}

#[test]
fn public_keys_stay() {
    let keys = bundle().public_keys();
    assert_eq!(keys.admin.as_bytes(), golden("admin_public_key").as_slice());
    assert_eq!(keys.write.as_bytes(), golden("write_public_key").as_slice());
    assert_eq!(keys.inbox.as_bytes(), golden("inbox_public_key").as_slice());
}

#[test]
fn grants_open() {
    let read = ReadGrant::from_bytes(&golden("read_grant"));
    let cap = token().open_read(&read, INDEX, EPOCH).unwrap();
    assert_eq!(
        cap.labels().item("na\u{ef}ve id").as_bytes(),
        golden("item").as_slice()
    );
    assert_eq!(cap.inbox_opener().public_key(), bundle().public_keys().inbox);
    let write = WriteGrant::from_bytes(&golden("write_grant"));
    let cap = token().open_write(&write, INDEX, EPOCH).unwrap();
    assert_eq!(
        cap.labels().item("na\u{ef}ve id").as_bytes(),
        golden("item").as_slice()
    );
    assert_eq!(cap.signer().public_key(), bundle().public_keys().write);
}

#[test]
fn signatures_stay() {
    let token = token();
    let grants = UserGrants {
        index: INDEX,
        epoch: EPOCH,
        user: token.user_id(),
        public_key: &token.public_key(),
        read: Some(&ReadGrant::from_bytes(&golden("read_grant"))),
        write: None,
    };
    let signature = GrantSignature::from_slice(&golden("user_signature")).unwrap();
    assert_eq!(bundle().sign_user(&grants), signature);
    bundle().public_keys().admin.verify(&grants, &signature).unwrap();

    let context = BatchContext {
        index: INDEX,
        epoch: EPOCH,
        partition: PartitionId(0x0102),
    };
    let signature = bundle().write_cap().signer().sign(&context, b"batch");
    assert_eq!(signature.as_slice(), golden("batch_signature"));
    bundle()
        .public_keys()
        .write
        .verify(&context, b"batch", &signature)
        .unwrap();
}

#[test]
fn inbox_records_open() {
    let context = InboxContext {
        index: INDEX,
        epoch: EPOCH,
        partition: PartitionId(0x0102),
        label: ItemLabel(LABEL),
        op: Op(OP),
        part: 3,
    };
    let opened = bundle()
        .read_cap()
        .inbox_opener()
        .open(&context, &golden("inbox"));
    assert_eq!(opened.unwrap(), b"inbox");
}

#[test]
fn wrapped_keys_unwrap() {
    let secret: [u8; 32] = std::array::from_fn(|i| 32 + i as u8);
    let wrap_key = LocalWrapKey::from_bytes(&secret).unwrap();
    let unwrapped = wrap_key.unwrap(&golden("wrapped"), b"golden context").unwrap();
    assert_eq!(unwrapped.expose_for_wrapping(), key().expose_for_wrapping());
}
