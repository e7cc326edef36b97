//! What a use case answers when it cannot do what was asked: one message for the caller, one for the operator.

use crate::auth::{AuthError, Forbidden};
use crate::ports::KmsError;
use sealdex_core::{ErrorCode, UnitError};
use sealdex_crypto::KeyError;
use sealdex_index::dataplane::ShardError;

/// A failed use case. `detail` goes to the caller and tells the cure; `context` goes to the log. Neither holds a key,
/// an id, a vector or metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceError {
    code: ErrorCode,
    detail: String,
    context: Option<String>,
}

impl ServiceError {
    /// An error whose whole story may be told to the caller.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            context: None,
        }
    }

    /// Bad input.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, detail)
    }

    /// Our fault: the caller learns that, the log learns why.
    pub fn internal(context: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::Internal,
            detail: "The server failed to carry out the request; its log has the details.".into(),
            context: Some(context.into()),
        }
    }

    /// What it means.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The note for the operator.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }
}

impl From<AuthError> for ServiceError {
    fn from(error: AuthError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Forbidden> for ServiceError {
    fn from(error: Forbidden) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<UnitError> for ServiceError {
    fn from(error: UnitError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<KeyError> for ServiceError {
    fn from(error: KeyError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<KmsError> for ServiceError {
    fn from(error: KmsError) -> Self {
        Self {
            code: error.code(),
            detail: error.to_string(),
            context: error.context().map(str::to_owned),
        }
    }
}

impl ServiceError {
    /// The disk is too full for what the request would write.
    pub(super) fn disk_full(free_bytes: u64, needed_bytes: u64) -> Self {
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        Self::new(
            ErrorCode::DiskFull,
            format!(
                "The disk that holds the data directory is almost full, so nothing was written: {} MiB are free, {} MiB \
                 have to be. Free space on it, delete items or indexes, or move the data directory to a larger disk; \
                 writes go on then by themselves. Queries and deletions go on meanwhile.",
                free_bytes / (1024 * 1024),
                mib(needed_bytes)
            ),
        )
    }
}

impl From<ShardError> for ServiceError {
    fn from(error: ShardError) -> Self {
        if let ShardError::DiskFull {
            free_bytes,
            needed_bytes,
        } = error
        {
            return Self::disk_full(free_bytes, needed_bytes);
        }
        let code = error.code();
        let detail = match code {
            _ if error == ShardError::StaleGeneration => {
                "Another training of the index finished while the request was under way; send the request again."
            }
            ErrorCode::NotFound => "The index was deleted while the request was under way.",
            _ if matches!(error, ShardError::NotLeader { .. }) => {
                "Too few nodes that keep what the request needs can be reached at present; send the request again."
            }
            ErrorCode::Busy => "The server has too much under way; send the request again.",
            ErrorCode::Corrupt => {
                "A stored record is damaged, so the request was refused rather than answered wrongly."
            }
            _ => return Self::internal(error.to_string()),
        };
        Self {
            code,
            detail: detail.into(),
            context: Some(error.to_string()),
        }
    }
}
