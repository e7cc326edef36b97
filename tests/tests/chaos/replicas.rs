//! Whether the replicas of a partition are alike: every record that shard nodes have stored of it, byte by byte. Nodes that were stopped
//! have all of it in tables; what differs rightly is how far a replica has come in its log, which is left out.

use rocksdb::{DB, IteratorMode, Options};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// What was compared.
#[derive(Default)]
pub(crate) struct Compared {
    partitions: usize,
    replicas: usize,
    records: usize,
    /// Partitions whose replicas are not alike, and how they differ.
    pub(crate) differ: Vec<String>,
}

/// All that one node has of one partition.
#[derive(Default)]
struct Replica {
    digest: DefaultHasher,
    records: usize,
}

/// The size of the key under which a partition notes its place in the log: its number alone.
const MARK_KEY_BYTES: usize = 2;

/// Compares what the nodes with these data directories, none of which runs, have of each partition.
pub(crate) fn compare(nodes: &[(String, PathBuf)]) -> Result<Compared, String> {
    let mut partitions: BTreeMap<u16, Vec<(&str, Replica)>> = BTreeMap::new();
    for (name, folder) in nodes {
        let replicas = read(&folder.join("shard/db")).map_err(|error| format!("{name}: {error}"))?;
        for (partition, replica) in replicas {
            partitions.entry(partition).or_default().push((name, replica));
        }
    }
    let mut compared = Compared::default();
    for (partition, replicas) in &partitions {
        compared.partitions += 1;
        compared.replicas += replicas.len();
        compared.records += replicas.iter().map(|(_, replica)| replica.records).sum::<usize>();
        let told: Vec<String> = replicas
            .iter()
            .map(|(name, replica)| format!("{name} {:x} of {}", replica.digest.finish(), replica.records))
            .collect();
        let first = replicas[0].1.digest.finish();
        if replicas
            .iter()
            .any(|(_, replica)| replica.digest.finish() != first)
        {
            compared
                .differ
                .push(format!("partition {partition}: {}", told.join(", ")));
        }
    }
    Ok(compared)
}

fn read(path: &Path) -> Result<BTreeMap<u16, Replica>, rocksdb::Error> {
    let options = Options::default();
    let families = DB::list_cf(&options, path)?;
    let database = DB::open_cf_for_read_only(&options, path, &families, false)?;
    let mut replicas: BTreeMap<u16, Replica> = BTreeMap::new();
    for family in &families {
        let Some(handle) = database.cf_handle(family) else {
            continue;
        };
        for record in database.iterator_cf(handle, IteratorMode::Start) {
            let (key, value) = record?;
            // The node's own record has a shorter key.
            let Some(partition) = key.first_chunk().copied().map(u16::from_be_bytes) else {
                continue;
            };
            let replica = replicas.entry(partition).or_default();
            if key.len() > MARK_KEY_BYTES {
                (family, &key, &value).hash(&mut replica.digest);
                replica.records += 1;
            }
        }
    }
    Ok(replicas)
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} replicas of {} partitions with {} records compared byte by byte: {} partitions differ",
            self.replicas,
            self.partitions,
            self.records,
            self.differ.len()
        )
    }
}
