//! The folder of `sealdex certs`: `<name>.crt` and `<name>.key` for the authority and for every node.

use super::error::CertsError;
use sealdex_peer::{Authority, Issued, Names, about};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::Zeroizing;

/// For the owner alone; certificates may be seen by all.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// A folder that exists.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes it if there is none.
    pub(super) fn create(path: &Path) -> Result<Self, CertsError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|cause| refused(path, cause))?;
        Self::open(path)
    }

    pub(super) fn open(path: &Path) -> Result<Self, CertsError> {
        match fs::metadata(path).map_err(|cause| refused(path, cause))?.is_dir() {
            true => Ok(Self {
                path: path.to_owned(),
            }),
            false => Err(refused(path, ErrorKind::NotADirectory.into())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The authority that is kept here, if its time is not over.
    pub(super) fn authority(&self) -> Result<Authority, CertsError> {
        let read = |name: &str| {
            let path = self.path.join(name);
            fs::read_to_string(&path).map_err(|cause| match cause.kind() {
                ErrorKind::NotFound => CertsError::NoAuthority(self.path.clone()),
                _ => refused(&path, cause),
            })
        };
        let (certificate, key) = (read("ca.crt")?, Zeroizing::new(read("ca.key")?));
        let authority = Authority::of_pem(&certificate, &key)?;
        match about(certificate.as_bytes()) {
            Some((_, not_after)) if not_after < SystemTime::now() => {
                Err(CertsError::ExpiredAuthority(self.path.clone()))
            }
            _ => Ok(authority),
        }
    }

    /// The names of the certificate that is kept under `name`, besides its own.
    pub(super) fn names_of(&self, name: &str) -> Option<Names> {
        let pem = fs::read(self.path.join(format!("{name}.crt"))).ok()?;
        Names::of_certificate(&pem)
    }

    /// Keeps a certificate and its key under `name`. What is there is replaced only if `replace` says so, and never the authority.
    pub(super) fn put(&self, name: &str, issued: &Issued, replace: bool) -> Result<(), CertsError> {
        let [certificate, key] = ["crt", "key"].map(|kind| self.path.join(format!("{name}.{kind}")));
        if let Some(there) = [&certificate, &key]
            .into_iter()
            .find(|path| path.exists() && !replace)
        {
            return Err(match name {
                "ca" => CertsError::HasAuthority(self.path.clone()),
                _ => CertsError::HasNode(there.clone()),
            });
        }
        // The key first: a certificate without one is of no use, and is seen to be.
        write(&key, issued.key.as_bytes(), SECRET)?;
        write(&certificate, issued.certificate.as_bytes(), PUBLIC)
    }
}

/// Under another name first, so that a node that starts meanwhile sees the old file or the new one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertsError> {
    let new = path.with_added_extension("new");
    let write = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|cause| refused(path, cause))
}

pub(super) fn refused(path: &Path, cause: io::Error) -> CertsError {
    CertsError::Io {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_peer::{Credentials, CredentialsError, Identity, Role};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    #[test]
    fn what_is_made_here_is_taken_by_a_node() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(&dir.path().join("certs")).unwrap();
        assert!(matches!(folder.authority(), Err(CertsError::NoAuthority(_))));
        let (_, issued) = Authority::generate(YEAR).unwrap();
        folder.put("ca", &issued, false).unwrap();
        assert!(matches!(
            folder.put("ca", &issued, false),
            Err(CertsError::HasAuthority(_))
        ));
        let identity = Identity {
            role: Role::Shard,
            name: "shard-1".parse().unwrap(),
        };
        let issue = || {
            folder
                .authority()
                .unwrap()
                .issue(&identity, &Names::default(), YEAR)
                .unwrap()
        };
        folder.put("shard-1", &issue(), false).unwrap();
        assert!(matches!(
            folder.put("shard-1", &issue(), false),
            Err(CertsError::HasNode(_))
        ));
        folder.put("shard-1", &issue(), true).unwrap();
        let mode = |file: &str| {
            let about = fs::metadata(folder.path().join(file)).unwrap();
            about.permissions().mode() & 0o777
        };
        assert_eq!(
            [mode("ca.key"), mode("shard-1.key"), mode("shard-1.crt")],
            [SECRET, SECRET, PUBLIC]
        );
        let loaded = Credentials::load(folder.path(), &identity.name).ok().unwrap();
        assert_eq!(*loaded.identity(), identity);
        let other = Credentials::load(folder.path(), &"shard-2".parse().unwrap());
        assert!(matches!(other.err().unwrap(), CredentialsError::Io { .. }));
    }

    #[test]
    fn a_certificate_tells_under_which_names_its_node_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(&dir.path().join("certs")).unwrap();
        assert!(folder.names_of("coordinator-0").is_none());
        let (authority, _) = Authority::generate(YEAR).unwrap();
        let identity = Identity {
            role: Role::Coordinator,
            name: "coordinator-0".parse().unwrap(),
        };
        let names = Names {
            dns: vec!["coordinator-0.coordinator".to_owned()],
            ip: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        };
        let issued = authority.issue(&identity, &names, YEAR).unwrap();
        folder.put("coordinator-0", &issued, false).unwrap();
        let kept = folder.names_of("coordinator-0").unwrap();
        assert_eq!((kept.dns, kept.ip), (names.dns, names.ip));
    }

    #[test]
    fn an_authority_that_has_expired_signs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path()).unwrap();
        let (_, issued) = Authority::generate(Duration::ZERO).unwrap();
        folder.put("ca", &issued, false).unwrap();
        std::thread::sleep(Duration::from_millis(1_100));
        assert!(matches!(folder.authority(), Err(CertsError::ExpiredAuthority(_))));
    }
}
