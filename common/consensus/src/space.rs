//! The free space of the disk that a log is on: which writes are let in, what is kept back for those that must go on,
//! and how a write waits that met a full disk all the same. Knows one folder and numbers, nothing of what is written.

use parking_lot::Mutex;
use sealdex_telemetry::{Urgency, metrics};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// What is kept back unless the operator says otherwise: a fiftieth of the disk within these bounds. The least is what
/// a storage engine wants for a flush and a small compaction.
const RESERVE_SHARE: u64 = 50;
const RESERVE_BYTES_MIN: u64 = 128 * MIB;
const RESERVE_BYTES_MAX: u64 = 1024 * MIB;

/// What is written takes its place twice for a while: in the log, and in the table that it is moved into.
const COPIES: u64 = 2;

/// For so long the disk is as it was when it was last looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Between two attempts of a write that met a full disk.
const ATTEMPT: Duration = Duration::from_millis(200);

/// A file that takes up room, given up by a start on a full disk: storage engines write a few small files when they open.
const HEADROOM_FILE: &str = "headroom";
const HEADROOM_BYTES: u64 = 2 * MIB;

/// The space of one data folder. Shared by all who write there.
pub struct Space {
    folder: PathBuf,
    /// 0 lets every write in.
    reserve: u64,
    /// Bytes let in that are not written yet.
    pending: AtomicU64,
    /// Bytes that background work is going to write.
    owed: AtomicU64,
    seen: Mutex<Seen>,
    headroom: AtomicBool,
    closing: AtomicBool,
}

#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    free: Option<u64>,
    refusing: bool,
}

/// How far a write may go into the reserve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// It begins something: the reserve is not touched.
    Grow,
    /// It ends something whose beginning was let in: half of the reserve.
    Finish,
    /// It takes something away, or puts right what is half done: three quarters of the reserve.
    Relieve,
}

/// The disk has too little free space. Nothing was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the disk has {free_bytes} bytes free of {needed_bytes} needed")]
pub struct Full {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that have to be free for this write.
    pub needed_bytes: u64,
}

/// How much room there is on a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that have to be free for a write that begins something, besides its own.
    pub needed_bytes: u64,
}

