//! What a shard node's memory holds: the keys of its leases while they last, and none of them afterwards. Keys are found the way an
//! attacker with a memory image finds them, by the expanded form that AES needs (Halderman et al., Lest We Remember, 2008),
//! so that nobody has to say which they are. With `SEALDEX_LEASE_EXPIRY` a lease is also waited out, for a minute.

#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Bytes of an AES-256 key, and of its expanded form: fifteen round keys (FIPS 197).
const KEY_BYTES: usize = 32;
const EXPANDED_BYTES: usize = 15 * 16;

/// Bytes read at once.
const WINDOW_BYTES: usize = 8 << 20;

type AesKey = [u8; KEY_BYTES];

/// Finds expanded AES-256 keys in bytes.
struct KeyFinder {
    s_box: [u8; 256],
}

impl KeyFinder {
    /// FIPS 197, 5.1.1: the inverse in GF(2^8), and an affine map.
    fn new() -> Self {
        let double = |x: u8| (x << 1) ^ if x & 0x80 == 0 { 0 } else { 0x1b };
        let mut s_box = [0x63; 256];
        // `q` runs through the inverses while `p` runs through everything but zero, by powers of 3.
        let (mut p, mut q) = (1_u8, 1_u8);
        loop {
            p ^= double(p);
            q ^= q << 1;
            q ^= q << 2;
            q ^= q << 4;
            q ^= if q & 0x80 == 0 { 0 } else { 0x09 };
            let turned = (1..5).fold(q, |sum, turns| sum ^ q.rotate_left(turns));
            s_box[usize::from(p)] = turned ^ 0x63;
            if p == 1 {
                return Self { s_box };
            }
        }
    }

    fn substitute(&self, word: [u8; 4]) -> [u8; 4] {
        word.map(|byte| self.s_box[usize::from(byte)])
    }

    /// The word that follows eight words at `place` of the expanded form.
    fn next(&self, eight: &[u8], place: usize) -> [u8; 4] {
        let word = |n: usize| -> [u8; 4] { eight[4 * n..4 * n + 4].try_into().unwrap() };
        let mut last = word(7);
        if place.is_multiple_of(8) {
            last.rotate_left(1);
            last = self.substitute(last);
            last[0] ^= 1 << (place / 8 - 1);
        } else if place % 8 == 4 {
            last = self.substitute(last);
        }
        let first = word(0);
        std::array::from_fn(|n| first[n] ^ last[n])
    }

    fn expand(&self, key: &AesKey) -> Vec<u8> {
        let mut expanded = key.to_vec();
        for place in 8..EXPANDED_BYTES / 4 {
            let next = self.next(&expanded[4 * (place - 8)..], place);
            expanded.extend(next);
        }
        expanded
    }

    fn find(&self, bytes: &[u8], found: &mut BTreeSet<AesKey>) {
        for at in (0..(bytes.len() + 1).saturating_sub(EXPANDED_BYTES)).step_by(4) {
            let here = &bytes[at..at + EXPANDED_BYTES];
            if here[KEY_BYTES..KEY_BYTES + 4] != self.next(here, 8) {
                continue;
            }
            let key: AesKey = here[..KEY_BYTES].try_into().unwrap();
            if self.expand(&key) == here {
                found.insert(key);
            }
        }
    }
}

/// Goes through everything that a process may write to, window by window; windows overlap by more than any form of a key.
fn each_window(process: u32, mut look: impl FnMut(&[u8])) {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut window = vec![0; WINDOW_BYTES];
    let mut seen = 0;
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [mut at, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        while at < end {
            let bytes = (end - at).min(WINDOW_BYTES as u64) as usize;
            // What is gone meanwhile, or was never touched and cannot be read, holds nothing.
            let Ok(read) = memory.read_at(&mut window[..bytes], at) else {
                break;
            };
            look(&window[..read]);
            seen += read;
            if read < bytes || at + read as u64 >= end {
                break;
            }
            at += (read - EXPANDED_BYTES) as u64;
        }
    }
    assert!(seen > 10 << 20, "only {seen} bytes could be read");
}

