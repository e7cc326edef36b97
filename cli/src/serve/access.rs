//! Which credential the server asks for. Read from the environment and the configuration file alone: everyone on a machine
//! can read its command lines.

use super::config::{Config, Credentials, LoadError, Named};
use sealdex_coordinator::adapters::registry::Variables;
use sealdex_coordinator::auth::Authenticator;

/// The credential that callers must show.
pub(crate) enum Access {
    /// None.
    Open,
    /// One key for everything.
    ApiKey(Named),
    /// A key that administers the server and makes keys for users of single indexes.
    Root(Named),
}

/// Keys that are set in a way that would leave one of them without effect. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// With a root key, users have tokens; one key for everything would open nothing.
    #[error(
        "both {root} and {api} are set, and beside a root key an API key would open nothing; remove {api} and make a \
         token for each user of an index, or remove {root} and let everybody use the one API key"
    )]
    Both {
        /// The setting of the root key.
        root: String,
        /// The setting of the API key.
        api: String,
    },
    /// The one setting asks for a key, the other says that none is asked for.
    #[error("{0} is set, but REQUIRE_API_KEY is false; remove one of them")]
    NotRequired(String),
    /// There is nothing to compare with.
    #[error(
        "REQUIRE_API_KEY is true, but there is no API key; set SEALDEX_API_KEY, or SEALDEX_ROOT_KEY to have users"
    )]
    NothingToRequire,
    /// A setting cannot be read.
    #[error(transparent)]
    Config(#[from] LoadError),
}

impl Access {
    /// What the settings ask for: a root key comes first, then an API key. A key of ours is asked for unless it is said not to
    /// be; the peer's licence key only if it is said so, as its documentation has it.
    pub(super) fn configured(config: &Config, variables: Variables<'_>) -> Result<Self, AccessError> {
        Self::of(config.credentials(variables)?)
    }

    fn of(set: Credentials) -> Result<Self, AccessError> {
        match (set.root, set.api, set.api_key_required) {
            (Some(root), Some(api), _) => Err(AccessError::Both {
                root: root.name,
                api: api.name,
            }),
            (Some(root), None, _) => Ok(Access::Root(root)),
            (None, Some(api), Some(false)) => Err(AccessError::NotRequired(api.name)),
            (None, Some(api), _) => Ok(Access::ApiKey(api)),
            (None, None, Some(true)) => set
                .licence
                .map(Access::ApiKey)
                .ok_or(AccessError::NothingToRequire),
            (None, None, _) => Ok(Access::Open),
        }
    }

    /// Whether whoever reaches the server may use it.
    pub(super) fn asks_nobody(&self) -> bool {
        matches!(self, Access::Open)
    }

    /// Where whoever started the server is taken to have the key.
    pub(super) fn key_variable(&self) -> Option<&str> {
        match self {
            Access::Open => None,
            Access::ApiKey(named) | Access::Root(named) => Some(&named.name),
        }
    }

    pub(crate) fn authenticator(&self, failed_attempts_max: u32) -> Authenticator {
        match self {
            Access::Open => Authenticator::open(),
            Access::ApiKey(named) => Authenticator::api_key(named.key.expose(), failed_attempts_max),
            Access::Root(named) => Authenticator::rbac(named.key.expose(), failed_attempts_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for when these settings are made in the environment.
    fn asked(settings: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variables = |name: &str| {
            let found = settings.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let access = Access::configured(&Config::default(), &variables);
        access
            .map(|access| access.key_variable().map(str::to_owned))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn which_key_is_asked_for() {
        let api = ("SEALDEX_API_KEY", "a");
        let licence = ("CYBORGDB_API_KEY", "b");
        let peers_root = ("CYBORGDB_SERVICE_ROOT_KEY", "c");
        let (wanted, unwanted) = (("REQUIRE_API_KEY", "true"), ("REQUIRE_API_KEY", "False"));
        for (settings, expected) in [
            (vec![], None),
            (vec![unwanted], None),
            (vec![("SEALDEX_API_KEY", "")], None),
            (vec![api], Some("SEALDEX_API_KEY")),
            (vec![api, wanted], Some("SEALDEX_API_KEY")),
            (vec![api, licence], Some("SEALDEX_API_KEY")),
            (vec![licence], None),
            (vec![licence, unwanted], None),
            (vec![licence, wanted], Some("CYBORGDB_API_KEY")),
            (
                vec![licence, ("SEALDEX_REQUIRE_API_KEY", "1"), unwanted],
                Some("CYBORGDB_API_KEY"),
            ),
            (vec![("SEALDEX_ROOT_KEY", "d")], Some("SEALDEX_ROOT_KEY")),
            (
                vec![peers_root, licence, wanted],
                Some("CYBORGDB_SERVICE_ROOT_KEY"),
            ),
            (vec![peers_root, unwanted], Some("CYBORGDB_SERVICE_ROOT_KEY")),
        ] {
            assert_eq!(
                asked(&settings).as_ref().map(Option::as_deref),
                Ok(expected),
                "{settings:?}"
            );
        }
    }

    #[test]
    fn no_key_is_dropped_in_silence() {
        for (settings, part) in [
            (
                vec![("SEALDEX_ROOT_KEY", "secret r"), ("SEALDEX_API_KEY", "secret a")],
                "remove SEALDEX_API_KEY",
            ),
            (
                vec![("REQUIRE_API_KEY", "no"), ("SEALDEX_API_KEY", "secret a")],
                "remove one of them",
            ),
            (vec![("REQUIRE_API_KEY", "yes")], "set SEALDEX_API_KEY"),
            (
                vec![("REQUIRE_API_KEY", "maybe")],
                "environment: REQUIRE_API_KEY: not true or false",
            ),
        ] {
            let said = asked(&settings).unwrap_err();
            assert!(said.contains(part) && !said.contains("secret"), "{said}");
        }
    }
}
