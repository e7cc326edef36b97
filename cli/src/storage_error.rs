//! Why what is on a node's disk cannot be opened, with the cure.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// What the operating system says of a disk that is full, through whatever layers.
const FULL: [&str; 2] = ["No space left on device", "the disk is full"];

/// What RocksDB says of a database that another process has open; without the second part, it is one that cannot be locked.
const IN_USE: [&str; 2] = ["While lock file", "temporarily unavailable"];

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// Its disk is full.
    #[error("cannot open {}: its disk is full; free some MiB on it and start again, nothing is lost ({reason})", folder.display())]
    DiskFull {
        /// The data directory.
        folder: PathBuf,
        /// What storage said.
        reason: String,
    },
    /// Another process has it. That is told earlier where the file system can lock a directory.
    #[error("{} is in use by another sealdex process; stop it, or choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// Anything else; the reason names the cure.
    #[error("cannot open the data directory {}: {reason}", folder.display())]
    Other {
        /// The data directory.
        folder: PathBuf,
        /// What storage said.
        reason: String,
    },
}

impl StorageError {
    /// What `reason`, said by storage, means to who starts a node on `folder`.
    pub(crate) fn of(folder: &Path, reason: impl Display) -> Self {
        let (folder, reason) = (folder.to_owned(), reason.to_string());
        if FULL.iter().any(|full| reason.contains(full)) {
            Self::DiskFull { folder, reason }
        } else if IN_USE.iter().all(|part| reason.contains(part)) {
            Self::InUse(folder)
        } else {
            Self::Other { folder, reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_storage_says_is_said_with_the_cure() {
        for (reason, cure) in [
            (
                "IO error: While lock file: /data/log/db/LOCK: Resource temporarily unavailable",
                "stop it, or choose another --data-dir",
            ),
            (
                "IO error: While lock file: /data/log/db/LOCK: No locks available",
                "No locks available",
            ),
            ("Write: No space left on device", "free some MiB"),
            ("a file is damaged; restore it", "a file is damaged; restore it"),
        ] {
            let said = StorageError::of(Path::new("/data"), reason).to_string();
            assert!(said.contains("/data") && said.contains(cure), "{said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }
}
