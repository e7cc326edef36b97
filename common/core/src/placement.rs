//! Which partition a label belongs to. The mapping is part of the stored format: changing it loses rows.

use crate::{BlobLabel, ClusterLabel, ItemLabel, PartitionId};
use hashring::HashRing;
use std::hash::{Hash, Hasher};

/// Points of each partition on the ring. Enough that the fullest of 16 partitions holds about a fifth more than the mean.
const POINTS_PER_PARTITION: u16 = 128;

/// Consistent hashing of labels to the partitions of a deployment (Karger et al., 1997, through `hashring`).
#[derive(Clone)]
pub struct Placement {
    ring: HashRing<Point>,
    partitions: u16,
}

#[derive(Clone, Copy)]
struct Point {
    partition: u16,
    replica: u16,
}

/// Hashes the bytes alone. The standard library's implementations prefix lengths in the machine's word size.
impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.partition.to_be_bytes());
        state.write(&self.replica.to_be_bytes());
    }
}

struct Bytes<'a>(&'a [u8; 16]);

impl Hash for Bytes<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

impl Placement {
    /// The ring of a deployment with `partitions` partitions, at least one.
    pub fn new(partitions: u16) -> Self {
        let partitions = partitions.max(1);
        let mut ring = HashRing::new();
        ring.batch_add(
            (0..partitions)
                .flat_map(|partition| {
                    (0..POINTS_PER_PARTITION).map(move |replica| Point { partition, replica })
                })
                .collect(),
        );
        Self { ring, partitions }
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions).map(PartitionId)
    }

    /// Where an item has its home.
    pub fn of_item(&self, label: &ItemLabel) -> PartitionId {
        self.of(label.as_bytes())
    }

    /// Where a cluster's blocks are.
    pub fn of_cluster(&self, label: &ClusterLabel) -> PartitionId {
        self.of(label.as_bytes())
    }

    /// Where a piece of a generation's model is.
    pub fn of_blob(&self, label: &BlobLabel) -> PartitionId {
        self.of(label.as_bytes())
    }

    fn of(&self, label: &[u8; 16]) -> PartitionId {
        let point = self
            .ring
            .get(&Bytes(label))
            .expect("the ring has at least one point");
        PartitionId(point.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(n: u32) -> impl Iterator<Item = ItemLabel> {
        (0..n).map(|i| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&i.to_be_bytes());
            ItemLabel(bytes)
        })
    }

    #[test]
    fn the_mapping_never_changes() {
        let placement = Placement::new(4);
        let seen: Vec<u16> = labels(16).map(|label| placement.of_item(&label).0).collect();
        assert_eq!(seen, GOLDEN);
    }

    const GOLDEN: [u16; 16] = [1, 2, 1, 0, 2, 0, 1, 1, 0, 0, 1, 2, 0, 3, 2, 0];

    #[test]
    fn partitions_are_filled_evenly() {
        let placement = Placement::new(16);
        let mut filled = [0u32; 16];
        for label in labels(64_000) {
            filled[placement.of_item(&label).0 as usize] += 1;
        }
        assert!(filled.iter().all(|&n| (2_400..6_000).contains(&n)), "{filled:?}");
    }
}
