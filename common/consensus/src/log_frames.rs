//! A look at the frames of RocksDB's log files before it reads them itself. Its reader (11.8) never ends on a record whose type says
//! that the file was used before, if the file did not begin with one; one flipped bit makes such a record. Files of ours are never
//! used again, so it is damage. Whatever else is wrong in a log is RocksDB's to find.
//!
//! ```text
//! blocks of 32 KiB, the rest of each less than a header; a record is
//!     masked CRC-32C of what follows the length, u32 LE | length u16 LE | type u8 | that many bytes
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 7;
const FULL: u8 = 1;
const LAST: u8 = 4;

/// Why the logs of a database must not be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A record has a type that was never written.
    #[error("{0} is damaged; restore this node from a replica or a backup")]
    Damaged(PathBuf),
    /// A file cannot be read.
    #[error("cannot read the logs of the database: {0}")]
    Io(#[from] io::Error),
}

/// Refuses the database in `folder` if RocksDB would never finish to read one of its logs. A folder that is not there is
/// a new database.
pub fn check_logs(folder: &Path) -> Result<(), LogError> {
    if !folder.exists() {
        return Ok(());
    }
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_log = name.ends_with(".log") || name.starts_with("MANIFEST-");
        if is_log && is_endless(File::open(&path)?)? {
            return Err(LogError::Damaged(path));
        }
    }
    Ok(())
}

/// Follows the file as RocksDB's reader does.
fn is_endless(mut file: impl Read) -> io::Result<bool> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut began = false;
    loop {
        block.clear();
        file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        let mut rest = &block[..];
        while let Some((header, body)) = rest.split_at_checked(HEADER_BYTES) {
            let kind = header[6];
            if says_used_before(kind) {
                return Ok(began);
            }
            let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
            let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            match body.split_at_checked(length) {
                Some((record, next)) if masked(crc32c(&[header[6..].as_ref(), record])) == stored => {
                    began |= matches!(kind, FULL | LAST);
                    rest = next;
                }
                // It goes on with the next block.
                _ => break,
            }
        }
        if block.len() < BLOCK_BYTES {
            return Ok(false);
        }
    }
}

fn says_used_before(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

/// RocksDB stores checksums so, because a log may hold another log.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli) of the parts together.
fn crc32c(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    !bytes.fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let checksum = masked(crc32c(&[&[kind], body]));
        let length = (body.len() as u16).to_le_bytes();
        [&checksum.to_le_bytes()[..], &length, &[kind], body].concat()
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32c(&[b"12345", b"6789"]), 0xe306_9283);
    }

    #[test]
    fn a_flipped_type_is_found_and_other_damage_is_left_to_rocksdb() {
        let mut log = [record(FULL, b"first"), record(FULL, b"second")].concat();
        let last_type = 12 + 6;
        assert!(!is_endless(&log[..]).unwrap());
        log[last_type] ^= 4;
        assert!(is_endless(&log[..]).unwrap());
        log[2] ^= 1;
        assert!(
            !is_endless(&log[..]).unwrap(),
            "what follows damage is not looked at"
        );
    }

    #[test]
    fn blocks_are_followed_past_damage() {
        let mut log = record(2, &vec![7; BLOCK_BYTES - HEADER_BYTES]);
        log.extend(record(LAST, b"end"));
        log.extend(record(5, b"next"));
        assert!(is_endless(&log[..]).unwrap());
        log[100] ^= 1;
        assert!(is_endless(&log[..]).unwrap());
    }
}
