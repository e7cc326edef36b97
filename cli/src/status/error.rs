//! Everything that can end a command about the deployment, in words that name the cure.

use crate::client::ClientError;
use crate::connect::ConnectError;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// The server's address or credential cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not let the caller.
    #[error("{0}; give the root key with --root-key-file or in SEALDEX_ROOT_KEY")]
    Credential(ClientError),
    /// The server cannot be reached, refused, or answered nonsense.
    #[error(transparent)]
    Client(ClientError),
    /// The system gives no threads.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

impl From<ClientError> for StatusError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Status {
                status: 401 | 403, ..
            } => Self::Credential(error),
            error => Self::Client(error),
        }
    }
}
