//! A small file beside a database that remembers how far each group's log was synced.
//!
//! RocksDB stops reading its write-ahead log at the first damaged record, because it cannot tell the torn end of an
//! unfinished write from damage to one that was acknowledged. The first is normal after a crash; the second would be
//! a silent loss. So a write is acknowledged only when it is synced *and* this file says so, and a database that comes
//! back with less than the file says is refused.
//!
//! What is compared is each group's applied log index, which every write carries with it. RocksDB's own sequence
//! number would not do: a flush records the number of the moment, and so vouches for writes that are in the log alone.
//!
//! ```text
//! two slots, each a multiple of 4096 bytes, written in turns; a slot has for each group
//!     applied log index u64 LE | its complement, exclusive-or FORMAT, u64 LE
//! ```
//!
//! A pair that is torn or damaged counts as not written. Torn, it belonged to a write that was not acknowledged.

use crate::LogIndex;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The slots are in different sectors, so that a torn write spoils one of them at most.
const SLOT_ALIGNMENT: usize = 4096;

/// Pairs of another layout count as not written.
const FORMAT: u64 = 2;

const PAIR_BYTES: usize = 16;

/// The file. One caller at a time writes it, for all that wait.
pub struct Watermark {
    file: File,
    slot_bytes: usize,
    /// What the file said when it was opened, by group.
    promised: Vec<u64>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What callers say is synced, by group.
    reached: Vec<u64>,
    /// What the file says, by group.
    written: Vec<u64>,
    /// The slot that is older, and next.
    slot: u64,
    writing: bool,
    fault: Option<String>,
}

