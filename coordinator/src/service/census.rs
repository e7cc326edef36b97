//! How many items an index has, and as of when: the majority of every partition has confirmed how much of its log a reader must see. One
//! request confirms it once, and passes it on with what it asks next.

use super::{OpenIndex, Service, ServiceError};
use futures_util::future::try_join_all;
use sealdex_core::{PartitionId, ReadIndex};
use sealdex_index::dataplane::Counted;

/// One look at all partitions, good for the request that took it.
pub(crate) struct Census {
    /// By partition number.
    partitions: Vec<Counted>,
}

impl Census {
    /// Items in the index.
    pub(crate) fn items(&self) -> u64 {
        self.partitions.iter().map(|counted| counted.items).sum()
    }

    /// How much of a partition's log was confirmed.
    pub(crate) fn at(&self, partition: PartitionId) -> ReadIndex {
        self.partitions[usize::from(partition.0)].at
    }
}

impl Service {
    /// Everything that was acknowledged before this was called is counted.
    pub(crate) async fn census(&self, index: &OpenIndex) -> Result<Census, ServiceError> {
        self.current_record(index)?;
        let counts = self
            .fanout
            .placement
            .partitions()
            .map(|partition| self.fanout.shards.count(partition, index.record.id));
        let partitions = try_join_all(counts).await?;
        Ok(Census { partitions })
    }
}
