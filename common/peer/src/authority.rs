//! A small certificate authority, for deployments that have none: it signs certificates of nodes and nothing else.

use crate::identity::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates are valid from a little before they are made: clocks of nodes differ.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// What was given as the authority's certificate and key is not that.
    #[error("the authority's certificate or key does not parse; take those that `sealdex certs init` made")]
    NotAnAuthority,
    /// A name that cannot stand in a certificate.
    #[error("'{0}' cannot stand in a certificate as a DNS name")]
    Name(String),
    /// The library could not make it.
    #[error("no certificate could be made: {0}")]
    Failed(#[from] rcgen::Error),
}

/// Under which further names a node is reached, besides its own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
}

impl Names {
    /// Those of a node's certificate, besides the node's own.
    pub fn of_certificate(pem: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        let own = Identity::of_certificate(&der).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let alternatives = certificate.subject_alternative_name().ok()??;
        let mut names = Self::default();
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) if *name != own.name.as_str() => {
                    names.dns.push((*name).to_owned())
                }
                GeneralName::IPAddress(bytes) => names.ip.extend(address(bytes)),
                _ => {}
            }
        }
        Some(names)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Signs certificates of nodes. Holds the deployment's most valuable key, so it has no `Debug`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS #8). Secret.
    pub key: String,
}

impl Authority {
    /// A new authority that lasts for `valid`: itself, and what to keep of it.
    pub fn generate(valid: Duration) -> Result<(Self, Issued), AuthorityError> {
        let mut params = params("Sealdex deployment CA", valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let issued = Issued {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer }, issued))
    }

    /// One that was made before.
    pub fn of_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(|_| AuthorityError::NotAnAuthority)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key);
        let issuer = issuer.map_err(|_| AuthorityError::NotAnAuthority)?;
        Ok(Self { issuer })
    }

    /// A certificate by which a node is known for `valid`, as a server and as a client.
    pub fn issue(
        &self,
        identity: &Identity,
        names: &Names,
        valid: Duration,
    ) -> Result<Issued, AuthorityError> {
        let mut params = params(identity.name.as_str(), valid);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let dns = |name: &str| {
            let checked = name
                .try_into()
                .map_err(|_| AuthorityError::Name(name.to_owned()))?;
            Ok::<_, AuthorityError>(SanType::DnsName(checked))
        };
        params.subject_alt_names = vec![
            dns(identity.name.as_str())?,
            SanType::URI(identity.uri().as_str().try_into()?),
        ];
        for name in names.dns.iter().filter(|name| *name != identity.name.as_str()) {
            params.subject_alt_names.push(dns(name)?);
        }
        params
            .subject_alt_names
            .extend(names.ip.iter().copied().map(SanType::IpAddress));
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn params(common_name: &str, valid: Duration) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // A clock before 1970 makes certificates that are expired at once, which is the right answer.
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut params = CertificateParams::default();
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + valid;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}
