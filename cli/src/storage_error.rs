//! Why what is on a node's disk cannot be opened, with the cure.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// What the operating system says of a disk that is full, through whatever layers.
const FULL: [&str; 2] = ["No space left on device", "the disk is full"];

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
        match FULL.iter().any(|full| reason.contains(full)) {
            true => Self::DiskFull { folder, reason },
            false => Self::Other { folder, reason },
        }
    }
}
