//! A small file beside the database that remembers how far it was synced.
//!
//! RocksDB stops reading its write-ahead log at the first damaged record, because it cannot tell the torn end of an
//! unfinished write from damage in the middle. The first is normal after a crash; the second would silently lose
//! writes that were acknowledged. With this file a database that comes back with less than it had synced is refused.
//!
//! A thread writes the file some time after each sync, so writes of the last tenth of a second are not guarded by it.
//!
//! ```text
//! two slots, 4096 bytes apart: sequence number u64 LE | its complement u64 LE
//! ```

use parking_lot::{Condvar, Mutex};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long syncs gather before the file is written: it costs a sync of its own.
const GATHER: Duration = Duration::from_millis(100);

/// The slots are in different sectors, so that a torn write spoils one of them at most.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// The file and the thread that writes it.
pub struct Watermark {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    reached: u64,
    written: u64,
    stopping: bool,
    fault: Option<String>,
}

impl Watermark {
    /// Opens or creates the file. `Err(Lost)` if the database has come back with less than the file says was synced.
    pub fn open(path: &Path, recovered: u64) -> Result<Self, WatermarkError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if read(&file)?.is_some_and(|synced| recovered < synced) {
            return Err(WatermarkError::Lost);
        }
        // Sequence numbers come back the same or higher, so whatever was written is reached again.
        let state = State {
            reached: recovered,
            written: 0,
            stopping: false,
            fault: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let writer = std::thread::Builder::new().name("watermark".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep_writing(&file)
        })?;
        Ok(Self {
            shared,
            writer: Some(writer),
        })
    }

    /// Everything up to `sequence` is synced. An error means that the file could not be written.
    pub fn reached(&self, sequence: u64) -> Result<(), String> {
        let mut state = self.shared.state.lock();
        if sequence > state.reached {
            state.reached = sequence;
            self.shared.changed.notify_one();
        }
        state.fault.clone().map_or(Ok(()), Err)
    }

    /// Waits until the file holds what was reached.
    pub fn wait_until_written(&self) {
        while self.is_behind() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_behind(&self) -> bool {
        let state = self.shared.state.lock();
        state.reached != state.written
    }
}

impl Drop for Watermark {
    fn drop(&mut self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(writer) = self.writer.take() {
            // The writer has no panicking path; if it had one, the file would merely be older.
            let _ = writer.join();
        }
    }
}

/// Why a database must not be used.
#[derive(Debug, thiserror::Error)]
pub enum WatermarkError {
    /// The database came back with less than it had synced.
    #[error(
        "the write-ahead log is damaged: writes that were acknowledged are missing; restore this node from a replica or a backup"
    )]
    Lost,
    /// The file cannot be read or written.
    #[error("the watermark file: {0}")]
    Io(#[from] io::Error),
}

impl Shared {
    fn keep_writing(&self, file: &File) {
        let mut slots = SLOT_OFFSETS.into_iter().cycle();
        let mut state = self.state.lock();
        loop {
            while state.reached == state.written && !state.stopping {
                self.changed.wait(&mut state);
            }
            if !state.stopping {
                let deadline = std::time::Instant::now() + GATHER;
                while !state.stopping && !self.changed.wait_until(&mut state, deadline).timed_out() {}
            }
            let (sequence, stopping) = (state.reached, state.stopping);
            let slot = slots.next().expect("a cycle has no end");
            let result = parking_lot::MutexGuard::unlocked(&mut state, || write(file, slot, sequence));
            if let Err(error) = result {
                state.fault = Some(error.to_string());
                return;
            }
            state.written = sequence;
            if stopping {
                return;
            }
        }
    }
}

fn write(file: &File, slot: u64, sequence: u64) -> io::Result<()> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    bytes[8..].copy_from_slice(&(!sequence).to_le_bytes());
    file.write_all_at(&bytes, slot)?;
    file.sync_data()
}

fn read(file: &File) -> io::Result<Option<u64>> {
    let mut latest = None;
    for slot in SLOT_OFFSETS {
        let mut bytes = [0; 16];
        match file.read_exact_at(&mut bytes, slot) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        let (sequence, complement) = (
            u64::from_le_bytes(half(&bytes, 0)),
            u64::from_le_bytes(half(&bytes, 8)),
        );
        if sequence == !complement {
            latest = latest.max(Some(sequence));
        }
    }
    Ok(latest)
}

fn half(bytes: &[u8; 16], at: usize) -> [u8; 8] {
    bytes[at..at + 8].try_into().expect("eight of sixteen bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_was_synced_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let watermark = Watermark::open(&path, 0).unwrap();
        watermark.reached(40).unwrap();
        watermark.reached(41).unwrap();
        drop(watermark);
        assert!(matches!(Watermark::open(&path, 40), Err(WatermarkError::Lost)));
        drop(Watermark::open(&path, 41).unwrap());
        drop(Watermark::open(&path, 50).unwrap());
        assert!(matches!(Watermark::open(&path, 49), Err(WatermarkError::Lost)));
    }

    #[test]
    fn a_torn_slot_leaves_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let file = File::create_new(&path)
            .and_then(|_| File::options().read(true).write(true).open(&path))
            .unwrap();
        assert_eq!(read(&file).unwrap(), None);
        write(&file, SLOT_OFFSETS[0], 7).unwrap();
        write(&file, SLOT_OFFSETS[1], 9).unwrap();
        assert_eq!(read(&file).unwrap(), Some(9));
        file.write_all_at(&[0xaa], SLOT_OFFSETS[1] + 3).unwrap();
        assert_eq!(read(&file).unwrap(), Some(7));
    }
}
