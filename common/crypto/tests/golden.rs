//! Bytes that format 1 wrote must open for as long as format 1 is supported. The file was written once and has been
//! read by an independent implementation; it is never written again. A format that changes gets a file of its own.

#![allow(clippy::unwrap_used)]

use sealdex_core::{BlockId, ClusterLabel, ClusterNo, Generation, IndexId, KeyEpoch, PartitionId};
use sealdex_crypto::{
    Aad, BlockAddress, BlockReader, Bundle, Commitment, DataKeys, IndexKey, RecordKind, Segment,
};

const INDEX: IndexId = IndexId(0x0123_4567_89ab_cdef);
const EPOCH: KeyEpoch = KeyEpoch(7);
const LABEL: [u8; 16] = [0xa1; 16];
const GENERATION: Generation = Generation(2);
const OP: [u8; 16] = [0xb2; 16];

fn golden(name: &str) -> Vec<u8> {
    let hex = include_str!("golden/v1.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap();
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
