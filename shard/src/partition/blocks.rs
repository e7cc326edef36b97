//! Appending and replacing blocks of rows, and storing pieces of a model. Nothing here is visible to a query by itself.

use super::changes::{Changes, Halt};
use super::directory::BlockRef;
use crate::storage::Family;
use sealdex_core::{BlobLabel, BlockId, ClusterLabel, Generation, IndexId};
use sealdex_index::dataplane::{Applied, ShardError};
use sealdex_proto::partition as wire;
use std::collections::HashSet;

/// Blocks with fewer rows than this are small: a quarter of the rows that a fold puts into one at least.
const SMALL_BLOCK_ROWS: u32 = 64;

/// Small blocks that a cluster may have before it is reported. Each costs a query a look-up and an opening of its own.
const SMALL_BLOCKS_MAX: usize = 8;

/// Adds blocks to clusters and reports those that are due for a fold.
pub(super) fn append(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::AppendBlocks,
) -> Result<Applied, Halt> {
    let generation = live_generation(changes, index, command.generation)?;
    let clusters = command
        .clusters
        .iter()
        .map(parse_cluster)
        .collect::<Result<Vec<_>, _>>()?;
    let mut applied = Applied::default();
    for (cluster, blocks) in clusters {
        let mut list = changes.blocks(index, generation, cluster);
        put(changes, index, generation, cluster, &mut list, &blocks);
        if list.iter().filter(|block| block.rows < SMALL_BLOCK_ROWS).count() > SMALL_BLOCKS_MAX {
            applied.crowded.push((generation, cluster));
        }
        changes.set_blocks(index, generation, cluster, list);
    }
    applied.crowded.sort_unstable();
    applied.crowded.dedup();
    Ok(applied)
}

/// Puts new blocks in the place of old ones. Refused if one of the old ones is gone: somebody else replaced it.
pub(super) fn replace(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::ReplaceBlocks,
) -> Result<Applied, Halt> {
    let generation = live_generation(changes, index, command.generation)?;
    let cluster = ClusterLabel::from_slice(&command.cluster).ok_or(ShardError::BadEntry("cluster label"))?;
    let new = command
        .new_blocks
        .iter()
        .map(parse_block)
        .collect::<Result<Vec<_>, _>>()?;
    let old = command
        .old_blocks
        .iter()
        .map(|id| BlockId::from_slice(id).ok_or(ShardError::BadEntry("block id")))
        .collect::<Result<HashSet<_>, _>>()?;
    if old.is_empty() {
        return Err(ShardError::BadEntry("blocks to replace").into());
    }
    let mut list = changes.blocks(index, generation, cluster);
    let before = list.len();
    list.retain(|block| !old.contains(&block.id));
    if before - list.len() != old.len() {
        return Err(ShardError::BlocksGone.into());
    }
    let keys = changes.keys(index);
    for id in old {
        let key = keys.block(generation, &cluster, &id);
        changes.batch.delete(Family::Blocks, &key);
        changes.batch.delete(Family::Directory, &key);
    }
    put(changes, index, generation, cluster, &mut list, &new);
    changes.set_blocks(index, generation, cluster, list);
    Ok(Applied::default())
}

/// Stores pieces of a generation's model, unless it is retired. An empty one removes what is there.
pub(super) fn put_blobs(
    changes: &mut Changes<'_>,
    index: IndexId,
    command: &wire::PutBlobs,
) -> Result<Applied, Halt> {
    // A model is stored before its generation begins: writers need it from the moment they have to write to it.
    let generation = Generation(command.generation);
    if changes.state(index)?.is_retired(generation) {
        return Err(ShardError::StaleGeneration.into());
    }
    let labels = command
        .blobs
        .iter()
        .map(|blob| BlobLabel::from_slice(&blob.label).ok_or(ShardError::BadEntry("blob label")))
        .collect::<Result<Vec<_>, _>>()?;
    let keys = changes.keys(index);
    for (label, blob) in labels.iter().zip(&command.blobs) {
        let key = keys.blob(generation, label);
        match blob.sealed.is_empty() {
            true => changes.batch.delete(Family::Blobs, &key),
            false => changes.batch.put(Family::Blobs, &key, &blob.sealed),
        }
    }
    Ok(Applied::default())
}

fn live_generation(changes: &Changes<'_>, index: IndexId, generation: u32) -> Result<Generation, ShardError> {
    let generation = Generation(generation);
    if changes.state(index)?.is_live(generation) {
        Ok(generation)
    } else {
        Err(ShardError::StaleGeneration)
    }
}

type NewBlock<'a> = (BlockRef, &'a [u8]);

fn parse_cluster(cluster: &wire::ClusterBlocks) -> Result<(ClusterLabel, Vec<NewBlock<'_>>), ShardError> {
    let label = ClusterLabel::from_slice(&cluster.cluster).ok_or(ShardError::BadEntry("cluster label"))?;
    Ok((
        label,
        cluster.blocks.iter().map(parse_block).collect::<Result<_, _>>()?,
    ))
}

fn parse_block(block: &wire::Block) -> Result<NewBlock<'_>, ShardError> {
    let id = BlockId::from_slice(&block.id).ok_or(ShardError::BadEntry("block id"))?;
    if block.rows == 0 {
        return Err(ShardError::BadEntry("rows of a block"));
    }
    let bytes = u32::try_from(block.sealed.len()).map_err(|_| ShardError::BadEntry("bytes of a block"))?;
    Ok((
        BlockRef {
            id,
            rows: block.rows,
            bytes,
        },
        &block.sealed,
    ))
}

/// Writes blocks and enters them into `list`, which stays in the order of ids. A block that is there already is the
/// same append again, and is put in its own place.
fn put(
    changes: &mut Changes<'_>,
    index: IndexId,
    generation: Generation,
    cluster: ClusterLabel,
    list: &mut Vec<BlockRef>,
    blocks: &[NewBlock<'_>],
) {
    let keys = changes.keys(index);
    for (block, sealed) in blocks {
        let key = keys.block(generation, &cluster, &block.id);
        changes.batch.put(Family::Blocks, &key, sealed);
        changes.batch.put(Family::Directory, &key, &block.encode());
        match list.binary_search_by_key(&block.id, |listed| listed.id) {
            Ok(place) => list[place] = *block,
            Err(place) => list.insert(place, *block),
        }
    }
}
