//! The key registry: which slots there are, and with which provider each wraps keys, as an operator writes it in the
//! configuration file. Plain data; knows no provider's client and holds no key.

mod expand;
mod file;
mod reload;
mod service_section;

pub use file::{ConfigError, ConfigFault, ConfigFile};
pub use reload::reload;
pub use service_section::{SERVICE_NAMES, ServiceSection, Setting};

pub use crate::domain::{Provider, UnknownProvider};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How environment variables are looked up, so that whoever reads a configuration says which environment it is.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// The slots by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registry {
    /// What each slot is.
    pub slots: BTreeMap<String, SlotConfig>,
}

/// One slot as it is written. Whether it can work shows when it is used first, as with the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotConfig {
    /// Who wraps.
    pub provider: Provider,
    /// The KMS key (id, ARN or alias) or the secret (name or ARN).
    pub key_id: Option<String>,
    /// The AWS region.
    pub region: Option<String>,
    /// The role to assume, for keys of another account.
    pub role_arn: Option<String>,
    /// What the role's owner asks for when it is assumed.
    pub external_id: Option<String>,
    /// What the role's owner sees of us.
    pub role_session_name: Option<String>,
    /// The file of a `local` slot.
    pub key_file: Option<PathBuf>,
}

impl SlotConfig {
    /// A slot of which nothing but the provider is written.
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            key_id: None,
            region: None,
            role_arn: None,
            external_id: None,
            role_session_name: None,
            key_file: None,
        }
    }
}

#[cfg(test)]
mod tests;
