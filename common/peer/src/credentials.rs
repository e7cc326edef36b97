//! What a node shows and what it believes: its certificate with the private key, and the authority that certificates of its peers are
//! signed by. Everything that can be wrong with them is found before the first connection, and said in one line with the cure.

use crate::identity::{Identity, IdentityError, NodeName};
use parking_lot::RwLock;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, RootCertStore, ServerConfig};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tonic::transport::{Certificate, ClientTlsConfig, Identity as TlsIdentity};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Certificates and keys are far smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bits of a file's mode by which strangers may use it. The group may read it: secrets that Kubernetes mounts belong to the pod's group.
const STRANGERS: u32 = 0o007;

/// A handshake that takes longer holds a connection for nothing.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Why a node cannot show who it is.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}: {cause}; `sealdex certs` makes it, or name the right folder with --tls-dir", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM; `sealdex certs` makes it", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Strangers may read the private key.
    #[error("{} can be used by every user of the machine; run chmod 600 on it, and make a new one if somebody may have", .0.display())]
    Exposed(PathBuf),
    /// The certificate is of no node.
    #[error("{} {cause}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: IdentityError,
    },
    /// The certificate is another node's.
    #[error("{} is the certificate of {found}, not of {wanted}; give this node its own", path.display())]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: NodeName,
        /// Whose it should be.
        wanted: NodeName,
    },
    /// Its time is over.
    #[error(
        "{} has expired; make a new one with `sealdex certs {}`, or set this machine's clock if it runs ahead",
        path.display(),
        if *authority { "init" } else { "node" }
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// Whether it is the authority's.
        authority: bool,
    },
    /// Its time has not come.
    #[error("{} is not valid yet: set this machine's clock, which runs behind the one where the certificate was made", .0.display())]
    NotYetValid(PathBuf),
    /// Certificate and key are not of one pair.
    #[error("{} is not the private key of {}; take both from one run of `sealdex certs node`", key.display(), certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Another authority signed it.
    #[error("{} was not signed by {}; make it with `sealdex certs node` from the deployment's own folder", certificate.display(), ca.display())]
    OtherAuthority {
        /// The certificate's file.
        certificate: PathBuf,
        /// The authority's file.
        ca: PathBuf,
    },
    /// It cannot serve between nodes for another reason.
    #[error("{} cannot be used: {cause}; make it with `sealdex certs node`", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: rustls::Error,
    },
}

/// A node's certificate, its private key, and the authority's certificate. Holds a private key, so it has no `Debug`.
pub struct Credentials {
    identity: Identity,
    not_after: SystemTime,
    authority_not_after: SystemTime,
    authority: Certificate,
    certificate: Vec<u8>,
    tls: TlsIdentity,
    server: Arc<ServerConfig>,
}

/// What a certificate says: of whom it is, and until when. `Err` if it is of no node, such as the authority's own.
pub fn about(pem: &[u8]) -> Option<(Result<Identity, IdentityError>, SystemTime)> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, not_after) = validity(&der)?;
    Some((Identity::of_certificate(&der), not_after))
}

impl Credentials {
    /// Reads `ca.crt`, `<name>.crt` and `<name>.key` in `folder`, and looks at everything that could be wrong with them.
    pub fn load(folder: &Path, name: &NodeName) -> Result<Self, CredentialsError> {
        let [ca_path, path, key_path] = [
            folder.join("ca.crt"),
            folder.join(format!("{name}.crt")),
            folder.join(format!("{name}.key")),
        ];
        let (ca, pem, key_pem) = (read(&ca_path)?, read(&path)?, read_secret(&key_path)?);
        let authority = certificates(&ca, &ca_path)?;
        let chain = certificates(&pem, &path)?;
        let now = SystemTime::now();
        let authority_not_after = in_time(&authority[0], &ca_path, now, true)?;
        let not_after = in_time(&chain[0], &path, now, false)?;
        let pair = check_key(&chain, &path, &key_pem, &key_path)?;
        let verifier = check_signed(&chain, &path, &authority, &ca_path, now)?;
        let identity = Identity::of_certificate(&chain[0]).map_err(|cause| CredentialsError::Identity {
            path: path.clone(),
            cause,
        })?;
        if identity.name != *name {
            return Err(CredentialsError::OtherNode {
                path,
                found: identity.name,
                wanted: name.clone(),
            });
        }
        let server = server(pair, verifier).map_err(|cause| CredentialsError::Unusable { path, cause })?;
        Ok(Self {
            identity,
            not_after,
            authority_not_after,
            authority: Certificate::from_pem(ca),
            certificate: pem.clone(),
            tls: TlsIdentity::from_pem(pem, key_pem),
            server: Arc::new(server),
        })
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Until when its peers believe it.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Until when the first authority is believed.
    pub fn authority_not_after(&self) -> SystemTime {
        self.authority_not_after
    }

    /// Whether both show and believe the same.
    pub fn are_those(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.authority.as_ref() == other.authority.as_ref()
    }

    /// For a server that asks everybody for a certificate of the same authority.
    pub(crate) fn server_tls(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// For a client; the server's name is to be added where it is known.
    pub(crate) fn client_tls(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.tls.clone())
            .ca_certificate(self.authority.clone())
            .timeout(HANDSHAKE_MAX)
    }
}

/// What a node shows and believes at the moment: it may be exchanged while the node runs. Share it in an `Arc`.
pub struct CurrentCredentials(RwLock<Arc<Credentials>>);

impl CurrentCredentials {
    /// These, to begin with.
    pub fn new(credentials: Credentials) -> Self {
        Self(RwLock::new(Arc::new(credentials)))
    }