/// A write that was let in, until it is written.
pub(crate) struct Admitted {
    space: Arc<Space>,
    bytes: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.space.pending.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Space {
    /// The space of `folder`, which is made if it does not exist. `reserve` bytes are kept back; `None` chooses by the size
    /// of the disk, 0 lets every write in.
    pub fn open(folder: &Path, reserve: Option<u64>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let by_size = |disk: u64| (disk / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX);
        let reserve =
            reserve.unwrap_or_else(|| sizes(folder).map_or(RESERVE_BYTES_MIN, |(_, disk)| by_size(disk)));
        let headroom =
            fs::metadata(folder.join(HEADROOM_FILE)).is_ok_and(|file| file.len() == HEADROOM_BYTES);
        Ok(Self {
            folder: folder.to_owned(),
            reserve,
            pending: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            seen: Mutex::default(),
            headroom: AtomicBool::new(headroom),
            closing: AtomicBool::new(false),
        })
    }

    /// Refuses a write of so many bytes if that leaves too little.
    pub fn check(&self, purpose: Purpose, bytes: u64) -> Result<(), Full> {
        let Some(free_bytes) = self.seen_free().filter(|_| self.reserve > 0) else {
            return Ok(());
        };
        let kept = match purpose {
            Purpose::Grow => self.kept_for_growth(),
            Purpose::Finish => self.reserve / 2,
            Purpose::Relieve => self.reserve / 4,
        };
        let needed_bytes = kept.saturating_add(bytes.saturating_mul(COPIES));
        let full = free_bytes < needed_bytes;
        if purpose == Purpose::Grow {
            self.tell(full, free_bytes, needed_bytes);
        }
        if full {
            metrics().disk.refused(urgency(purpose));
            Err(Full {
                free_bytes,
                needed_bytes,
            })
        } else {
            Ok(())
        }
    }

    /// The same, and counts the write as under way until what is returned is dropped.
    pub(crate) fn admit(self: &Arc<Self>, purpose: Purpose, bytes: u64) -> Result<Admitted, Full> {
        self.check(purpose, bytes)?;
        self.pending.fetch_add(bytes, Ordering::Relaxed);
        Ok(Admitted {
            space: Arc::clone(self),
            bytes,
        })
    }

    /// How much room there is. `None` if the file system does not say.
    pub fn room(&self) -> Option<Room> {
        Some(Room {
            free_bytes: self.seen_free()?,
            needed_bytes: self.kept_for_growth(),
        })
    }

    /// To be told now and then how much background work is going to write.
    pub fn owe(&self, bytes: u64) {
        self.owed.store(bytes, Ordering::Relaxed);
    }

    /// Whether background work may write so many bytes: that much is free, and a little more.
    pub fn has(&self, bytes: u64) -> bool {
        sizes(&self.folder).is_none_or(|(free, _)| free > bytes + bytes / 4 + HEADROOM_BYTES)
    }

    /// Gives the headroom file up, so that a storage engine can be opened on a full disk.
    pub fn give_headroom(&self) {
        self.headroom.store(false, Ordering::Relaxed);
        // If there is none, it was given up before.
        let _ = fs::remove_file(self.folder.join(HEADROOM_FILE));
    }

    /// Puts the headroom file back as soon as there is plenty of room. Blocks for a moment if it does.
    pub fn keep_headroom(&self) {
        let plenty =
            || sizes(&self.folder).is_some_and(|(free, _)| free > self.reserve.max(16 * HEADROOM_BYTES));
        if self.headroom.load(Ordering::Relaxed) || !plenty() {
            return;
        }
        match write_headroom(&self.folder.join(HEADROOM_FILE)) {
            Ok(()) => self.headroom.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "no room could be set aside for a start on a full disk"),
        }
    }

    /// Does a write, and does it again as long as it meets a full disk: whoever reads goes on meanwhile, and no write that
    /// was let in is lost. The write must have taken no effect then, or bear to be repeated.
    pub fn outlast<E: fmt::Display>(
        &self,
        is_full: impl Fn(&E) -> bool,
        mut write: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut waiting = false;
        loop {
            match write() {
                Err(error) if is_full(&error) && !self.closing.load(Ordering::Relaxed) => {
                    if !waiting {
                        tracing::error!(%error, "the disk is full: writes wait until there is room; free space on it");
                    }
                    waiting = true;
                    std::thread::sleep(ATTEMPT);
                }
                outcome => {
                    if waiting && outcome.is_ok() {
                        tracing::info!("there is room again: writes go on");
                    }
                    return outcome;
                }
            }
        }
    }

    /// Writes that wait for room are given up from now on: the process is about to end.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// 0 if every write is let in.
    fn kept_for_growth(&self) -> u64 {
        match self.reserve {
            0 => 0,
            reserve => {
                reserve + self.owed.load(Ordering::Relaxed) + COPIES * self.pending.load(Ordering::Relaxed)
            }
        }
    }

    fn seen_free(&self) -> Option<u64> {
        let mut seen = self.seen.lock();
        if seen.at.is_none_or(|at| at.elapsed() >= LOOK) {
            seen.free = sizes(&self.folder).map(|(free, _)| free);
            seen.at = Some(Instant::now());
        }
        seen.free
    }

    fn tell(&self, full: bool, free_bytes: u64, needed_bytes: u64) {
        let before = std::mem::replace(&mut self.seen.lock().refusing, full);
        let folder = self.folder.display();
        if full && !before {
            tracing::warn!(%folder, free_bytes, needed_bytes, "the disk is almost full: writes are refused");
        } else if before && !full {
            tracing::info!(%folder, free_bytes, needed_bytes, "the disk has room again: writes go on");
        }
    }
}