/// The keys that a process can use at this moment.
fn expanded_keys(finder: &KeyFinder, process: u32) -> BTreeSet<AesKey> {
    let mut found = BTreeSet::new();
    each_window(process, |bytes| finder.find(bytes, &mut found));
    found
}

/// Those of `keys` that are anywhere in a process, expanded or bare.
fn left_of(keys: &BTreeSet<AesKey>, process: u32) -> BTreeSet<AesKey> {
    // Nearly all of memory is told apart from every key by two bytes.
    let start = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let mut starts = vec![false; 1 << 16];
    keys.iter().for_each(|key| starts[start(key)] = true);
    let mut left = BTreeSet::new();
    each_window(process, |bytes| {
        for at in bytes.windows(KEY_BYTES) {
            if starts[start(at)] && keys.contains(at) {
                left.insert(at.try_into().unwrap());
            }
        }
    });
    left
}

async fn used(nodes: &Nodes, name: &str) -> Index {
    let index = Index::create(&nodes.http(0), name, KEY, json!({"dimension": 8})).await;
    let items: Vec<Item> = (0..200_u16)
        .map(|n| {
            let vector = (0..8).map(|d| f32::from(n * 7 % (d + 11))).collect();
            Item::bare(format!("{n}"), vector).with_contents(format!("contents of {n}"))
        })
        .collect();
    index.upsert(&items).await;
    index.query(&items[9].vector, 5, json!({})).await;
    index.get(&["9".to_owned()]).await;
    index
}

/// The keys that a process has and did not have `before`: those of leases that last.
fn newly_lent(finder: &KeyFinder, process: u32, before: &BTreeSet<AesKey>) -> BTreeSet<AesKey> {
    let now = expanded_keys(finder, process);
    let lent: BTreeSet<AesKey> = now.difference(before).copied().collect();
    assert!(lent.len() >= 4, "{} keys found while they are lent", lent.len());
    lent
}

/// Waits until none of the keys is left.
async fn gone(keys: &BTreeSet<AesKey>, process: u32, within: Duration, why: &str) {
    let given_up = Instant::now() + within;
    loop {
        let left = left_of(keys, process).len();
        if left == 0 {
            return;
        }
        assert!(
            Instant::now() < given_up,
            "{why}: {left} of {} keys are left",
            keys.len()
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_outlives_its_lease_in_a_shard_nodes_memory() {
    let mut nodes = Nodes::new(1, 1);
    nodes.start_all().await;
    let shard = nodes.process_id(nodes.all(Kind::Shard)[0]);
    let finder = KeyFinder::new();
    // The connections are there from here on, and their keys are not a lease's.
    used(&nodes, "first")
        .await
        .must("indexes/delete", json!({}))
        .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = expanded_keys(&finder, shard);

    let index = used(&nodes, "revoked").await;
    let lent = newly_lent(&finder, shard, &before);
    assert_eq!(left_of(&lent, shard), lent, "what is there is found");
    index.must("indexes/delete", json!({})).await;
    gone(&lent, shard, Duration::from_secs(30), "revoked").await;

    if std::env::var_os("SEALDEX_LEASE_EXPIRY").is_some() {
        let _index = used(&nodes, "expired").await;
        let lent = newly_lent(&finder, shard, &before);
        gone(&lent, shard, Duration::from_secs(180), "expired").await;
        println!("{} keys expired", lent.len());
    }
    println!("{} keys were lent, none is left", lent.len());
}

#[test]
fn keys_are_found_in_their_expanded_form() {
    let finder = KeyFinder::new();
    // FIPS 197, A.3.
    let key: AesKey = std::array::from_fn(|n| {
        let hex = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()
    });
    let expanded = finder.expand(&key);
    assert_eq!(expanded[EXPANDED_BYTES - 4..], [0x70, 0x6c, 0x63, 0x1e]);
    let mut bytes = vec![7; 100];
    bytes.extend(&expanded);
    bytes.extend([9; 50]);
    let mut found = BTreeSet::new();
    finder.find(&bytes, &mut found);
    assert_eq!(found, BTreeSet::from([key]));
    bytes[200] ^= 1;
    found.clear();
    finder.find(&bytes, &mut found);
    assert_eq!(found, BTreeSet::new());
}
