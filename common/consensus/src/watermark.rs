//! A small file beside a database that remembers how far it was synced.
//!
//! RocksDB stops reading its write-ahead log at the first damaged record, because it cannot tell the torn end of an
//! unfinished write from damage to one that was acknowledged. The first is normal after a crash; the second would be
//! a silent loss. So a write is acknowledged only when it is synced *and* this file says so, and a database that comes
//! back with less than the file says is refused.
//!
//! ```text
//! two slots, 4096 bytes apart, written in turns: sequence number u64 LE | its complement u64 LE
//! ```
//!
//! A slot that is torn or damaged counts as not written. Torn, it belonged to a write that was not acknowledged.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The slots are in different sectors, so that a torn write spoils one of them at most.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// The file. One caller at a time writes it, for all that wait.
pub struct Watermark {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What callers say is synced.
    reached: u64,
    /// What the file says.
    written: u64,
    /// The slot that is older, and next.
    slot: usize,
    writing: bool,
    fault: Option<String>,
}

impl Watermark {
    /// Opens or creates the file of a database that has come back with everything up to `recovered`. `Err(Lost)` if
    /// the file says that more was synced.
    pub fn open(path: &Path, recovered: u64) -> Result<Self, WatermarkError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let slots = [read(&file, 0)?, read(&file, 1)?];
        if slots.into_iter().flatten().any(|synced| recovered < synced) {
            return Err(WatermarkError::Lost);
        }
        let state = State {
            reached: recovered,
            written: 0,
            slot: usize::from(slots[0] > slots[1]),
            writing: false,
            fault: None,
        };
        let watermark = Self {
            file,
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        watermark.reached(recovered).map_err(io::Error::other)?;
        // The file's name has to survive a power cut too.
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        Ok(watermark)
    }

    /// To be called when everything up to `sequence` is synced; returns when the file says so, durably. An error is as
    /// final as a failed sync of the database itself.
    pub fn reached(&self, sequence: u64) -> Result<(), String> {
        let mut state = self.state.lock();
        state.reached = state.reached.max(sequence);
        loop {
            if let Some(fault) = &state.fault {
                return Err(fault.clone());
            }
            if state.written >= sequence {
                return Ok(());
            }
            if state.writing {
                self.changed.wait(&mut state);
            } else {
                self.write_for_all(&mut state);
            }
        }
    }

    fn write_for_all(&self, state: &mut MutexGuard<'_, State>) {
        state.writing = true;
        let (sequence, slot) = (state.reached, state.slot);
        let result = MutexGuard::unlocked(state, || write(&self.file, slot, sequence));
        state.writing = false;
        match result {
            Ok(()) => {
                state.written = sequence;
                state.slot = 1 - slot;
            }
            Err(error) => state.fault = Some(error.to_string()),
        }
        self.changed.notify_all();
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

fn write(file: &File, slot: usize, sequence: u64) -> io::Result<()> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    bytes[8..].copy_from_slice(&(!sequence).to_le_bytes());
    file.write_all_at(&bytes, SLOT_OFFSETS[slot])?;
    file.sync_data()
}

/// `None` for a slot that was never written, or not whole.
fn read(file: &File, slot: usize) -> io::Result<Option<u64>> {
    let mut bytes = [0; 16];
    match file.read_exact_at(&mut bytes, SLOT_OFFSETS[slot]) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (sequence, complement) = (
        u64::from_le_bytes(half(&bytes, 0)),
        u64::from_le_bytes(half(&bytes, 8)),
    );
    Ok((sequence == !complement).then_some(sequence))
}

fn half(bytes: &[u8; 16], at: usize) -> [u8; 8] {
    bytes[at..at + 8].try_into().expect("eight of sixteen bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn less_than_was_synced_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let watermark = Watermark::open(&path, 0).unwrap();
        for sequence in [40, 41] {
            watermark.reached(sequence).unwrap();
            assert!(matches!(
                Watermark::open(&path, sequence - 1),
                Err(WatermarkError::Lost)
            ));
        }
        drop(Watermark::open(&path, 41).unwrap());
        drop(Watermark::open(&path, 50).unwrap());
        assert!(matches!(Watermark::open(&path, 49), Err(WatermarkError::Lost)));
    }

    #[test]
    fn a_torn_write_leaves_what_was_there_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let watermark = Watermark::open(&path, 0).unwrap();
        let mut before = fs::read(&path).unwrap();
        for sequence in 1..6 {
            watermark.reached(sequence).unwrap();
            let mut after = fs::read(&path).unwrap();
            after.resize(after.len().max(before.len()), 0);
            before.resize(after.len(), 0);
            let torn = (0..after.len()).find(|n| after[*n] != before[*n]).unwrap();
            before[torn] = after[torn] ^ 0x80;
            fs::write(&path, &before).unwrap();
            let lost = sequence.checked_sub(2).map(|older| Watermark::open(&path, older));
            assert!(lost.is_none_or(|opened| matches!(opened, Err(WatermarkError::Lost))));
            before = after;
            fs::write(&path, &before).unwrap();
        }
    }

    #[test]
    fn many_writers_wait_for_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let watermark = Watermark::open(&path, 0).unwrap();
        std::thread::scope(|scope| {
            for first in 1..5 {
                let (watermark, path) = (&watermark, &path);
                scope.spawn(move || {
                    for sequence in (first..400).step_by(4) {
                        watermark.reached(sequence).unwrap();
                        let file = File::open(path).unwrap();
                        let slots = [read(&file, 0).unwrap(), read(&file, 1).unwrap()];
                        assert!(slots.into_iter().flatten().any(|written| written >= sequence));
                    }
                });
            }
        });
        assert!(matches!(Watermark::open(&path, 398), Err(WatermarkError::Lost)));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_fault_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        drop(Watermark::open(&path, 3).unwrap());
        let watermark = Watermark {
            file: File::open(&path).unwrap(),
            ..Watermark::open(&path, 3).unwrap()
        };
        assert!(watermark.reached(3).is_ok(), "nothing to write");
        assert!(watermark.reached(4).is_err());
        assert!(watermark.reached(3).is_err());
    }
}