impl Watermark {
    /// Opens or creates the file of a database with that many groups.
    pub fn open(path: &Path, groups: usize) -> Result<Self, WatermarkError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // The file's name has to survive a power cut too.
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        let slot_bytes = (groups * PAIR_BYTES).next_multiple_of(SLOT_ALIGNMENT);
        take_room(&file, 2 * slot_bytes as u64);
        let slots = [
            read_slot(&file, 0, slot_bytes, groups)?,
            read_slot(&file, slot_bytes as u64, slot_bytes, groups)?,
        ];
        let promised: Vec<u64> = slots[0].iter().zip(&slots[1]).map(|(a, b)| *a.max(b)).collect();
        let state = State {
            reached: promised.clone(),
            written: promised.clone(),
            slot: u64::from(slots[0].iter().sum::<u64>() > slots[1].iter().sum::<u64>()),
            writing: false,
            fault: None,
        };
        Ok(Self {
            file,
            slot_bytes,
            promised,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// To be called once per group when it opens, with what the database came back with. `Err(Lost)` if more than that
    /// was acknowledged.
    pub fn recovered(&self, group: usize, applied: LogIndex) -> Result<(), WatermarkError> {
        if applied.0 < self.promised[group] {
            return Err(WatermarkError::Lost);
        }
        // Readers will see it, acknowledged or not.
        Ok(self.reached(group, applied).map_err(io::Error::other)?)
    }

    /// To be called when everything of `group` up to `applied` is synced; returns when the file says so, durably. An
    /// error is as final as a failed sync of the database itself.
    pub fn reached(&self, group: usize, applied: LogIndex) -> Result<(), String> {
        let mut state = self.state.lock();
        state.reached[group] = state.reached[group].max(applied.0);
        loop {
            if let Some(fault) = &state.fault {
                return Err(fault.clone());
            }
            if state.written[group] >= applied.0 {
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
        let (reached, slot) = (state.reached.clone(), state.slot);
        let result = MutexGuard::unlocked(state, || self.write_slot(slot, &reached));
        state.writing = false;
        match result {
            Ok(()) => {
                state.written = reached;
                state.slot = 1 - slot;
            }
            Err(error) => state.fault = Some(error.to_string()),
        }
        self.changed.notify_all();
    }

    fn write_slot(&self, slot: u64, values: &[u64]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(values.len() * PAIR_BYTES);
        for value in values {
            bytes.extend(value.to_le_bytes());
            bytes.extend((!value ^ FORMAT).to_le_bytes());
        }
        self.file.write_all_at(&bytes, slot * self.slot_bytes as u64)?;
        self.file.sync_data()
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

/// Fills the file up with zeros, which say nothing, so that no later write of it can meet a full disk. If the disk is
/// full already, that write will tell.
fn take_room(file: &File, bytes: u64) {
    let written = file.metadata().map_or(bytes, |file| file.len());
    if written < bytes {
        let taken = file.write_all_at(&vec![0; (bytes - written) as usize], written);
        if let Err(error) = taken.and_then(|()| file.sync_all()) {
            tracing::warn!(%error, "no room could be set aside for the watermark");
        }
    }
}

/// Zero for a group of which the slot does not say anything whole.
fn read_slot(file: &File, offset: u64, slot_bytes: usize, groups: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; slot_bytes];
    let mut filled = 0;
    while filled < slot_bytes {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    let (pairs, _) = bytes.as_chunks::<PAIR_BYTES>();
    Ok(pairs.iter().take(groups).map(read_pair).collect())
}

fn read_pair(pair: &[u8; PAIR_BYTES]) -> u64 {
    let [value, check] =
        [0, 8].map(|at| u64::from_le_bytes(pair[at..at + 8].try_into().expect("eight of sixteen bytes")));
    if check == !value ^ FORMAT { value } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn open(path: &Path, applied: &[u64]) -> Result<Watermark, WatermarkError> {
        let watermark = Watermark::open(path, applied.len())?;
        for (group, applied) in applied.iter().enumerate() {
            watermark.recovered(group, LogIndex(*applied))?;
        }
        Ok(watermark)
    }

    fn is_lost(path: &Path, applied: &[u64]) -> bool {
        matches!(open(path, applied), Err(WatermarkError::Lost))
    }

    #[test]
    fn less_than_was_synced_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let watermark = open(&path, &[0, 0]).unwrap();
        for applied in [40, 41] {
            watermark.reached(1, LogIndex(applied)).unwrap();
            assert!(is_lost(&path, &[0, applied - 1]));
            assert!(open(&path, &[0, applied]).is_ok());
        }
        watermark.reached(0, LogIndex(7)).unwrap();
        assert!(is_lost(&path, &[6, 41]));
        drop(open(&path, &[7, 41]).unwrap());
        let watermark = open(&path, &[9, 50]).unwrap();
        watermark.reached(0, LogIndex(10)).unwrap();
        assert!(is_lost(&path, &[9, 50]), "after a restart too");
        assert!(
            is_lost(&path, &[10, 40]),
            "and nothing of the other group is forgotten"
        );
    }

    #[test]
    fn a_torn_write_leaves_what_was_there_before() {
        // More groups than fit a sector, so that a write tears between them too.
        const GROUPS: usize = 40;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let watermark = open(&path, &[0; GROUPS]).unwrap();
        let mut before = fs::read(&path).unwrap();
        for applied in 1..6 {
            for group in 0..GROUPS {
                watermark.state.lock().reached[group] = applied;
            }
            watermark.reached(0, LogIndex(applied)).unwrap();
            let mut after = fs::read(&path).unwrap();
            after.resize(after.len().max(before.len()), 0);
            before.resize(after.len(), 0);
            let changed: Vec<usize> = (0..after.len()).filter(|n| after[*n] != before[*n]).collect();
            for torn in [1, changed.len() / 2, changed.len() - 1] {
                let mut torn_file = before.clone();
                for at in &changed[..torn] {
                    torn_file[*at] = after[*at];
                }
                fs::write(&path, &torn_file).unwrap();
                assert!(open(&path, &[applied; GROUPS]).is_ok());
                assert!(applied < 2 || is_lost(&path, &[applied - 2; GROUPS]));
            }
            fs::write(&path, &after).unwrap();
            assert!(is_lost(&path, &[applied - 1; GROUPS]));
            before = after;
        }
    }

    #[test]
    fn many_writers_wait_for_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let watermark = open(&path, &[0; 4]).unwrap();
        std::thread::scope(|scope| {
            for group in 0..4 {
                let (watermark, path) = (&watermark, &path);
                scope.spawn(move || {
                    for applied in 1..100 {
                        watermark.reached(group, LogIndex(applied)).unwrap();
                        let said = Watermark::open(path, 4).unwrap().promised;
                        assert!(said[group] >= applied);
                    }
                });
            }
        });
        for group in 0..4 {
            let mut applied = [99; 4];
            assert!(open(&path, &applied).is_ok());
            applied[group] = 98;
            assert!(is_lost(&path, &applied));
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_fault_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        open(&path, &[0]).unwrap().reached(0, LogIndex(3)).unwrap();
        let watermark = Watermark {
            file: File::open(&path).unwrap(),
            ..open(&path, &[3]).unwrap()
        };
        assert!(watermark.reached(0, LogIndex(4)).is_err());
        assert!(watermark.reached(0, LogIndex(3)).is_err());
    }
}
