//! What a data directory was made for. A directory that does not fit is refused before anything in it is touched.

use super::{Database, Family, NODE_KEY};
use sealdex_index::dataplane::ShardError;

/// The format of keys and records in all families. 1 had a log of its own.
const FORMAT: u8 = 2;

/// Claims an empty database for `partitions` partitions, or checks that it is theirs.
pub(crate) fn claim(database: &Database, partitions: u16) -> Result<(), ShardError> {
    let [high, low] = partitions.to_be_bytes();
    let ours = [FORMAT, high, low];
    match database.latest().get(Family::State, &NODE_KEY)?.as_deref() {
        Some(stored) if *stored == ours => Ok(()),
        Some(&[FORMAT, high, low]) => Err(ShardError::Storage(format!(
            "the data directory has {} partitions, not {partitions}; their number is fixed when it is created",
            u16::from_be_bytes([high, low])
        ))),
        Some(_) => Err(ShardError::Storage(
            "the data directory is of another version; use the release that wrote it, or a later one"
                .to_owned(),
        )),
        None => {
            let mut batch = database.batch();
            batch.put(Family::State, &NODE_KEY, &ours);
            database
                .commit(batch.finish())
                .map_err(|fault| ShardError::Storage(fault.reason))?;
            database.flush()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_consensus::Space;
    use std::sync::Arc;

    #[test]
    fn the_number_of_partitions_is_fixed() {
        let directory = tempfile::tempdir().unwrap();
        let space = Arc::new(Space::open(directory.path(), Some(0)).unwrap());
        let database = Database::open(directory.path(), 1 << 20, 2, space).unwrap();
        claim(&database, 4).unwrap();
        claim(&database, 4).unwrap();
        assert!(
            matches!(claim(&database, 16), Err(ShardError::Storage(text)) if text.contains("4 partitions"))
        );
        let mut batch = database.batch();
        batch.put(Family::State, &NODE_KEY, &[FORMAT + 1, 0, 4]);
        database.commit(batch.finish()).unwrap();
        assert!(
            matches!(claim(&database, 4), Err(ShardError::Storage(text)) if text.contains("another version"))
        );
    }
}
