//! Power cuts: what was never synced is gone, what was acknowledged is there. kill -9 cannot show this, because the operating system
//! keeps what a killed program has written; so after each kill every file is cut to what the server had synced of it by then.
//!
//! Files that grow, as logs and tables do, are cut at their end; small files, which are overwritten in place, are put back.
#![allow(clippy::unwrap_used)]

use sealdex_tests::life::Life;
use sealdex_tests::random::{Random, clumped};
use sealdex_tests::scanner::files_under;
use sealdex_tests::server::Home;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const DIMENSION: usize = 16;
const BASE_ITEMS: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_a_power_cut() {
    let rounds: usize = std::env::var("SEALDEX_POWER_ROUNDS").map_or(8, |given| given.parse().unwrap());
    let mut random = Random::from_clock("power cuts", "SEALDEX_POWER_SEED");
    let tracing = SyncNotes::new();
    let home = tracing.watch(Home::new());
    let mut server = home.start().await;
    let mut lives = Vec::new();
    for (name, base_items) in [("untrained", 0), ("trained", BASE_ITEMS)] {
        let base = clumped(&mut random, base_items, 20, DIMENSION);
        lives.push(Life::begin(&server, name, base, DIMENSION, 2, &mut random).await);
    }
    let mut lost = 0;
    for round in 0..rounds {
        let writing: Vec<_> = lives.iter_mut().flat_map(Life::start_writing).collect();
        tokio::time::sleep(Duration::from_micros(200_000 + random.below(400_000) as u64)).await;
        server.kill();
        let mut writers = Vec::new();
        for task in writing {
            writers.push(task.await.expect("a writer found a fault"));
        }
        lost += tracing.cut_power(&home.data());
        server = home.start().await;
        for life in &mut lives {
            life.take_back(&mut writers);
            life.check(&server, round, &mut random).await;
        }
    }
    let acknowledged: usize = lives.iter().map(Life::acknowledged).sum();
    println!("{rounds} power cuts took {lost} bytes; {acknowledged} acknowledged writes, none lost");
    assert!(
        acknowledged > rounds * 20,
        "too little was written for the cuts to mean anything"
    );
    assert!(lost > 0, "no cut took anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_synced_its_logs_would_be_found_out() {
    let mut random = Random::new(41);
    let tracing = SyncNotes::new();
    let home = tracing.watch(Home::new()).with_variable("SYNC_FORGETS", ".log");
    let server = home.start().await;
    let base = clumped(&mut random, BASE_ITEMS, 20, DIMENSION);
    let life = Life::begin(&server, "trained", base, DIMENSION, 0, &mut random).await;
    server.kill();
    assert!(tracing.cut_power(&home.data()) > 0);
    if let Ok(server) = home.try_start().await {
        let there = life
            .index
            .through(&server.http)
            .call("vectors/num_vectors", serde_json::json!({}))
            .await;
        let whole = there.is_ok_and(|reply| reply.status == 200 && reply.json()["result"] == BASE_ITEMS);
        assert!(
            !whole,
            "no log was synced, and yet nothing is missing: the cut does not cut"
        );
    }
}

/// Notes of how much of each file was synced, taken by a small library in the server's process.
struct SyncNotes {
    folder: TempDir,
}

impl SyncNotes {
    fn new() -> Self {
        let notes = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power/synced.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([notes.library(), source])
            .arg("-ldl")
            .status();
        assert!(compiled.expect("a C compiler is installed").success());
        notes
    }

    fn watch(&self, home: Home) -> Home {
        home.with_variable("LD_PRELOAD", self.library().to_str().unwrap())
            .with_variable("SYNC_NOTES", self.file().to_str().unwrap())
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("synced.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    /// Takes from every file what was not synced. Returns how many bytes that is.
    fn cut_power(&self, data: &Path) -> u64 {
        let notes = self.read();
        let mut lost = 0;
        for path in files_under(data).unwrap() {
            let metadata = std::fs::metadata(&path).unwrap();
            let nothing = Synced::default();
            let synced = notes.get(&metadata.ino()).unwrap_or(&nothing);
            if metadata.len() > synced.bytes {
                lost += metadata.len() - synced.bytes;
                File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(synced.bytes)
                    .unwrap();
            }
            if let Some(contents) = &synced.contents {
                let now = std::fs::read(&path).unwrap();
                lost += now.iter().zip(contents).filter(|(now, then)| now != then).count() as u64;
                std::fs::write(&path, contents).unwrap();
            }
        }
        lost
    }

    /// What was synced last of each file, by inode.
    fn read(&self) -> HashMap<u64, Synced> {
        let notes = std::fs::read(self.file()).unwrap_or_default();
        let mut rest = &notes[..];
        let mut synced = HashMap::new();
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
        while let Some((head, more)) = rest.split_at_checked(24) {
            let (inode, bytes, stored) = (number(&head[..8]), number(&head[8..16]), number(&head[16..]));
            let (contents, more) = more.split_at(stored as usize);
            rest = more;
            let contents = (stored == bytes).then(|| contents.to_vec());
            synced.insert(inode, Synced { bytes, contents });
        }
        synced
    }
}

/// What a power cut leaves of a file.
#[derive(Default)]
struct Synced {
    bytes: u64,
    /// Of a small file.
    contents: Option<Vec<u8>>,
}
