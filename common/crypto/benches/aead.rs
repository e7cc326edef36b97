//! What opening a record costs, in each library as such and through [`DataKeys`], at the sizes of a small vector's
//! record and of a page's codes; and the small costs around it. This is the measurement that chose the library for
//! records; both libraries' correctness is the unit tests' business.

#![allow(missing_docs)]

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad as AwsAad, LessSafeKey, Nonce, UnboundKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sealdex_core::{BlockId, ClusterLabel, Generation, IndexId, KeyEpoch, PartitionId};
use sealdex_crypto::{
    Aad, BlockAddress, BlockReader, Bundle, DataKeys, IndexKey, RecordKind, Segment, seal_block,
};
use std::hint::black_box;

const SIZES: [(usize, &str); 2] = [(1_536, "1.5 KiB"), (32_768, "32 KiB")];
const NONCE: [u8; 12] = [1; 12];
const BINDING: [u8; 62] = [2; 62];
const AAD: Aad<'static> = Aad {
    kind: RecordKind::Vector,
    part: 0,
    label: &[1; 16],
    generation: Generation(0),
    op: &[2; 16],
};

fn libraries(c: &mut Criterion) {
    let aws_lc = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[3; 32]).expect("32 bytes"));
    let rust_crypto = Aes256Gcm::new(&[3; 32].into());
    for (size, name) in SIZES {
        let mut ciphertext = vec![4; size];
        let nonce = || Nonce::assume_unique_for_key(NONCE);
        let aad = || AwsAad::from(BINDING.as_slice());
        let tag = aws_lc
            .seal_in_place_separate_tag(nonce(), aad(), &mut ciphertext)
            .expect("seals");
        let tag: [u8; 16] = tag.as_ref().try_into().expect("16 bytes");
        let mut out = vec![0; size];

        let mut group = c.benchmark_group(format!("open {name}"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("aws-lc-rs", |b| {
            b.iter(|| aws_lc.open_separate_gather(nonce(), aad(), black_box(&ciphertext), &tag, &mut out));
        });
        group.bench_function("aes-gcm", |b| {
            b.iter(|| {
                let buffer = InOutBuf::new(black_box(&ciphertext[..]), &mut out[..]).expect("same length");
                rust_crypto.decrypt_inout_detached(&NONCE.into(), &BINDING, buffer, &tag.into())
            });
        });
        group.finish();
    }
}

fn keys() -> DataKeys {
    Bundle::generate().partition_keys(IndexId(1), KeyEpoch(1), PartitionId(1))
}

fn records(c: &mut Criterion) {
    let keys = keys();
    for (size, name) in SIZES {
        let plaintext = vec![5; size];
        let sealed = keys.seal(&AAD, &plaintext);
        let mut out = Vec::new();
        let mut group = c.benchmark_group(format!("record {name}"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("open_into", |b| {
            b.iter(|| keys.open_into(&AAD, black_box(&sealed), &mut out))
        });
        group.bench_function("seal_into", |b| {
            b.iter(|| {
                out.clear();
                keys.seal_into(&AAD, black_box(&plaintext), &mut out);
            });
        });
        group.finish();
    }
}

/// The first record of a sub-epoch that these keys have not met: HKDF-Expand and a key schedule on top.
fn first_of_a_sub_epoch(c: &mut Criterion) {
    let bundle = Bundle::generate();
    let keys = || bundle.partition_keys(IndexId(1), KeyEpoch(1), PartitionId(1));
    let records: Vec<Vec<u8>> = (0..4_096).map(|_| keys().seal(&AAD, &[5; 1_536])).collect();
    let (reader, mut next, mut out) = (keys(), records.iter().cycle(), Vec::new());
    c.bench_function("record 1.5 KiB/open_into, unknown sub-epoch", |b| {
        b.iter(|| reader.open_into(&AAD, next.next().expect("a cycle has no end"), &mut out));
    });
}

fn blocks(c: &mut Criterion) {
    let keys = keys();
    let at = BlockAddress {
        label: ClusterLabel([1; 16]),
        generation: Generation(1),
        block: BlockId([2; 16]),
    };
    let (codes, identities, metadata) = (vec![1; 32_768], vec![2; 16_384], vec![3; 8_192]);
    let page = seal_block(&keys, &at, 512, [&codes, &identities, &metadata]);
    let delta = seal_block(
        &keys,
        &at,
        4,
        [&codes[..256], &identities[..128], &metadata[..64]],
    );
    let mut out = Vec::new();
    for (name, sealed) in [
        ("block/page of 32 KiB codes, codes only", page),
        ("block/delta of 448 B", delta),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| {
                let reader = BlockReader::open(&keys, &at, black_box(&sealed)).expect("opens");
                reader.segment(Segment::Codes, &mut out)
            });
        });
    }
}

fn derivations(c: &mut Criterion) {
    let (bundle, key) = (Bundle::generate(), IndexKey::from_bytes([1; 32]));
    let labels = bundle.labels();
    let commitment = key.commitment(IndexId(1));
    let sealed = bundle.seal(&key, IndexId(1), KeyEpoch(1));
    c.bench_function("label/item", |b| {
        b.iter(|| labels.item(black_box("document-000001")))
    });
    c.bench_function("keys/partition_keys", |b| {
        b.iter(|| bundle.partition_keys(IndexId(1), KeyEpoch(1), PartitionId(1)));
    });
    c.bench_function("keys/verify commitment", |b| {
        b.iter(|| commitment.verify(&key, IndexId(1)))
    });
    c.bench_function("keys/open bundle", |b| {
        b.iter(|| Bundle::open(&sealed, &key, IndexId(1), KeyEpoch(1)).is_ok());
    });
}

criterion_group!(
    benches,
    libraries,
    records,
    first_of_a_sub_epoch,
    blocks,
    derivations
);
criterion_main!(benches);
