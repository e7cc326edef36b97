//! A data directory is one process's at a time: that of whoever took it first, until it ends, however that comes about.

use rustix::fs::{major, minor};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A process that was killed keeps its lock until the system has taken its memory apart, which may be after the next one was started.
const PREDECESSOR_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a directory cannot be taken. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryLockError {
    /// The operating system refused.
    #[error(
        "cannot use {} as data directory: {cause}; check that it exists or can be made, and its permissions",
        path.display()
    )]
    Io {
        /// The path.
        path: PathBuf,
        /// What was refused.
        cause: io::Error,
    },
    /// Another process has it.
    #[error(
        "{} is in use by another sealdex process{}; stop it, or choose another --data-dir",
        path.display(),
        holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The path.
        path: PathBuf,
        /// Which process, where the system tells.
        holder: Option<u32>,
    },
}

/// Held until it is dropped.
pub(crate) struct DirectoryLock {
    _directory: File,
}

impl DirectoryLock {
    /// Takes the directory for this process. Blocks for a moment if another one has it. Where the file system knows no such lock, the
    /// storage engine's own still holds.
    pub(crate) fn take(path: &Path) -> Result<Self, DirectoryLockError> {
        let directory = File::open(path).map_err(|cause| DirectoryLockError::Io {
            path: path.to_owned(),
            cause,
        })?;
        let given_up = Instant::now() + PREDECESSOR_MAX;
        while let Err(TryLockError::WouldBlock) = directory.try_lock() {
            if Instant::now() >= given_up {
                return Err(DirectoryLockError::InUse {
                    path: path.to_owned(),
                    holder: holder(&directory),
                });
            }
            sleep(LOOK_EVERY);
        }
        Ok(Self {
            _directory: directory,
        })
    }
}

/// Who has the lock, as the kernel lists it: a number, kind, mode and access, the process, and which file. A process of another
/// container is not listed.
fn holder(directory: &File) -> Option<u32> {
    let about = directory.metadata().ok()?;
    let (major, minor) = (major(about.dev()), minor(about.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", about.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, process, of, ..] if of == file => process.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_belongs_to_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(dir.path()).unwrap();
        let refused = DirectoryLock::take(dir.path()).err().unwrap();
        let DirectoryLockError::InUse { holder, .. } = &refused else {
            panic!("{refused}")
        };
        assert!(holder.is_none_or(|pid| pid == std::process::id()), "{refused}");
        let said = refused.to_string();
        for words in [
            dir.path().to_str().unwrap(),
            "is in use",
            "stop it",
            "another --data-dir",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        drop(first);
        DirectoryLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_predecessor_that_is_just_ending_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let predecessor = DirectoryLock::take(dir.path()).unwrap();
        let ends = std::thread::spawn(move || {
            sleep(PREDECESSOR_MAX / 4);
            drop(predecessor);
        });
        DirectoryLock::take(dir.path()).unwrap();
        ends.join().unwrap();
    }
}
