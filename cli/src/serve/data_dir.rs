//! The data directory of the embedded default: what lies where, and what was fixed when it was made.

use crate::directory_lock::{DirectoryLock, DirectoryLockError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// 1 had no log of its own.
const FORMAT: u32 = 2;
const PARTITIONS: u16 = 4;
const DESCRIPTION_FILE: &str = "sealdex.json";

/// Why a directory cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    /// The operating system refused.
    #[error(
        "cannot use {path} as data directory: {cause}; check that it exists or can be made, and its permissions"
    )]
    Io {
        /// The path.
        path: PathBuf,
        /// What was refused.
        cause: std::io::Error,
    },
    /// It cannot be taken, or another process has it.
    #[error(transparent)]
    Lock(#[from] DirectoryLockError),
    /// There is something, but not ours.
    #[error("{0} holds other files than Sealdex's; choose an empty --data-dir")]
    NotOurs(PathBuf),
    /// The description does not parse or is from a later version.
    #[error(
        "{0}/sealdex.json is damaged, or from a later version of Sealdex; restore it from a backup or start a newer version"
    )]
    Format(PathBuf),
    /// Another number of partitions was asked for.
    #[error("{path} has {has} partitions, which cannot be changed; leave --partitions out")]
    Partitions {
        /// The path.
        path: PathBuf,
        /// What it has.
        has: u16,
    },
}

/// Everything stands twice: a flipped bit in the number of partitions would otherwise send ids to the wrong ones, and
/// answers would be wrong without an error.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    partitions: u16,
    /// 16 random bytes in hexadecimal digits: names the deployment towards key providers.
    deployment: String,
    again: (u32, u16, String),
}

impl Description {
    fn new(partitions: u16) -> std::io::Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(std::io::Error::other)?;
        let deployment = format!("{:032x}", u128::from_be_bytes(id));
        Ok(Self {
            format: FORMAT,
            partitions,
            again: (FORMAT, partitions, deployment.clone()),
            deployment,
        })
    }

    fn id(&self) -> Option<[u8; 16]> {
        let digits = Some(&self.deployment).filter(|text| text.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
    }

    fn is_whole(&self) -> bool {
        let (format, partitions, deployment) = &self.again;
        (self.format, self.partitions, &self.deployment) == (*format, *partitions, deployment)
            && self.format == FORMAT
    }
}

/// A directory that is ours and whose format we know.
pub(crate) struct DataDir {
    path: PathBuf,
    partitions: u16,
    deployment: [u8; 16],
    _lock: DirectoryLock,
}

impl DataDir {
    /// Opens the directory, or makes a new one with `partitions` partitions.
    pub(crate) fn open(path: &Path, partitions: Option<u16>) -> Result<Self, DataDirError> {
        let refused = |cause| DataDirError::Io {
            path: path.to_owned(),
            cause,
        };
        fs::create_dir_all(path).map_err(refused)?;
        let lock = DirectoryLock::take(path)?;
        let file = path.join(DESCRIPTION_FILE);
        let description: Description = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| DataDirError::Format(path.to_owned()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if fs::read_dir(path)
                    .map_err(refused)?
                    .any(|entry| entry.is_ok_and(|e| e.file_name() != *unfinished()))
                {
                    return Err(DataDirError::NotOurs(path.to_owned()));
                }
                let made = Description::new(partitions.unwrap_or(PARTITIONS)).map_err(refused)?;
                write_durably(path, &file, &made).map_err(refused)?;
                made
            }
            Err(error) => return Err(refused(error)),
        };
        let deployment = description
            .id()
            .filter(|_| description.is_whole())
            .ok_or_else(|| DataDirError::Format(path.to_owned()))?;
        let has = description.partitions;
        if partitions.is_some_and(|asked| asked != has) {
            return Err(DataDirError::Partitions {
                path: path.to_owned(),
                has,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            partitions: has,
            deployment,
            _lock: lock,
        })
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many partitions it was made with.
    pub(crate) fn partitions(&self) -> u16 {
        self.partitions
    }

    /// What names the deployment towards key providers; fixed when the directory was made.
    pub(crate) fn deployment(&self) -> [u8; 16] {
        self.deployment
    }

    /// Where the log of all groups is.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the catalogue is.
    pub(crate) fn catalog(&self) -> PathBuf {
        self.path.join("catalog")
    }

    /// Where the shard's storage is.
    pub(crate) fn shard(&self) -> PathBuf {
        self.path.join("shard")
    }
}

fn unfinished() -> String {
    format!("{DESCRIPTION_FILE}.new")
}

/// Written under another name and moved, so that a crash leaves a whole description or none.
fn write_durably(directory: &Path, file: &Path, description: &Description) -> std::io::Result<()> {
    let new = directory.join(unfinished());
    let mut out = fs::File::create(&new)?;
    out.write_all(&serde_json::to_vec(description)?)?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_fixed_when_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::open(dir.path(), Some(7)).unwrap().partitions(), 7);
        let again = DataDir::open(dir.path(), None).unwrap();
        assert_eq!(again.partitions(), 7);
        let deployment = again.deployment();
        drop(again);
        assert_eq!(deployment, DataDir::open(dir.path(), None).unwrap().deployment());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(
            deployment,
            DataDir::open(other.path(), None).unwrap().deployment()
        );
        assert!(matches!(
            DataDir::open(dir.path(), Some(4)),
            Err(DataDirError::Partitions { has: 7, .. })
        ));
    }

    #[test]
    fn it_belongs_to_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), None).unwrap();
        let refused = DataDir::open(dir.path(), None).err().unwrap();
        assert!(matches!(refused, DataDirError::Lock(_)), "{refused}");
        drop(first);
        DataDir::open(dir.path(), None).unwrap();
    }

    /// A description whose repetition says another digit or number.
    fn written(format: u32, partitions: u16, digit: &str, again: u16) -> String {
        let (id, other) = ("0".repeat(32), digit.repeat(32));
        format!(
            r#"{{"format":{format},"partitions":{partitions},"deployment":"{id}","again":[{format},{again},"{other}"]}}"#
        )
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), None),
            Err(DataDirError::NotOurs(_))
        ));
        for text in [
            &written(3, 4, "0", 4),
            &written(2, 5, "0", 4),
            &written(2, 4, "1", 4),
            &written(2, 4, "x", 4).replace('0', "x"),
            "{",
        ] {
            fs::write(dir.path().join(DESCRIPTION_FILE), text).unwrap();
            assert!(matches!(
                DataDir::open(dir.path(), None),
                Err(DataDirError::Format(_))
            ));
        }
    }
}