    /// Those of this moment.
    pub fn get(&self) -> Arc<Credentials> {
        self.0.read().clone()
    }

    /// From the next connection on, these.
    pub fn replace(&self, credentials: Arc<Credentials>) {
        *self.0.write() = credentials;
    }
}

/// Whether a connection did not come about because the peer's certificate is not signed by the authority that this node believes.
pub fn is_of_other_authority(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        // What an I/O error was made of is not among its sources.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        inner
            .or_else(|| error.downcast_ref())
            .is_some_and(says_other_authority)
    })
}

/// Authorities that are named alike differ in their keys.
fn says_other_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(cause) = error else {
        return false;
    };
    matches!(
        cause,
        CertificateError::UnknownIssuer | CertificateError::BadSignature
    )
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|cause| CredentialsError::Io {
        path: path.to_owned(),
        cause,
    })
}

fn read_secret(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let about = fs::metadata(path).map_err(|cause| CredentialsError::Io {
        path: path.to_owned(),
        cause,
    })?;
    if about.permissions().mode() & STRANGERS != 0 {
        return Err(CredentialsError::Exposed(path.to_owned()));
    }
    read(path)
}

/// At least one.
fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| CredentialsError::NotPem {
            path: path.to_owned(),
            what: "certificate",
        })
}

fn validity(der: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let time =
        |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    Some((
        time(validity.not_before.timestamp()),
        time(validity.not_after.timestamp()),
    ))
}

/// When it expires, if it is valid now.
fn in_time(
    certificate: &CertificateDer<'_>,
    path: &Path,
    now: SystemTime,
    authority: bool,
) -> Result<SystemTime, CredentialsError> {
    let path = || path.to_owned();
    let (not_before, not_after) = validity(certificate).ok_or_else(|| CredentialsError::NotPem {
        path: path(),
        what: "certificate",
    })?;
    if now < not_before {
        Err(CredentialsError::NotYetValid(path()))
    } else if now > not_after {
        Err(CredentialsError::Expired {
            path: path(),
            authority,
        })
    } else {
        Ok(not_after)
    }
}

fn check_key(
    chain: &[CertificateDer<'static>],
    path: &Path,
    key_pem: &[u8],
    key_path: &Path,
) -> Result<CertifiedKey, CredentialsError> {
    let not_pem = || CredentialsError::NotPem {
        path: key_path.to_owned(),
        what: "private key",
    };
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| not_pem())?;
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key);
    let pair = CertifiedKey::new(chain.to_vec(), key.map_err(|_| not_pem())?);
    let mismatch = |_| CredentialsError::KeyMismatch {
        key: key_path.to_owned(),
        certificate: path.to_owned(),
    };
    pair.keys_match().map_err(mismatch)?;
    Ok(pair)
}

/// Of a server that speaks HTTP/2 with holders of a certificate that `verifier` takes.
fn server(pair: CertifiedKey, verifier: Arc<dyn ClientCertVerifier>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let shown = Arc::new(SingleCertAndKey::from(pair));
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn check_signed(
    chain: &[CertificateDer<'static>],
    path: &Path,
    authority: &[CertificateDer<'static>],
    ca_path: &Path,
    now: SystemTime,
) -> Result<Arc<dyn ClientCertVerifier>, CredentialsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authority.iter().cloned());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|_| CredentialsError::NotPem {
        path: ca_path.to_owned(),
        what: "certificate of an authority",
    })?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (first, rest) = chain.split_first().expect("a chain has at least one certificate");
    match verifier.verify_client_cert(first, rest, UnixTime::since_unix_epoch(since)) {
        Ok(_) => Ok(verifier),
        Err(cause) if says_other_authority(&cause) => Err(CredentialsError::OtherAuthority {
            certificate: path.to_owned(),
            ca: ca_path.to_owned(),
        }),
        Err(cause) => Err(CredentialsError::Unusable {
            path: path.to_owned(),
            cause,
        }),
    }
}

#[cfg(test)]
mod tests;
