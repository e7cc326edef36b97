//! A shard node: sealed records of its partitions, and what is read from them under a lease.
//!
//! - **Zone C**, `storage` and `partition`: ciphertext on disk and the log that changes it. Could not open a record.
//! - **Zone K**, `lease` and `session`: the keys lent to this node, for a minute after their last use.
//! - **Zone P**, `scan` and `maintenance`: records are opened for the length of one request.
//!
//! This crate must never know an index's name, an item's home, a client or a route: whoever asks has found out which
//! partition to ask. It depends on the common crates and on no coordinator; the `cli` joins the two in one process.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod agent;
pub mod api;
mod lease;
mod maintenance;
mod node;
mod partition;
mod pool;
mod replica;
mod scan;
mod session;
mod storage;

pub use agent::{Agent, Run};
pub use node::{Node, Options};
pub use replica::Origin;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
            .collect()
    }

    /// The zones are modules of one crate, so no dependency list keeps them apart.
    #[test]
    fn zones_keep_apart() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = sources(&root);
        assert!(files.len() > 20);
        for file in files.iter().filter(|file| **file != root.join("lib.rs")) {
            let text = fs::read_to_string(file).unwrap();
            let in_storage = file.starts_with(root.join("storage"));
            assert!(
                in_storage || !text.contains("rocksdb::"),
                "{file:?} names RocksDB"
            );
            if in_storage || file.starts_with(root.join("partition")) {
                for other in [
                    "sealdex_crypto",
                    "crate::scan",
                    "crate::lease",
                    "crate::session",
                    "crate::maintenance",
                ] {
                    assert!(
                        !text.contains(other),
                        "{file:?} is sealed storage and names {other}"
                    );
                }
            }
        }
    }
}
