//! Everything that can end a run, in words that name the cure. No key, no vector and no item's id is ever in them.

use super::format::FormatError;
use crate::client::ClientError;
use std::path::PathBuf;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// An option that cannot be followed.
    #[error("{name} {problem}")]
    Argument {
        /// The option.
        name: &'static str,
        /// What it must be.
        problem: String,
    },
    /// A data file that cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// Two data files that do not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// The server cannot be reached, refused, or answered nonsense.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Training failed or never ended.
    #[error("{0}")]
    Training(String),
    /// An answer that the contract does not allow.
    #[error("{0}")]
    Answer(String),
    /// A fact of this machine that was asked for cannot be read.
    #[error("{name} cannot be measured: {source}; is it on this machine, and readable?")]
    Machine {
        /// The option that asked for it.
        name: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A report that cannot be read.
    #[error("{}: {problem}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be written.
    #[error("nothing can be written to {}: {source}; choose another {name}", path.display())]
    Output {
        /// The option that asked for it.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    /// The system gives no random numbers for a key.
    #[error("no random numbers for an index key: {0}; give one with --index-key")]
    Random(String),
    /// Stopped by a signal.
    #[error("interrupted")]
    Interrupted,
    /// Stopped by another signal before the index was deleted.
    #[error("interrupted; the index {name} may still be there: delete it")]
    NotDeleted {
        /// The index that this run created.
        name: String,
    },
}
