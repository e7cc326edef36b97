//! Everything that can end a `sealdex keys` command, in words that name the cure. No key is ever in them.

use crate::client::ClientError;
use crate::connect::{ConnectError, SecretError};
use std::path::PathBuf;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The server's address or credential cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server cannot be reached, refused, or answered nonsense.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The owner of the index holds its key, and it was not given.
    #[error(
        "the key of index '{0}' is held by its owner; give it with --index-key-file or in SEALDEX_INDEX_KEY"
    )]
    IndexKey(String),
    /// A new key has nowhere to go.
    #[error(
        "cannot keep a new key in {path}: {cause}; name a file that does not exist yet, in a folder that does"
    )]
    NewKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// The server may have taken the new key or not.
    #[error(
        "{source}; the new key stays in {}, because the server may have taken it: `sealdex keys list` tells, and so does a request",
        path.display()
    )]
    Doubt {
        /// Where the new key is.
        path: PathBuf,
        /// What was said instead.
        source: ClientError,
    },
    /// A rotation stands still until the index's key is there.
    #[error(
        "the rotation of index '{index}' waits for the index's key{}; it goes on when somebody uses the index with its key, or when its key provider answers again",
        why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    WaitsForKey {
        /// The index.
        index: String,
        /// What the server says of it.
        why: Option<String>,
    },
    /// The system gives no random numbers.
    #[error("no random numbers for a new key: {0}")]
    Random(String),
    /// The system gives no threads.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}
