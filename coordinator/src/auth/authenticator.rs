//! Decides who a caller is from the credential in the `X-API-Key` header.

use super::attempts::Attempts;
use super::caller::{Caller, Role};
use sealdex_core::{ErrorCode, UserId};
use sealdex_crypto::{Credential, TokenAuthority, UserToken};
use std::net::IpAddr;
use std::sync::Arc;

/// What every token of a user begins with.
const TOKEN_PREFIX: &str = "cdbk_";

/// Whom the server lets in. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    policy: Arc<Policy>,
}

enum Policy {
    Open,
    ApiKey {
        key: Credential,
        attempts: Attempts<IpAddr>,
    },
    Rbac {
        root: Credential,
        tokens: TokenAuthority,
        attempts: Attempts<IpAddr>,
    },
}

/// Why a credential was refused. Texts name no credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthError {
    /// None was sent.
    #[error("API Key is required: send it in the header X-API-Key.")]
    Missing,
    /// It is not the server's.
    #[error("Invalid API Key")]
    Wrong,
    /// It looks like a user's token, and this server did not make it.
    #[error("Invalid user API key")]
    WrongToken,
    /// Too many were wrong.
    #[error("Too many wrong credentials from this address; try again in {retry_after_seconds} seconds.")]
    TooManyAttempts {
        /// When to try again.
        retry_after_seconds: u32,
    },
}

impl AuthError {
    /// What it means to the caller.
    pub fn code(self) -> ErrorCode {
        match self {
            AuthError::Missing | AuthError::Wrong | AuthError::WrongToken => ErrorCode::Unauthenticated,
            AuthError::TooManyAttempts { retry_after_seconds } => ErrorCode::TooOften { retry_after_seconds },
        }
    }
}

impl Authenticator {
    /// A server without credentials of its own, which is only ever bound to loopback unless told otherwise.
    pub fn open() -> Self {
        Self::with(Policy::Open)
    }

    /// A server with one key for everything. `failures_max` wrong keys in a minute are looked at per address; 0 looks
    /// at all.
    pub fn api_key(key: &str, failures_max: u32) -> Self {
        Self::with(Policy::ApiKey {
            key: Credential::new(key),
            attempts: Attempts::new(failures_max),
        })
    }

    /// A server whose root key administers it and makes tokens for users.
    pub fn rbac(root_key: &str, failures_max: u32) -> Self {
        Self::with(Policy::Rbac {
            root: Credential::new(root_key),
            tokens: TokenAuthority::new(root_key),
            attempts: Attempts::new(failures_max),
        })
    }

    fn with(policy: Policy) -> Self {
        Self {
            policy: Arc::new(policy),
        }
    }

    /// Establishes the caller. An open server ignores what was sent.
    pub fn authenticate(&self, sent: Option<&str>, from: Option<IpAddr>) -> Result<Caller, AuthError> {
        let attempts = match &*self.policy {
            Policy::Open => return Ok(Caller::new(Role::Open, from)),
            Policy::ApiKey { attempts, .. } | Policy::Rbac { attempts, .. } => attempts,
        };
        let sent = sent.filter(|sent| !sent.is_empty()).ok_or(AuthError::Missing)?;
        let role = attempts
            .judge(
                from,
                |fingerprints| fingerprints.of_text(sent),
                || self.judge(sent),
            )
            .map_err(|retry_after_seconds| AuthError::TooManyAttempts { retry_after_seconds })??;
        Ok(Caller::new(role, from))
    }

    /// Whose credential it is.
    fn judge(&self, sent: &str) -> Result<Role, AuthError> {
        match &*self.policy {
            Policy::Open => Ok(Role::Open),
            Policy::ApiKey { key, .. } if key.matches(sent) => Ok(Role::ApiKey),
            Policy::Rbac { root, .. } if root.matches(sent) => Ok(Role::Root),
            Policy::Rbac { tokens, .. } if sent.starts_with(TOKEN_PREFIX) => match tokens.verify(sent) {
                Ok(token) => Ok(Role::User(Arc::new(token))),
                Err(_) => Err(AuthError::WrongToken),
            },
            Policy::ApiKey { .. } | Policy::Rbac { .. } => Err(AuthError::Wrong),
        }
    }

    /// A token for a new user; `None` on a server without a root key.
    pub fn mint(&self) -> Option<(UserId, UserToken)> {
        match &*self.policy {
            Policy::Rbac { tokens, .. } => Some(tokens.mint()),
            Policy::Open | Policy::ApiKey { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn kind(authenticator: &Authenticator, sent: Option<&str>) -> Result<&'static str, AuthError> {
        authenticator
            .authenticate(sent, ADDRESS)
            .map(|caller| caller.kind())
    }

    #[test]
    fn an_open_server_asks_for_nothing() {
        let open = Authenticator::open();
        for sent in [None, Some(""), Some("anything"), Some("cdbk_1_x")] {
            assert_eq!(kind(&open, sent), Ok("open"));
        }
        assert!(open.mint().is_none());
    }

    #[test]
    fn one_key_opens_everything_but_makes_no_users() {
        let server = Authenticator::api_key("right", 0);
        assert_eq!(kind(&server, Some("right")), Ok("api-key"));
        for (sent, refused) in [
            (None, AuthError::Missing),
            (Some(""), AuthError::Missing),
            (Some("wrong"), AuthError::Wrong),
            (Some("cdbk_1_x"), AuthError::Wrong),
        ] {
            assert_eq!(kind(&server, sent), Err(refused));
        }
        assert!(server.mint().is_none());
    }

    #[test]
    fn a_root_key_makes_tokens_that_no_other_root_key_made() {
        let server = Authenticator::rbac("root", 0);
        let (id, token) = server.mint().unwrap();
        let text = token.reveal();
        let caller = server.authenticate(Some(&text), ADDRESS).unwrap();
        assert_eq!(caller.token().unwrap().user_id(), id);
        assert!(caller.require_admin().is_err() && caller.require_root().is_err());
        assert_eq!(kind(&server, Some("root")), Ok("root"));
        let other = Authenticator::rbac("other", 0);
        assert_eq!(kind(&other, Some(&text)), Err(AuthError::WrongToken));
        assert_eq!(kind(&server, Some("cdbk_")), Err(AuthError::WrongToken));
        assert_eq!(kind(&server, Some("nobody")), Err(AuthError::Wrong));
    }

    #[test]
    fn after_too_many_wrong_keys_an_address_has_to_wait() {
        let server = Authenticator::api_key("right", 5);
        for _ in 0..5 {
            assert_eq!(kind(&server, Some("wrong")), Err(AuthError::Wrong));
        }
        let refused = kind(&server, Some("wrong"));
        assert!(matches!(
            refused,
            Err(AuthError::TooManyAttempts {
                retry_after_seconds: 1..=60
            })
        ));
        assert_eq!(kind(&server, None), Err(AuthError::Missing), "nothing was tried");
    }

    #[test]
    fn a_users_token_keeps_working_beside_guesses_and_opens_no_way_for_them() {
        let server = Authenticator::rbac("root", 1);
        let (_, token) = server.mint().unwrap();
        let text = token.reveal();
        assert_eq!(kind(&server, Some(&text)), Ok("user"));
        assert_eq!(kind(&server, Some("a guess")), Err(AuthError::Wrong));
        let waits = |answer| matches!(answer, Err(AuthError::TooManyAttempts { .. }));
        assert!(waits(kind(&server, Some("another"))));
        assert!(waits(kind(&server, Some("root"))), "a right guess");
        assert_eq!(kind(&server, Some(&text)), Ok("user"));
    }
}
