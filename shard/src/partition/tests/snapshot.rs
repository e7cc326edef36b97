//! Snapshots: the state of the moment, whatever is written meanwhile, and a state elsewhere that is the same.

use super::*;
use sealdex_consensus::{SnapshotReader, StorageFault};

/// Chunks that were read before.
struct Chunks(std::vec::IntoIter<bytes::Bytes>);

impl SnapshotReader for Chunks {
    fn next_chunk(&mut self) -> Result<Option<bytes::Bytes>, StorageFault> {
        Ok(self.0.next())
    }
}

fn all(mut reader: Box<dyn SnapshotReader>) -> Vec<bytes::Bytes> {
    std::iter::from_fn(|| reader.next_chunk().unwrap()).collect()
}

/// Something of every kind, and a neighbour partition in the same database.
fn filled() -> Bench {
    let mut bench = Bench::new();
    bench.apply(vec![
        begin(1, 1),
        begin(2, 1),
        append(1, 1, 1, &[(1, 3), (2, 64)]),
        commit(1, vec![item(1, 1, &[(1, 1)], true), item(2, 1, &[(1, 1)], false)]),
        put_blobs(1, 1, &[1, 2]),
        delete(1, &[2]),
    ]);
    let mut neighbour = Partition::open(Arc::clone(&bench.open.as_ref().unwrap().0), PartitionId(3)).unwrap();
    let payload = begin(7, 1).encode_to_vec().into();
    let index = LogIndex(1);
    neighbour
        .apply(&[Entry { index, payload }], &Mark::at(index))
        .unwrap();
    bench
}

#[test]
fn an_installed_snapshot_is_the_state_of_its_moment() {
    let mut source = filled();
    let reader = source.partition().snapshot().unwrap();
    let expected: Vec<_> = Family::ALL.map(|family| source.records(family)).into();
    // After the snapshot, and not in it.
    source.apply(vec![put_blobs(1, 1, &[9]), begin(3, 1), delete(1, &[1])]);
    let chunks = all(reader);

    let mut target = Bench::new();
    target.apply(vec![begin(5, 1), put_blobs(5, 1, &[7])]);
    let mark = Mark::at(LogIndex(6));
    target
        .partition()
        .install(&mut Chunks(chunks.into_iter()), &mark)
        .unwrap();
    assert_eq!(target.applied(), LogIndex(6));
    target.check_directory();
    assert!(
        target
            .partition()
            .directory()
            .state(sealdex_core::IndexId(5))
            .is_none()
    );
    for (family, expected) in Family::ALL.into_iter().zip(expected) {
        let of_partition = |records: BTreeMap<Vec<u8>, Vec<u8>>| -> BTreeMap<_, _> {
            let mark = crate::storage::partition_key(PARTITION);
            records
                .into_iter()
                .filter(|(key, _)| key.starts_with(&mark) && *key != mark)
                .collect()
        };
        assert_eq!(of_partition(target.records(family)), of_partition(expected));
    }
    target.reopen();
    assert_eq!(target.applied(), LogIndex(6), "installed durably");
    assert_eq!(
        target.run(begin(1, 2)),
        Ok(Applied::default()),
        "and it goes on from there"
    );
}

#[test]
fn readers_are_told_while_a_snapshot_takes_the_place_of_records() {
    /// Looks at the partition in the middle of its installation.
    struct Looking(Chunks, Arc<crate::partition::Directory>);
    impl SnapshotReader for Looking {
        fn next_chunk(&mut self) -> Result<Option<bytes::Bytes>, StorageFault> {
            assert_eq!(self.1.edition(), None);
            self.0.next_chunk()
        }
    }
    let chunks = all(filled().partition().snapshot().unwrap());
    let mut target = Bench::new();
    let directory = target.partition().directory();
    let before = directory.edition();
    assert!(before.is_some());
    let mut looking = Looking(Chunks(chunks.into_iter()), Arc::clone(&directory));
    target
        .partition()
        .install(&mut looking, &Mark::at(LogIndex(6)))
        .unwrap();
    assert!(directory.edition() > before);
}

#[test]
fn half_of_a_snapshot_is_nothing() {
    let mut source = filled();
    let chunks = all(source.partition().snapshot().unwrap());
    /// Fails behind its chunks.
    struct Broken(std::vec::IntoIter<bytes::Bytes>);
    impl SnapshotReader for Broken {
        fn next_chunk(&mut self) -> Result<Option<bytes::Bytes>, StorageFault> {
            let reason = "the reader broke".to_owned();
            self.0.next().map(Some).ok_or(StorageFault { reason })
        }
    }
    let mut target = Bench::new();
    target.apply(vec![begin(5, 1)]);
    let mark = Mark::at(LogIndex(6));
    assert!(
        target
            .partition()
            .install(&mut Broken(chunks.into_iter()), &mark)
            .is_err()
    );
    target.reopen();
    assert!(target.partition().mark().is_none());
    assert!(target.records(Family::Blocks).is_empty() && target.partition().directory().indexes().is_empty());
}

#[test]
fn a_damaged_chunk_is_refused() {
    let mut source = filled();
    let chunk = all(source.partition().snapshot().unwrap()).concat();
    for cut in [1, 8, 9, 20, chunk.len() - 1] {
        let mut target = Bench::new();
        let chunks = vec![bytes::Bytes::copy_from_slice(&chunk[..cut])];
        let installed = target
            .partition()
            .install(&mut Chunks(chunks.into_iter()), &Mark::at(LogIndex(6)));
        assert!(installed.is_err(), "{cut}");
    }
}
