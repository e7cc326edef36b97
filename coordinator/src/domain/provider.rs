//! Who wraps index keys, by name. How each does it is an adapter's affair.

use std::fmt;
use std::str::FromStr;

/// Who wraps the keys of a slot.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Provider {
    /// AWS KMS: the key never leaves it.
    AwsKms,
    /// AWS Secrets Manager: it keeps a secret under which we wrap.
    AwsSecret,
    /// A key file on this machine.
    Local,
}

impl Provider {
    /// The name in configuration files and in stored envelopes.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::AwsKms => "aws-kms",
            Provider::AwsSecret => "aws",
            Provider::Local => "local",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no provider's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a provider is 'aws-kms', 'aws' (Secrets Manager) or 'local'")]
pub struct UnknownProvider;

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        [Provider::AwsKms, Provider::AwsSecret, Provider::Local]
            .into_iter()
            .find(|provider| provider.as_str() == name)
            .ok_or(UnknownProvider)
    }
}
