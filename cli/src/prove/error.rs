//! Everything that can end a proof, in words that name the cure. No secret is ever in them.

use crate::client::ClientError;
use crate::connect::ConnectError;
use std::path::PathBuf;

/// Why nothing was proved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProveError {
    /// The proof failed: this is what it is for.
    #[error("secrets can be read in {places} places; take the server off the network and report this")]
    Readable {
        /// How many.
        places: usize,
    },
    /// The scanner missed what was planted, so that its silence would prove nothing.
    #[error("the scanner does not find {0}, so that nothing can be proved; report this")]
    Blind(String),
    /// The data is not where it was said to be.
    #[error("the server at --url does not keep its data in {}: the scratch index is not there; correct --data-dir", shown(.0))]
    Elsewhere(Vec<PathBuf>),
    /// A file to look into is not there.
    #[error("{} is not a file that can be read; correct --log", .0.display())]
    NoSuchFile(PathBuf),
    /// The server's address or credential cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server cannot be reached, refused, or answered nonsense.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer that does not hold what was written before.
    #[error("the server answered {0} wrongly, so that what it wrote proves nothing; see its log")]
    Answer(&'static str),
    /// The server that was started for the proof did not start or did not stop.
    #[error("the server of the proof {what}; it said:\n{said}")]
    Server {
        /// What it did.
        what: String,
        /// The end of its log.
        said: String,
    },
    /// A file or folder cannot be used, or the system gives no random numbers or threads.
    #[error("{0}; check that it is there, its permissions, and the space left")]
    Io(#[from] std::io::Error),
}

fn shown(paths: &[PathBuf]) -> String {
    let shown = paths.iter().map(|path| path.display().to_string());
    shown.collect::<Vec<_>>().join(", ")
}
