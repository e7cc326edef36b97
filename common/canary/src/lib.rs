//! Looks for secrets in bytes: every place where a run of a secret stands, in any form that a program might by mistake write.
//!
//! A text is looked for raw, as UTF-16 of both endiannesses, in hex of both cases and in both base64 alphabets at their three
//! alignments; any [`RUN_BYTES`] bytes of a form count. A vector is looked for as float16, float32 and float64 of both endiannesses,
//! any [`vector_run_bytes`] in a row, and number by number as decimal text. Knows bytes and files; nothing of whose secrets they are.

mod filter;
mod forms;

pub use forms::{forms, vector_forms};

use filter::Filter;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A run of so many bytes of a text's form is a find. Shorter runs would turn up in random bytes by chance.
pub const RUN_BYTES: usize = 12;

/// A run of so many bytes of a vector's form, whose numbers have `number_bytes` each, is a find: at least 8, and two
/// numbers. One float64 alone is too little, for that of a float32 ends in 29 zero bits, and a few random bytes before
/// or after zeros are nothing rare: every stored key with a small number in it has them.
pub fn vector_run_bytes(number_bytes: usize) -> usize {
    (2 * number_bytes).max(8)
}

/// A number's decimal text is looked for if it is at least so long.
const DECIMAL_BYTES_MIN: usize = 10;

/// What stands more often in one file is told so often.
const FINDS_PER_FILE_MAX: usize = 5;

/// A file is read in pieces of so many bytes.
const PIECE_BYTES: usize = 4 << 20;

/// The secrets to look for.
#[derive(Default)]
pub struct Scanner {
    /// Needles by their first eight bytes: what follows these, and which secret it is.
    needles: HashMap<u64, Vec<(Vec<u8>, u32)>>,
    /// One bit per hash of eight bytes that some needle begins with, so that most offsets cost one look.
    filter: Filter,
    names: Vec<String>,
    needle_bytes_max: usize,
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
            for run in bytes.windows(vector_run_bytes(step)).step_by(step) {
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

    /// The secrets that stand in any file of `folder`, or in its name. A file that is deleted meanwhile is left out; one that
    /// cannot be read is an error, which names it.
    pub fn scan_folder(&self, folder: &Path) -> io::Result<Report> {
        let mut report = Report::default();
        for file in files_under(folder)? {
            self.scan_file(&file, &mut report)?;
        }
        Ok(report)
    }

    /// Adds to `report` what stands in a file or in its name.
    pub fn scan_file(&self, path: &Path, report: &mut Report) -> io::Result<()> {
        let (bytes, finds) = match self.read(path) {
            Ok(found) => found,
            // A running server deletes files that it has rewritten.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(named(path, error)),
        };
        report.files += 1;
        report.bytes += bytes;
        let name = path.to_string_lossy().into_owned().into_bytes();
        for mut find in self.scan(&name, 1).into_iter().chain(finds) {
            find.file = path.to_owned();
            report.finds.push(find);
        }
        Ok(())
    }

    /// How many bytes a file has, and what stands in them.
    fn read(&self, path: &Path) -> io::Result<(u64, Vec<Find>)> {
        let mut file = File::open(path)?;
        let overlap = self.needle_bytes_max.saturating_sub(1);
        let mut window = Vec::with_capacity(PIECE_BYTES + overlap);
        let (mut bytes, mut finds) = (0, Vec::new());
        loop {
            let before = bytes - window.len();
            let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut window)?;
            bytes += read;
            // What begins near the end of a piece may end in the next, and is looked at there.
            let judged = match read {
                0 => window.len(),
                _ => window.len().saturating_sub(overlap),
            };
            for mut find in self.scan(&window, FINDS_PER_FILE_MAX - finds.len()) {
                if find.offset < judged {
                    find.offset += before;
                    finds.push(find);
                }
            }
            if read == 0 || finds.len() >= FINDS_PER_FILE_MAX {
                return Ok((bytes as u64, finds));
            }
            window.drain(..judged);
        }
    }

    /// How many patterns are looked for.
    pub fn patterns(&self) -> usize {
        self.needles.values().map(Vec::len).sum()
    }

    fn name(&mut self, name: String) -> u32 {
        self.names.push(name);
        self.names.len() as u32 - 1
    }

    fn add(&mut self, needle: &[u8], name: u32) {
        self.needle_bytes_max = self.needle_bytes_max.max(needle.len());
        let (first, rest) = needle.split_at(8);
        let first = u64::from_le_bytes(first.try_into().expect("split at eight bytes"));
        let same_start = self.needles.entry(first).or_default();
        if !same_start.iter().any(|(known, _)| known == rest) {
            same_start.push((rest.to_vec(), name));
        }
        self.filter.add(first);
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Every file under `folder`, however deep, in order.
pub fn files_under(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    let mut seen = HashSet::new();
    while let Some(next) = folders.pop() {
        if !seen.insert(next.clone()) {
            continue;
        }
        for entry in std::fs::read_dir(&next).map_err(|error| named(&next, error))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
