//! What can go wrong with keys and sealed bytes. Deliberately without detail: an error must not tell an attacker which
//! check failed.

use sealdex_core::ErrorCode;

/// Sealed bytes do not open, or a key does not match its commitment: wrong key, wrong place or damaged bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("does not open: wrong key, or damaged bytes")]
pub struct OpenError;

impl OpenError {
    /// What it means where the key is known to be right. Where the key itself was in question, after
    /// [`Commitment::verify`](crate::Commitment::verify), the caller answers [`ErrorCode::Unauthenticated`].
    pub fn code(&self) -> ErrorCode {
        ErrorCode::Corrupt
    }
}

/// What was given as a key is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// A character that is no hexadecimal digit, or a digit without its partner.
    #[error("an index key is written as 64 hexadecimal digits")]
    NotHex,
    /// Hexadecimal, but not 32 bytes.
    #[error("an index key is 32 bytes, not {bytes}")]
    WrongLength {
        /// How many bytes were given.
        bytes: usize,
    },
    /// The secret that index keys are to be wrapped under is not 32 bytes.
    #[error("a wrapping key is 32 bytes, not {bytes}")]
    WrapLength {
        /// How many bytes were given.
        bytes: usize,
    },
}

impl KeyError {
    /// What it means to a client.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::Invalid
    }
}

/// A text that is no token of this deployment: malformed, or made under another root key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a token of this deployment")]
pub struct BadToken;

impl BadToken {
    /// What it means to a client.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::Unauthenticated
    }
}

/// A signature that was not made by that key over that message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature does not fit")]
pub struct BadSignature;

impl BadSignature {
    /// What it means for a batch that was sent. For what is stored, the caller answers [`ErrorCode::Corrupt`].
    pub fn code(&self) -> ErrorCode {
        ErrorCode::Forbidden
    }
}
