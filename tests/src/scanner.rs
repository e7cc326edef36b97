//! Looks for secrets in bytes: every place where a run of a secret stands, in any form that a program might by mistake write.
//!
//! A text is looked for raw, as UTF-16, in hex of both cases and in both base64 alphabets at their three alignments; any
//! [`RUN_BYTES`] bytes of a form count. A vector is looked for as little- and big-endian float32 and as float16, any 8 bytes in a row,
//! and number by number as decimal text.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use half::f16;
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A run of so many bytes of a text's form is a find. Shorter runs would turn up in random bytes by chance.
pub const RUN_BYTES: usize = 12;

/// A number's decimal text is looked for if it is at least so long.
const DECIMAL_BYTES_MIN: usize = 10;

/// The secrets to look for.
#[derive(Default)]
pub struct Scanner {
    /// Needles by their first eight bytes: what follows these, and which secret it is.
    needles: HashMap<u64, Vec<(Vec<u8>, u32)>>,
    /// One bit per hash of eight bytes that some needle begins with, so that most offsets cost one look.
    filter: Filter,
    names: Vec<String>,
}

/// A place where a secret stands.
#[derive(Debug, PartialEq)]
pub struct Find {
    /// Which secret, in which form.
    pub what: String,
    /// The file, or nothing when bytes were scanned.
    pub file: PathBuf,
    /// The byte at which it begins; in a file's name, the position there.
    pub offset: usize,
}

/// What a scan of a folder covered and found.
#[derive(Default)]
pub struct Report {
    /// Files read.
    pub files: usize,
    /// Bytes read.
    pub bytes: u64,
    /// What stands where; at most a handful per file.
    pub finds: Vec<Find>,
}

impl Scanner {
    /// Looks for `secret`, a text or a key, in every form. It must be long and random enough not to occur by chance.
    pub fn add_text(&mut self, what: &str, secret: &[u8]) {
        for (form, bytes) in forms(secret) {
            assert!(
                bytes.len() >= RUN_BYTES,
                "{what} is too short to be looked for as {form}"
            );
            let name = self.name(format!("{what} as {form}"));
            for run in bytes.windows(RUN_BYTES) {
                self.add(run, name);
            }
        }
    }

    /// Looks for any part of `vector`.
    pub fn add_vector(&mut self, what: &str, vector: &[f32]) {
        for (form, bytes, step) in vector_forms(vector) {
            let name = self.name(format!("{what} as {form}"));
            for run in bytes.windows(8).step_by(step) {
                self.add(run, name);
            }
        }
        let name = self.name(format!("{what} as decimal text"));
        for &x in vector {
            for text in [x.to_string(), f64::from(x).to_string()] {
                // Shorter ones stand in any log by chance.
                if text.len() >= DECIMAL_BYTES_MIN {
                    self.add(text.as_bytes(), name);
                }
            }
        }
    }

    /// The secrets that stand in `bytes`, at most `most`.
    pub fn scan(&self, bytes: &[u8], most: usize) -> Vec<Find> {
        let mut finds = Vec::new();
        for (offset, eight) in bytes.windows(8).enumerate() {
            let first = u64::from_le_bytes(eight.try_into().expect("windows of eight are eight bytes"));
            if !self.filter.may_have(first) {
                continue;
            }
            let rest = &bytes[offset + 8..];
            let hit = self
                .needles
                .get(&first)
                .into_iter()
                .flatten()
                .find(|(tail, _)| rest.starts_with(tail));
            if let Some((_, name)) = hit {
                finds.push(Find {
                    what: self.names[*name as usize].clone(),
                    file: PathBuf::new(),
                    offset,
                });
                if finds.len() >= most {
                    break;
                }
            }
        }
        finds
    }

    /// The secrets that stand in any file of `folder`, or in its name.
    pub fn scan_folder(&self, folder: &Path) -> Report {
        let mut report = Report::default();
        for file in files_under(folder) {
            let bytes = match std::fs::read(&file) {
                Ok(bytes) => bytes,
                // A running server deletes files that it has rewritten.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => panic!("{}: {error}", file.display()),
            };
            report.files += 1;
            report.bytes += bytes.len() as u64;
            let name = file.to_string_lossy().into_owned().into_bytes();
            for mut find in self.scan(&bytes, 5).into_iter().chain(self.scan(&name, 1)) {
                find.file.clone_from(&file);
                report.finds.push(find);
            }
        }
        report
    }

    fn name(&mut self, name: String) -> u32 {
        self.names.push(name);
        self.names.len() as u32 - 1
    }

    fn add(&mut self, needle: &[u8], name: u32) {
        let (first, rest) = needle.split_at(8);
        let first = u64::from_le_bytes(first.try_into().expect("split at eight bytes"));
        let same_start = self.needles.entry(first).or_default();
        if !same_start.iter().any(|(known, _)| known == rest) {
            same_start.push((rest.to_vec(), name));
        }
        self.filter.add(first);
    }
}

