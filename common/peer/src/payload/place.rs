//! Where a call goes, and what applying an entry changed.

use super::MALFORMED;
use super::packed::{join, pack, split, unpack};
use bytes::Bytes;
use sealdex_core::{ClusterLabel, Generation, IndexId, KeyEpoch, PartitionId, ReadIndex};
use sealdex_index::dataplane::{Applied, Counted, ShardError, Target};
use sealdex_proto::shard as wire;

/// A target as a message.
pub fn target(target: &Target) -> wire::Target {
    wire::Target {
        index: target.index.0,
        epoch: target.epoch.0,
        other_epoch: target.other.map(|epoch| epoch.0),
        partition: u32::from(target.partition.0),
    }
}

/// A target from its message.
pub fn read_target(message: Option<&wire::Target>) -> Result<Target, ShardError> {
    let message = message.ok_or(MALFORMED)?;
    Ok(Target {
        index: IndexId(message.index),
        epoch: KeyEpoch(message.epoch),
        other: message.other_epoch.map(KeyEpoch),
        partition: partition(message.partition)?,
    })
}

/// A partition from its number.
pub fn partition(number: u32) -> Result<PartitionId, ShardError> {
    u16::try_from(number).map(PartitionId).map_err(|_| MALFORMED)
}

/// What an entry changed, as a message.
pub fn applied(applied: &Applied) -> wire::Applied {
    wire::Applied {
        created: applied.created,
        removed: applied.removed,
        orphaned: clusters(&applied.orphaned),
        crowded: clusters(&applied.crowded),
    }
}

/// What an entry changed, from its message.
pub fn read_applied(message: &wire::Applied) -> Result<Applied, ShardError> {
    Ok(Applied {
        created: message.created,
        removed: message.removed,
        orphaned: read_clusters(&message.orphaned)?,
        crowded: read_clusters(&message.crowded)?,
    })
}

/// A count, as a message.
pub fn counted(counted: Counted) -> wire::Counted {
    wire::Counted {
        items: counted.items,
        at: counted.at.0,
    }
}

/// A count, from its message.
pub fn read_counted(message: &wire::Counted) -> Counted {
    Counted {
        items: message.items,
        at: ReadIndex(message.at),
    }
}

fn clusters(clusters: &[(Generation, ClusterLabel)]) -> Bytes {
    pack(clusters.iter(), |(generation, label)| {
        join::<4, 16, 20>(generation.0.to_le_bytes(), label.0)
    })
}

fn read_clusters(packed: &[u8]) -> Result<Vec<(Generation, ClusterLabel)>, ShardError> {
    unpack(packed, |row| {
        let (generation, label) = split::<4, 16, 20>(row);
        Ok((Generation(u32::from_le_bytes(generation)), ClusterLabel(label)))
    })
}
