//! The identity behind a request.

use sealdex_core::ErrorCode;
use sealdex_crypto::UserToken;
use std::net::IpAddr;
use std::sync::Arc;

/// Whoever sent a request, as far as it has been established.
///
/// There is no public constructor: a value proves that an [`Authenticator`](super::Authenticator) has looked at the
/// request.
#[derive(Clone)]
pub struct Caller {
    role: Role,
    from: Option<IpAddr>,
}

#[derive(Clone)]
pub(super) enum Role {
    /// The server asks for no credentials: whoever reaches it may do everything that the keys they send allow.
    Open,
    /// Whoever has the server's one API key.
    ApiKey,
    /// Whoever has the root key.
    Root,
    /// A user of some indexes, by a token.
    User(Arc<UserToken>),
}

/// The caller may not do this.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Forbidden {
    /// A user of indexes, not their administrator.
    #[error("This operation requires an admin (root) API key")]
    NotAdmin,
    /// Users are managed by the root key alone.
    #[error("User management requires the root API key")]
    NotRoot,
}

impl Forbidden {
    /// What it means to the caller.
    pub fn code(self) -> ErrorCode {
        ErrorCode::Forbidden
    }
}

impl Caller {
    pub(super) fn new(role: Role, from: Option<IpAddr>) -> Self {
        Self { role, from }
    }

    /// Where the request comes from, if it came over a network.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.from
    }

    /// A name for the request log: says what kind of caller it is, never which credential was shown.
    pub fn kind(&self) -> &'static str {
        match self.role {
            Role::Open => "open",
            Role::ApiKey => "api-key",
            Role::Root => "root",
            Role::User(_) => "user",
        }
    }

    /// The token of a user of indexes; `None` for whoever administers the server.
    pub fn token(&self) -> Option<&UserToken> {
        match &self.role {
            Role::User(token) => Some(token),
            Role::Open | Role::ApiKey | Role::Root => None,
        }
    }

    /// Refuses users of indexes.
    pub fn require_admin(&self) -> Result<(), Forbidden> {
        match self.role {
            Role::Open | Role::ApiKey | Role::Root => Ok(()),
            Role::User(_) => Err(Forbidden::NotAdmin),
        }
    }

    /// Refuses everybody but the holder of a root key.
    pub fn require_root(&self) -> Result<(), Forbidden> {
        match self.role {
            Role::Root => Ok(()),
            Role::Open | Role::ApiKey | Role::User(_) => Err(Forbidden::NotRoot),
        }
    }
}