fn urgency(purpose: Purpose) -> Urgency {
    match purpose {
        Purpose::Grow => Urgency::Grow,
        Purpose::Finish => Urgency::Finish,
        Purpose::Relieve => Urgency::Relieve,
    }
}

/// Bytes that are free for us, and bytes of the whole disk. `None` if the file system does not say.
fn sizes(folder: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some((
        disk.f_bavail.saturating_mul(disk.f_frsize),
        disk.f_blocks.saturating_mul(disk.f_frsize),
    ))
}

/// Written, not left as a hole, so that the room is really taken.
fn write_headroom(path: &Path) -> io::Result<()> {
    let chunk = [0xA5; 64 * 1024];
    let mut file = fs::File::create(path)?;
    for _ in 0..HEADROOM_BYTES / chunk.len() as u64 {
        file.write_all(&chunk)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(reserve: u64) -> (tempfile::TempDir, Arc<Space>) {
        let home = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::open(home.path(), Some(reserve)).unwrap());
        (home, space)
    }

    /// With so much free, whatever the disk really has.
    fn seen(space: &Space, free: u64) {
        *space.seen.lock() = Seen {
            at: Some(Instant::now() + Duration::from_secs(3600)),
            free: Some(free),
            refusing: false,
        };
    }

    #[test]
    fn what_takes_away_may_go_on_when_what_adds_may_not() {
        let (_home, space) = space(100 * MIB);
        let let_in = |free| {
            seen(&space, free);
            [Purpose::Grow, Purpose::Finish, Purpose::Relieve]
                .map(|purpose| space.check(purpose, MIB).is_ok())
        };
        assert_eq!(let_in(102 * MIB), [true, true, true]);
        assert_eq!(let_in(102 * MIB - 1), [false, true, true]);
        assert_eq!(let_in(52 * MIB - 1), [false, false, true]);
        assert_eq!(let_in(27 * MIB - 1), [false, false, false]);
        let full = space.check(Purpose::Grow, MIB).unwrap_err();
        assert_eq!((full.free_bytes, full.needed_bytes), (27 * MIB - 1, 102 * MIB));
    }

    #[test]
    fn what_is_under_way_counts_until_it_is_written() {
        let (_home, space) = space(100 * MIB);
        seen(&space, 150 * MIB);
        space.owe(10 * MIB);
        let first = space.admit(Purpose::Grow, 15 * MIB).unwrap();
        assert!(space.admit(Purpose::Grow, 6 * MIB).is_err());
        drop(first);
        assert!(space.admit(Purpose::Grow, 6 * MIB).is_ok());
        space.owe(50 * MIB);
        assert!(space.admit(Purpose::Grow, 6 * MIB).is_err());
    }

    #[test]
    fn without_a_reserve_every_write_is_let_in() {
        let (_home, space) = space(0);
        seen(&space, 0);
        assert!(space.check(Purpose::Grow, u64::MAX).is_ok());
    }

    #[test]
    fn a_write_is_repeated_while_the_disk_is_full_and_not_longer() {
        let (_home, space) = space(0);
        let full = |error: &String| error == "full";
        let mut answers = ["full", "full", ""].into_iter();
        let mut write = || match answers.next().unwrap() {
            "" => Ok(()),
            error => Err(error.to_owned()),
        };
        assert_eq!(space.outlast(full, &mut write), Ok(()));
        assert_eq!(
            space.outlast(full, || Err("broken".to_owned())),
            Err("broken".to_owned())
        );
        space.close();
        assert_eq!(
            space.outlast(full, || Err("full".to_owned())),
            Err("full".to_owned())
        );
    }

    #[test]
    fn headroom_is_given_up_and_put_back() {
        let (home, space) = space(1);
        let file = home.path().join(HEADROOM_FILE);
        space.keep_headroom();
        assert_eq!(fs::metadata(&file).unwrap().len(), HEADROOM_BYTES);
        space.give_headroom();
        assert!(!file.exists());
        space.keep_headroom();
        assert!(file.exists());
        assert!(Space::open(home.path(), None).unwrap().headroom.into_inner());
    }
}
