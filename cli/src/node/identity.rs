//! Who a node is, beside its data: written once, when it has joined, and never for another node. An empty data directory is a new node.

use crate::directory_lock::{DirectoryLock, DirectoryLockError};
use sealdex_core::{DeploymentId, NodeId};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
const FILE: &str = "node.json";

/// Why a data directory cannot be this node's. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The operating system refused.
    #[error("cannot use {}: {cause}; check that it exists or can be made, its permissions, and that its disk has room", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// The data directory cannot be taken, or another process has it.
    #[error(transparent)]
    Lock(#[from] DirectoryLockError),
    /// It is damaged or of a later version.
    #[error("{} is damaged or of a later version; start the version that wrote it, or empty the directory to join anew", .0.display())]
    Format(PathBuf),
    /// It belongs to another node.
    #[error("{} belongs to node '{found}', and this is '{wanted}'; give each node a data directory of its own", path.display())]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose.
        found: String,
        /// Who asks.
        wanted: String,
    },
}

/// A node that has joined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identified {
    pub(crate) deployment: DeploymentId,
    pub(crate) node: NodeId,
    pub(crate) partitions: u16,
}

/// The file. Everything that matters stands twice, so that a flipped bit is noticed.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    name: String,
    /// 32 hexadecimal digits, drawn before the node joined: asking twice from one disk gives one id.
    install: String,
    joined: Option<Joined>,
    again: Option<Joined>,
}

#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
struct Joined {
    deployment: String,
    node: u64,
    partitions: u16,
}

/// A data directory's claim to be a node. As long as it lives, no other process comes in.
pub(crate) struct NodeFile {
    path: PathBuf,
    written: Written,
    _lock: DirectoryLock,
}

impl NodeFile {
    /// Reads the file of node `name` in `folder`, or makes one for a node that has not joined yet.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        let refused = |cause| IdentityError::Io {
            path: folder.to_owned(),
            cause,
        };
        fs::create_dir_all(folder).map_err(refused)?;
        let lock = DirectoryLock::take(folder)?;
        match fs::read(&path) {
            Ok(bytes) => {
                let written: Written =
                    serde_json::from_slice(&bytes).map_err(|_| IdentityError::Format(path.clone()))?;
                if written.format != FORMAT || written.joined != written.again {
                    return Err(IdentityError::Format(path));
                }
                if written.name != name {
                    return Err(IdentityError::OtherNode {
                        path,
                        found: written.name,
                        wanted: name.to_owned(),
                    });
                }
                Ok(Self {
                    path,
                    written,
                    _lock: lock,
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let install = format!("{:032x}", u128::from_be_bytes(sealdex_crypto::random_16()));
                let written = Written {
                    format: FORMAT,
                    name: name.to_owned(),
                    install,
                    joined: None,
                    again: None,
                };
                let file = Self {
                    path,
                    written,
                    _lock: lock,
                };
                file.write().map_err(refused)?;
                Ok(file)
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// What the disk is known by.
    pub(crate) fn install(&self) -> Result<[u8; 16], IdentityError> {
        let install = u128::from_str_radix(&self.written.install, 16);
        install
            .map(u128::to_be_bytes)
            .map_err(|_| IdentityError::Format(self.path.clone()))
    }

    /// Who the node is, if it has joined.
    pub(crate) fn identified(&self) -> Result<Option<Identified>, IdentityError> {
        let Some(joined) = &self.written.joined else {
            return Ok(None);
        };
        let deployment = joined.deployment.parse();
        Ok(Some(Identified {
            deployment: deployment.map_err(|_| IdentityError::Format(self.path.clone()))?,
            node: NodeId(joined.node),
            partitions: joined.partitions,
        }))
    }

    /// Writes down who the node is from now on, durably.
    pub(crate) fn identify(&mut self, identified: Identified) -> Result<(), IdentityError> {
        let joined = Joined {
            deployment: identified.deployment.to_string(),
            node: identified.node.0,
            partitions: identified.partitions,
        };
        self.written.joined = Some(joined.clone());
        self.written.again = Some(joined);
        self.write().map_err(|cause| IdentityError::Io {
            path: self.path.clone(),
            cause,
        })
    }

    fn write(&self) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let unfinished = self.path.with_extension("json.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(&self.written)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTIFIED: Identified = Identified {
        deployment: DeploymentId([7; 16]),
        node: NodeId(9),
        partitions: 16,
    };

    #[test]
    fn a_directory_is_one_node_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = NodeFile::open(folder.path(), "shard-1").unwrap();
        assert_eq!(file.identified().unwrap(), None);
        let install = file.install().unwrap();
        file.identify(IDENTIFIED).unwrap();
        drop(file);
        let again = NodeFile::open(folder.path(), "shard-1").unwrap();
        assert_eq!(again.identified().unwrap(), Some(IDENTIFIED));
        assert_eq!(again.install().unwrap(), install);
        drop(again);
        let other = NodeFile::open(folder.path(), "shard-2");
        assert!(matches!(other, Err(IdentityError::OtherNode { .. })));
    }

    #[test]
    fn a_directory_is_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = NodeFile::open(folder.path(), "shard-1").unwrap();
        let second = NodeFile::open(folder.path(), "shard-1");
        assert!(matches!(second, Err(IdentityError::Lock(_))));
        drop(first);
        NodeFile::open(folder.path(), "shard-1").unwrap();
    }

    #[test]
    fn damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = NodeFile::open(folder.path(), "shard-1").unwrap();
        file.identify(IDENTIFIED).unwrap();
        drop(file);
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        for damaged in [text.replacen("\"node\": 9", "\"node\": 8", 1), "{".to_owned()] {
            assert_ne!(damaged, text);
            fs::write(&path, damaged).unwrap();
            assert!(matches!(
                NodeFile::open(folder.path(), "shard-1"),
                Err(IdentityError::Format(_))
            ));
        }
    }
}
