//! Everything that can be wrong with a node's files is told apart.

use super::*;
use crate::authority::{Authority, Issued, Names};
use crate::identity::Role;
use tempfile::TempDir;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn shard(name: &str) -> Identity {
    Identity {
        role: Role::Shard,
        name: name.parse().unwrap(),
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder as `sealdex certs` leaves it, with a certificate for shard-1.
fn folder(valid: Duration) -> (TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let (authority, of_authority) = Authority::generate(YEAR).unwrap();
    write(&folder.path().join("ca.crt"), &of_authority.certificate, 0o644);
    put(
        &folder,
        "shard-1",
        &authority
            .issue(&shard("shard-1"), &Names::default(), valid)
            .unwrap(),
    );
    (folder, authority)
}

fn put(folder: &TempDir, name: &str, issued: &Issued) {
    write(
        &folder.path().join(format!("{name}.crt")),
        &issued.certificate,
        0o644,
    );
    write(&folder.path().join(format!("{name}.key")), &issued.key, 0o600);
}

fn load(folder: &TempDir) -> Result<Credentials, CredentialsError> {
    Credentials::load(folder.path(), &"shard-1".parse().unwrap())
}

fn refused(folder: &TempDir) -> CredentialsError {
    load(folder).err().unwrap()
}

#[test]
fn what_the_authority_issued_is_taken() {
    let (folder, _) = folder(YEAR);
    let credentials = load(&folder).ok().unwrap();
    assert_eq!(*credentials.identity(), shard("shard-1"));
    let left = credentials.not_after().duration_since(SystemTime::now()).unwrap();
    assert!(left <= YEAR && left > YEAR - Duration::from_secs(60));
}

#[test]
fn a_missing_file_is_named() {
    let (folder, _) = folder(YEAR);
    for file in ["shard-1.key", "shard-1.crt", "ca.crt"] {
        fs::remove_file(folder.path().join(file)).unwrap();
        let text = refused(&folder).to_string();
        assert!(text.contains(file) && text.contains("--tls-dir"), "{text}");
    }
}

#[test]
fn files_that_hold_something_else_are_refused() {
    for file in ["shard-1.key", "shard-1.crt", "ca.crt"] {
        let (folder, _) = folder(YEAR);
        write(&folder.path().join(file), "nothing of the kind", 0o600);
        assert!(matches!(refused(&folder), CredentialsError::NotPem { .. }));
    }
}

#[test]
fn a_key_that_strangers_may_use_is_refused() {
    let (folder, _) = folder(YEAR);
    let key = folder.path().join("shard-1.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(load(&folder).is_ok());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(refused(&folder), CredentialsError::Exposed(_)));
}

#[test]
fn certificates_have_their_time() {
    let (folder, authority) = folder(Duration::ZERO);
    std::thread::sleep(Duration::from_millis(1_100));
    assert!(matches!(
        refused(&folder),
        CredentialsError::Expired { authority: false, .. }
    ));
    put(
        &folder,
        "shard-1",
        &authority
            .issue(&shard("shard-1"), &Names::default(), YEAR)
            .unwrap(),
    );
    assert!(load(&folder).is_ok());
    let der = |path: &str| certificates(&read(&folder.path().join(path)).unwrap(), Path::new(path)).unwrap();
    let (path, now) = (Path::new("x"), SystemTime::now());
    assert!(matches!(
        in_time(
            &der("shard-1.crt")[0],
            path,
            now - Duration::from_secs(7_200),
            false
        ),
        Err(CredentialsError::NotYetValid(_))
    ));
    assert!(matches!(
        in_time(&der("ca.crt")[0], path, now + 2 * YEAR, true),
        Err(CredentialsError::Expired { authority: true, .. })
    ));
}

#[test]
fn certificate_and_key_are_of_one_pair() {
    let (folder, authority) = folder(YEAR);
    let other = authority
        .issue(&shard("shard-1"), &Names::default(), YEAR)
        .unwrap();
    write(&folder.path().join("shard-1.key"), &other.key, 0o600);
    assert!(matches!(refused(&folder), CredentialsError::KeyMismatch { .. }));
}

#[test]
fn another_authority_is_none() {
    let (folder, _) = folder(YEAR);
    let (_, other) = Authority::generate(YEAR).unwrap();
    write(&folder.path().join("ca.crt"), &other.certificate, 0o644);
    assert!(matches!(
        refused(&folder),
        CredentialsError::OtherAuthority { .. }
    ));
}

#[test]
fn a_node_shows_its_own_certificate() {
    let (folder, authority) = folder(YEAR);
    put(
        &folder,
        "shard-1",
        &authority
            .issue(&shard("shard-2"), &Names::default(), YEAR)
            .unwrap(),
    );
    assert!(matches!(refused(&folder), CredentialsError::OtherNode { .. }));
}

#[test]
fn what_tls_says_of_a_peer_is_found_behind_the_failed_call() {
    let says = |cause: CertificateError| {
        let tls = rustls::Error::InvalidCertificate(cause);
        let handshake = io::Error::new(io::ErrorKind::InvalidData, tls);
        let failed = tonic::ConnectError(Box::new(handshake));
        is_of_other_authority(&tonic::Status::from_error(Box::new(failed)))
    };
    assert!(says(CertificateError::UnknownIssuer));
    assert!(says(CertificateError::BadSignature));
    assert!(!says(CertificateError::Expired));
    assert!(!is_of_other_authority(&tonic::Status::unavailable(
        "nobody is there"
    )));
}
