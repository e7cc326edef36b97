//! `sealdex certs show`: whose certificates there are in a folder, and how long they last.

use super::error::CertsError;
use super::folder::refused;
use sealdex_peer::about;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Less than this is pointed at.
const SOON_DAYS: u64 = 30;

/// A line for each certificate in the folder, by name.
pub(super) fn table(folder: &Path) -> Result<String, CertsError> {
    let entries = fs::read_dir(folder).map_err(|cause| refused(folder, cause))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| refused(folder, cause))?;
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "crt"));
    paths.sort();
    let mut text = format!("{:<28}  {:<12}  {:<28}  EXPIRES\n", "FILE", "ROLE", "NAME");
    for path in paths {
        let pem = fs::read(&path).map_err(|cause| refused(&path, cause))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        text += &line(&file, &pem, SystemTime::now());
    }
    Ok(text)
}

fn line(file: &str, pem: &[u8], now: SystemTime) -> String {
    let Some((identity, not_after)) = about(pem) else {
        return format!("{file:<28}  not a certificate\n");
    };
    let (role, name) = match &identity {
        Ok(identity) => (identity.role.as_str(), identity.name.as_str()),
        Err(_) if file == "ca.crt" => ("authority", "-"),
        Err(_) => ("none", "-"),
    };
    format!("{file:<28}  {role:<12}  {name:<28}  {}\n", expiry(not_after, now))
}

fn expiry(not_after: SystemTime, now: SystemTime) -> String {
    match not_after.duration_since(now) {
        Err(_) => "expired: make it anew".to_owned(),
        Ok(left) => match left.as_secs() / 86_400 {
            days if days < SOON_DAYS => format!("in {days} days: make it anew soon"),
            days => format!("in {days} days"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_peer::{Authority, Identity, Names, Role};
    use std::time::Duration;

    #[test]
    fn every_certificate_has_its_line() {
        let day = Duration::from_secs(86_400);
        let (authority, issued) = Authority::generate(400 * day).unwrap();
        let identity = Identity {
            role: Role::Coordinator,
            name: "coordinator-1".parse().unwrap(),
        };
        let node = authority.issue(&identity, &Names::default(), 10 * day).unwrap();
        let now = SystemTime::now();
        let text = line("ca.crt", issued.certificate.as_bytes(), now);
        assert!(
            text.contains("authority") && text.contains("in 399 days\n"),
            "{text}"
        );
        let text = line("coordinator-1.crt", node.certificate.as_bytes(), now);
        assert!(
            text.contains("coordinator-1 ") && text.contains("in 9 days: make it anew"),
            "{text}"
        );
        let text = line("x.crt", node.certificate.as_bytes(), now + 11 * day);
        assert!(text.contains("expired"), "{text}");
        assert!(line("y.crt", b"text", now).contains("not a certificate"));
    }
}
