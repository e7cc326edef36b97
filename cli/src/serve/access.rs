//! Which credential the server asks for. Read from the environment and the configuration file alone: everyone on a machine
//! can read its command lines.

use super::config::Config;
use sealdex_coordinator::adapters::registry::Variables;
use sealdex_coordinator::auth::Authenticator;
use zeroize::Zeroizing;

const API_KEY: &str = "SEALDEX_API_KEY";

/// The credential that callers must show.
pub(super) enum Access {
    /// None.
    Open,
    /// One key for everything.
    ApiKey(Zeroizing<String>),
    /// A key that administers the server and makes keys for users of single indexes.
    Root(Zeroizing<String>),
}

impl Access {
    pub(super) fn configured(config: &Config, variables: Variables<'_>) -> Self {
        let api_key = || {
            variables(API_KEY)
                .filter(|key| !key.is_empty())
                .map(Zeroizing::new)
        };
        match config.root_key(variables).filter(|key| !key.is_empty()) {
            Some(root_key) => Access::Root(root_key),
            None => api_key().map_or(Access::Open, Access::ApiKey),
        }
    }

    /// Whether whoever reaches the server may use it.
    pub(super) fn asks_nobody(&self) -> bool {
        matches!(self, Access::Open)
    }

    /// Where whoever started the server is taken to have the key.
    pub(super) fn key_variable(&self) -> Option<&'static str> {
        match self {
            Access::Open => None,
            Access::ApiKey(_) => Some(API_KEY),
            Access::Root(_) => Some("SEALDEX_ROOT_KEY"),
        }
    }

    pub(super) fn authenticator(&self, failed_attempts_max: u32) -> Authenticator {
        match self {
            Access::Open => Authenticator::open(),
            Access::ApiKey(key) => Authenticator::api_key(key, failed_attempts_max),
            Access::Root(key) => Authenticator::rbac(key, failed_attempts_max),
        }
    }
}