/// The forms in which a text may leak, each with its name.
pub fn forms(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![
        ("raw bytes".to_owned(), secret.to_vec()),
        (
            "UTF-16".to_owned(),
            secret.iter().flat_map(|&byte| [byte, 0]).collect(),
        ),
        ("upper-case hex".to_owned(), hex.to_uppercase().into_bytes()),
        ("lower-case hex".to_owned(), hex.into_bytes()),
    ];
    for alignment in 0..3 {
        let shifted = [vec![0; alignment], secret.to_vec()].concat();
        // Only characters whose six bits all come from the secret are sure to appear.
        let sure = (alignment * 8).div_ceil(6)..shifted.len() * 8 / 6;
        for (name, alphabet) in [("base64", &STANDARD), ("base64url", &URL_SAFE)] {
            let text = alphabet.encode(&shifted).into_bytes();
            forms.push((
                format!("{name} at alignment {alignment}"),
                text[sure.clone()].to_vec(),
            ));
        }
    }
    forms
}

/// The binary forms in which a vector may leak, each with its name and the bytes per number.
pub fn vector_forms(vector: &[f32]) -> [(&'static str, Vec<u8>, usize); 3] {
    [
        (
            "little-endian float32",
            vector.iter().flat_map(|x| x.to_le_bytes()).collect(),
            4,
        ),
        (
            "big-endian float32",
            vector.iter().flat_map(|x| x.to_be_bytes()).collect(),
            4,
        ),
        (
            "little-endian float16",
            vector
                .iter()
                .flat_map(|&x| f16::from_f32(x).to_le_bytes())
                .collect(),
            2,
        ),
    ]
}

/// Every file under `folder`, however deep, in order.
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    let mut seen = HashSet::new();
    while let Some(next) = folders.pop() {
        if !seen.insert(next.clone()) {
            continue;
        }
        for entry in std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.expect("a folder's entries can be read").path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    files
}

struct Filter(Vec<u64>);

impl Default for Filter {
    fn default() -> Self {
        Self(vec![0; 1 << (FILTER_BITS_LOG2 - 6)])
    }
}

impl Filter {
    fn add(&mut self, value: u64) {
        let bit = Self::bit(value);
        self.0[bit >> 6] |= 1 << (bit & 63);
    }

    fn may_have(&self, value: u64) -> bool {
        let bit = Self::bit(value);
        self.0[bit >> 6] & (1 << (bit & 63)) != 0
    }

    fn bit(value: u64) -> usize {
        (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS_LOG2)) as usize
    }
}

const FILTER_BITS_LOG2: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SECRET: &[u8] = b"k7Qz/w+9pLm2?RxVt4Nb~Hs8";

    fn noise(random: &mut Random, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| random.word() as u8).collect()
    }

    fn planted(random: &mut Random, canary: &[u8]) -> Vec<u8> {
        let before = random.below(5_000);
        [noise(random, before), canary.to_vec(), noise(random, 777)].concat()
    }

    #[test]
    fn every_form_of_a_planted_text_is_found_and_noise_is_not() {
        let mut random = Random::new(1);
        let mut scanner = Scanner::default();
        scanner.add_text("secret", SECRET);
        for (form, bytes) in forms(SECRET) {
            assert!(
                !scanner.scan(&planted(&mut random, &bytes), 1).is_empty(),
                "{form}"
            );
            let part = &bytes[3..3 + RUN_BYTES];
            assert!(
                !scanner.scan(&planted(&mut random, part), 1).is_empty(),
                "a run of {form}"
            );
        }
        assert_eq!(scanner.scan(&noise(&mut random, 4_000_000), 1), []);
    }

    #[test]
    fn base64_of_a_longer_text_is_found_wherever_the_secret_stands_in_it() {
        let mut random = Random::new(2);
        let mut scanner = Scanner::default();
        scanner.add_text("secret", SECRET);
        for before in 0..6 {
            let whole = [noise(&mut random, before), SECRET.to_vec(), noise(&mut random, 5)].concat();
            assert!(
                !scanner.scan(STANDARD.encode(&whole).as_bytes(), 1).is_empty(),
                "after {before} bytes"
            );
        }
    }

    #[test]
    fn any_eight_bytes_of_a_planted_vector_are_found() {
        let mut random = Random::new(3);
        let vector = random.vector(40);
        let mut scanner = Scanner::default();
        scanner.add_vector("vector", &vector);
        for (form, bytes, step) in vector_forms(&vector) {
            for start in (0..bytes.len() - 8).step_by(step) {
                let found = scanner.scan(&planted(&mut random, &bytes[start..start + 8]), 1);
                assert!(!found.is_empty(), "{form} from byte {start}");
            }
        }
        let long = vector
            .iter()
            .find(|x| x.to_string().len() >= DECIMAL_BYTES_MIN)
            .unwrap();
        let log = format!("query [{long}, 0.5]");
        assert!(!scanner.scan(log.as_bytes(), 1).is_empty(), "decimal text");
        assert_eq!(scanner.scan(&noise(&mut random, 4_000_000), 1), []);
    }

    #[test]
    fn a_folder_is_scanned_whole_and_file_names_too() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(
            folder.path().join("a/b/000012.sst"),
            planted(&mut Random::new(4), SECRET),
        )
        .unwrap();
        std::fs::write(folder.path().join("a/name-with-canary-of-letters"), b"harmless").unwrap();
        let mut scanner = Scanner::default();
        scanner.add_text("secret", SECRET);
        scanner.add_text("name", b"canary-of-letters");
        let report = scanner.scan_folder(folder.path());
        assert_eq!(report.files, 2);
        let found: Vec<&str> = report.finds.iter().map(|find| find.what.as_str()).collect();
        assert!(
            found.contains(&"secret as raw bytes") && found.contains(&"name as raw bytes"),
            "{found:?}"
        );
    }
}
