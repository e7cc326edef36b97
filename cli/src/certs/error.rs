//! Everything that can end a `sealdex certs` command, in words that name the cure. No key is ever in them.

use sealdex_peer::AuthorityError;
use std::path::PathBuf;

/// Why no certificate was made or told of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertsError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use {}: {cause}; check that it exists, or can be made, and its permissions", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was refused.
        cause: std::io::Error,
    },
    /// There is an authority already.
    #[error("{} has an authority already, and what it signed would be worth nothing under a new one; choose another --dir", .0.display())]
    HasAuthority(PathBuf),
    /// There is no authority.
    #[error("{} has no authority (ca.crt and ca.key); make one with `sealdex certs init`, or name the right --dir", .0.display())]
    NoAuthority(PathBuf),
    /// The authority's time is over.
    #[error("the authority in {} has expired; make a new one with `sealdex certs init` in another --dir, and new certificates for all nodes", .0.display())]
    ExpiredAuthority(PathBuf),
    /// The node has a certificate already.
    #[error("{} exists; add --renew to replace it and its key, or choose another --name", .0.display())]
    HasNode(PathBuf),
    /// The authority has that name.
    #[error("'ca' is the authority's name; choose another --name")]
    TakenName,
    /// No certificate was made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}
