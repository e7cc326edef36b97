//! Who a node is: its role and its name, as its certificate says.
//!
//! The subject's alternative names hold both: the DNS name `<name>`, which TLS compares, and the URI `sealdex://<role>/<name>`.

use std::fmt;
use std::str::FromStr;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a node does in a deployment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Serves requests; keeps metadata.
    Coordinator,
    /// Keeps partitions.
    Shard,
}

impl Role {
    /// As it stands in certificates and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Coordinator => "coordinator",
            Role::Shard => "shard",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a role is coordinator or shard")]
pub struct RoleError;

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        match text {
            "coordinator" => Ok(Role::Coordinator),
            "shard" => Ok(Role::Shard),
            _ => Err(RoleError),
        }
    }
}

/// A node's name: a DNS label (RFC 1123), in lower case.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeName(String);

impl NodeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be a node's name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a node's name has 1 to 63 characters: a-z, 0-9 and hyphens, which stand neither first nor last")]
pub struct NodeNameError;

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let whole = !text.starts_with('-') && !text.ends_with('-');
        if (1..=63).contains(&text.len()) && text.bytes().all(of_label) && whole {
            Ok(Self(text.to_owned()))
        } else {
            Err(NodeNameError)
        }
    }
}

/// Who a node is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    /// What it does.
    pub role: Role,
    /// Its name, which no other node of the deployment has.
    pub name: NodeName,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

/// A certificate that is not a node's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    /// It does not parse.
    #[error("is not an X.509 certificate")]
    NotX509,
    /// It has no, or more than one, URI of ours.
    #[error(
        "does not name one node by a URI such as sealdex://shard/shard-1; make it with `sealdex certs node`"
    )]
    NotOne,
    /// TLS could not find the node under its name.
    #[error("names a node by URI that its DNS names lack; make it with `sealdex certs node`")]
    NoDnsName,
}

impl Identity {
    /// As the URI of a certificate.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.role, self.name)
    }

    /// Reads it from a certificate. Whether somebody signed that is not looked at.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::NotX509)?;
        let extension = certificate.subject_alternative_name();
        let extension = extension.map_err(|_| IdentityError::NotX509)?;
        let names = extension.ok_or(IdentityError::NotOne)?.value;
        let uris = names.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(SCHEME),
            _ => None,
        });
        let [uri] = uris.collect::<Vec<_>>()[..] else {
            return Err(IdentityError::NotOne);
        };
        let identity = Self::of_uri(uri).ok_or(IdentityError::NotOne)?;
        let has_name = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(dns) if *dns == identity.name.as_str());
        if names.general_names.iter().any(has_name) {
            Ok(identity)
        } else {
            Err(IdentityError::NoDnsName)
        }
    }

    fn of_uri(uri: &str) -> Option<Self> {
        let (role, name) = uri.split_once('/')?;
        Some(Self {
            role: role.parse().ok()?,
            name: name.parse().ok()?,
        })
    }
}

const SCHEME: &str = "sealdex://";

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(dns: &[&str], uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let dns = dns
            .iter()
            .map(|name| SanType::DnsName((*name).try_into().unwrap()));
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names = dns.chain(uris).collect();
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    #[test]
    fn a_certificate_names_one_node() {
        let identity = Identity {
            role: Role::Shard,
            name: "shard-1".parse().unwrap(),
        };
        let der = certificate(&["10.0.0.1.example", "shard-1"], &["https://x", &identity.uri()]);
        assert_eq!(Identity::of_certificate(&der), Ok(identity));
    }

    #[test]
    fn other_certificates_name_none() {
        let uri = "sealdex://shard/shard-1";
        for (der, error) in [
            (certificate(&["shard-1"], &[]), IdentityError::NotOne),
            (
                certificate(&["shard-1"], &[uri, "sealdex://shard/x"]),
                IdentityError::NotOne,
            ),
            (
                certificate(&["shard-1"], &["sealdex://root/shard-1"]),
                IdentityError::NotOne,
            ),
            (
                certificate(&["shard-1"], &["sealdex://shard/shard-1/x"]),
                IdentityError::NotOne,
            ),
            (certificate(&["shard-2"], &[uri]), IdentityError::NoDnsName),
            (certificate(&[], &[]), IdentityError::NotOne),
            (vec![1, 2, 3], IdentityError::NotX509),
        ] {
            assert_eq!(Identity::of_certificate(&der), Err(error));
        }
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "shard-1", &"x".repeat(63)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }
}
