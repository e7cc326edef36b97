//! What a crash leaves of a partition: nothing acknowledged is lost, and where damage lost it, that is noticed.

use super::*;
use std::fs;
use std::path::PathBuf;

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

fn blobs(home: &Path) -> Result<usize, ShardError> {
    let bench = Bench {
        open: Some(open(home)?),
        home: tempfile::tempdir().unwrap(),
    };
    Ok(bench.records(Family::Blobs).len())
}

/// A partition with `blobs` blobs, each written on its own.
fn written(blobs: u32) -> Bench {
    let mut bench = Bench::new();
    bench.run(begin(1, 1)).unwrap();
    for n in 0..blobs {
        bench.run(put(n)).unwrap();
    }
    bench
}

/// The files of a database that is not closed, as a crash leaves them.
fn crashed(bench: &Bench) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    fs::create_dir(image.path().join("db")).unwrap();
    for part in [".", "db"] {
        let files = fs::read_dir(bench.home.path().join(part)).unwrap();
        for file in files.map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), image.path().join(part).join(file.file_name())).unwrap();
            }
        }
    }
    image
}

/// The newest write-ahead log.
fn log_of(image: &Path) -> PathBuf {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let files = fs::read_dir(image.join("db")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(is_log)
        .max()
        .unwrap()
}

/// Whether the node says that writes are missing.
fn is_refused(image: &TempDir) -> bool {
    matches!(blobs(image.path()), Err(ShardError::Storage(text)) if text.contains("restore"))
}

#[test]
fn a_crash_loses_nothing_and_a_torn_end_is_dropped() {
    let image = crashed(&written(50));
    let mut log = fs::read(log_of(image.path())).unwrap();
    log.extend([0x5a; 700]);
    fs::write(log_of(image.path()), log).unwrap();
    assert_eq!(blobs(image.path()), Ok(50));
}

#[test]
fn a_damaged_log_is_refused() {
    let bench = written(10);
    let sound = fs::read(log_of(crashed(&bench).path())).unwrap();
    let flip = |mut log: Vec<u8>, position: usize| {
        log[position] ^= 1;
        log
    };
    let cut = |log: Vec<u8>, position: usize| log[..position].to_vec();
    let damages: [&dyn Fn(Vec<u8>, usize) -> Vec<u8>; 2] = [&flip, &cut];
    // Anywhere, also in the very last write: it was acknowledged.
    for position in (0..sound.len()).step_by(997).chain([sound.len() - 1]) {
        for damage in damages {
            let image = crashed(&bench);
            fs::write(log_of(image.path()), damage(sound.clone(), position)).unwrap();
            assert!(is_refused(&image), "{position}");
        }
    }
}

#[test]
fn damage_to_what_was_logged_during_a_flush_is_refused() {
    let mut refused = 0;
    for _ in 0..20 {
        let mut bench = written(0);
        let database = Arc::clone(&bench.open.as_ref().unwrap().0);
        let flush = std::thread::spawn(move || database.flush().unwrap());
        let mut n = 0;
        while !flush.is_finished() {
            bench.run(put(n)).unwrap();
            n += 1;
        }
        // No write after the flush: its manifest may know the numbers of all that were made during it.
        flush.join().unwrap();
        let image = crashed(&bench);
        let mut log = fs::read(log_of(image.path())).unwrap();
        if let Some(last) = log.last_mut() {
            *last ^= 1;
            fs::write(log_of(image.path()), log).unwrap();
            assert!(is_refused(&image), "{n} blobs");
            refused += 1;
        }
    }
    assert!(refused > 0, "no write met a flush");
}
