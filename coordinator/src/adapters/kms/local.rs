//! Provider `local`: a key file on this machine, for development and for sites without a network. Read for each call, so that the
//! key is in memory only while it is used.

use super::Refusal;
use crate::ports::{KeyContext, KmsFault};
use sealdex_crypto::{IndexKey, LocalWrapKey};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// One key file.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
}

impl KeyFile {
    pub(super) async fn wrap(&self, key: &IndexKey, context: &KeyContext<'_>) -> Result<Vec<u8>, Refusal> {
        Ok(self.key().await?.wrap(key, &context.to_bytes()))
    }

    pub(super) async fn unwrap(&self, wrapped: &[u8], context: &KeyContext<'_>) -> Result<IndexKey, Refusal> {
        let key = self.key().await?;
        key.unwrap(wrapped, &context.to_bytes())
            .map_err(|_| KmsFault::WrongKey.into())
    }

    async fn key(&self) -> Result<LocalWrapKey, Refusal> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        read.map_err(|_| Refusal::misconfigured("its key file could not be read"))?
    }
}

/// The key in a file that nobody else may read or change. Links are followed: it is the file that counts, and the one that is
/// judged is the one that is read.
fn read(path: &Path) -> Result<LocalWrapKey, Refusal> {
    let unreadable = |error: std::io::Error| {
        let words = format!("{}: {error}", path.display());
        let fault = match error.kind() {
            ErrorKind::NotFound => KmsFault::KeyNotFound,
            ErrorKind::PermissionDenied => KmsFault::Misconfigured(
                "the server may not read its key_file; give the file to the server's user".into(),
            ),
            _ => KmsFault::Misconfigured("its key_file cannot be read; the server's log says why".into()),
        };
        Refusal::from(fault).with_words(words)
    };
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(
            Refusal::misconfigured("its key_file is not a file").with_words(path.display().to_string())
        );
    }
    if about.permissions().mode() & OTHERS_READ_OR_WRITE != 0 {
        return Err(Refusal::misconfigured(
            "others than its owner may read or write its key_file; run chmod 600 on it, and replace the key if they have",
        )
        .with_words(format!("chmod 600 {}", path.display())));
    }
    // Never grown, so that no copy stays behind; room for one byte more than is allowed.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    let room = FILE_BYTES_MAX as u64 + 1;
    file.take(room).read_to_end(&mut bytes).map_err(unreadable)?;
    parse(&bytes).ok_or_else(|| {
        Refusal::misconfigured(
            "its key_file holds neither 32 bytes nor 64 hexadecimal digits; make one with: head -c 32 /dev/urandom > FILE",
        )
        .with_words(path.display().to_string())
    })
}

/// 32 bytes, or as many in hexadecimal digits, which one line feed may follow.
fn parse(bytes: &[u8]) -> Option<LocalWrapKey> {
    if bytes.len() == KEY_BYTES {
        return LocalWrapKey::from_bytes(bytes).ok();
    }
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if pairs.len() != key.len() {
        return None;
    }
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    LocalWrapKey::from_bytes(key.as_slice()).ok()
}

const KEY_BYTES: usize = 32;

/// 64 digits and the end of their line.
const FILE_BYTES_MAX: usize = 65;

const OTHERS_READ_OR_WRITE: u32 = 0o066;
