//! How an operator's command reaches a server, and where it takes secrets from: a file, standard input or the environment. Never
//! the command line, which everyone on a machine can read.

use crate::client::{ClientError, Endpoint};
use clap::Args;
use sealdex_core::SecretText;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Bytes of a file with a secret that are looked at.
const SECRET_BYTES_MAX: u64 = 4096;

/// Where the server is, and the credential it asks for.
#[derive(Args)]
pub(crate) struct ConnectArgs {
    /// Where the server listens; http only
    #[arg(
        long,
        global = true,
        env = "SEALDEX_URL",
        default_value = "http://127.0.0.1:8000"
    )]
    pub(crate) url: String,

    /// File with the server's root key or API key, - for standard input; without it SEALDEX_ROOT_KEY or SEALDEX_API_KEY
    #[arg(long, global = true, value_name = "FILE")]
    root_key_file: Option<PathBuf>,

    /// Seconds that one request may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Where the key of an index is that its owner keeps.
#[derive(Args)]
pub(crate) struct IndexKeyArgs {
    /// File with the index's key, if its owner keeps it: 64 hexadecimal digits or 32 bytes, - for standard input; without it
    /// SEALDEX_INDEX_KEY
    #[arg(long, value_name = "FILE")]
    index_key_file: Option<PathBuf>,
}

/// A secret that cannot be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The file is not there or not readable.
    #[error("cannot read {path}: {cause}; check that it exists, and its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// There is nothing in it, or it is not text.
    #[error("{0} holds no credential; write the key into it as one line of text")]
    NotACredential(PathBuf),
    /// Its content is no index key.
    #[error("{0} holds no index key; it must be 64 hexadecimal digits, or 32 bytes")]
    NotAnIndexKey(String),
}

impl ConnectArgs {
    /// The server, with the credential that was given, if one was.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, ConnectError> {
        let key = self.credential()?;
        Ok(Endpoint::new(&self.url, key.as_ref().map(SecretText::expose))?)
    }

    /// How long one request may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    fn credential(&self) -> Result<Option<SecretText>, SecretError> {
        let Some(path) = &self.root_key_file else {
            return Ok(variable("SEALDEX_ROOT_KEY").or_else(|| variable("SEALDEX_API_KEY")));
        };
        let bytes = read(path)?;
        let line = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        match line {
            "" => Err(SecretError::NotACredential(path.clone())),
            key => Ok(Some(SecretText::new(key.to_owned()))),
        }
    }
}

impl IndexKeyArgs {
    /// The key that was given, in hexadecimal, if one was.
    pub(crate) fn key(&self) -> Result<Option<SecretText>, SecretError> {
        match &self.index_key_file {
            Some(path) => index_key(path).map(Some),
            None => variable("SEALDEX_INDEX_KEY")
                .map(|text| {
                    hexadecimal(text.expose().as_bytes())
                        .ok_or_else(|| SecretError::NotAnIndexKey("SEALDEX_INDEX_KEY".into()))
                })
                .transpose(),
        }
    }
}

/// Neither a server nor a secret to show it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The credential.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The address.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The index key in a file, in hexadecimal.
pub(crate) fn index_key(path: &Path) -> Result<SecretText, SecretError> {
    hexadecimal(&read(path)?).ok_or_else(|| SecretError::NotAnIndexKey(path.display().to_string()))
}

/// 32 bytes as 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> SecretText {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    SecretText::new(text)
}

fn hexadecimal(bytes: &[u8]) -> Option<SecretText> {
    if bytes.len() == 32 {
        return Some(hex(bytes));
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let is_key = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_key.then(|| SecretText::new(text.to_owned()))
}

fn variable(name: &str) -> Option<SecretText> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.map(SecretText::new)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX as usize));
    let outcome = match path.as_os_str().as_encoded_bytes() {
        b"-" => std::io::stdin().take(SECRET_BYTES_MAX).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes)),
    };
    outcome.map_err(|cause| SecretError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_key_is_hexadecimal_or_bytes() {
        let key = [0xab; 32];
        for written in [
            key.to_vec(),
            "ab".repeat(32).into_bytes(),
            format!("{}\n", "AB".repeat(32)).into_bytes(),
        ] {
            let read = hexadecimal(&written).unwrap();
            assert_eq!(read.expose().to_lowercase(), "ab".repeat(32));
        }
        for wrong in ["", "ab", &"xy".repeat(32), &"ab".repeat(33)] {
            assert!(hexadecimal(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
    }
}
