//! Reading the blocks of clusters, whole or by segment, while folds may replace them.

use super::access::Access;
use super::scratch::Scratch;
use crate::partition::{BlockRef, Directory};
use crate::storage::{Family, Pinned};
use sealdex_core::{BlockId, ClusterLabel, Generation};
use sealdex_crypto::{BlockAddress, BlockReader, Segment};
use sealdex_index::block::Identities;
use sealdex_index::codes::CodesView;
use sealdex_index::columns::Columns;
use sealdex_index::dataplane::{ClusterRows, ShardError};
use sealdex_index::quantiser::Codec;

/// Times that a list of blocks is read because one that it named was gone. A second reading sees what replaced it,
/// unless that was replaced meanwhile too.
const READINGS_MAX: usize = 8;

/// What to answer if a block does not open or parse.
pub(crate) const DAMAGED: ShardError = ShardError::Corrupt("block");

/// A block's place.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) generation: Generation,
    pub(crate) cluster: ClusterLabel,
    pub(crate) block: BlockId,
}

impl Access {
    /// Gets blocks with one look-up for all of them; `None` for one that is no longer there.
    pub(crate) fn get_blocks(&self, places: &[Place]) -> Result<Vec<Option<Pinned<'_>>>, ShardError> {
        let records = self.records();
        let key = |place: &Place| records.block(place.generation, &place.cluster, &place.block);
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_unstable_by_key(|n| (places[*n].generation, places[*n].cluster, places[*n].block));
        let keys: Vec<_> = order.iter().map(|n| key(&places[*n])).collect();
        let found = self.database.latest().get_many(Family::Blocks, &keys)?;
        let mut blocks: Vec<Option<Pinned<'_>>> = places.iter().map(|_| None).collect();
        for (n, block) in order.into_iter().zip(found) {
            blocks[n] = block;
        }
        Ok(blocks)
    }

    pub(crate) fn open_block<'a>(
        &'a self,
        place: Place,
        sealed: &'a [u8],
    ) -> Result<OpenBlock<'a>, ShardError> {
        let at = BlockAddress {
            label: place.cluster,
            generation: place.generation,
            block: place.block,
        };
        Ok(OpenBlock {
            reader: BlockReader::open(&self.keys, &at, sealed).map_err(|_| DAMAGED)?,
        })
    }
}

/// A block whose segments can be opened one by one.
pub(crate) struct OpenBlock<'a> {
    reader: BlockReader<'a>,
}

impl OpenBlock<'_> {
    pub(crate) fn codes<'b>(
        &self,
        codec: Codec,
        dimension: sealdex_core::Dimension,
        out: &'b mut Vec<u8>,
    ) -> Result<CodesView<'b>, ShardError> {
        self.reader.segment(Segment::Codes, out).map_err(|_| DAMAGED)?;
        let codes = CodesView::parse(codec, dimension, out).map_err(|_| DAMAGED)?;
        self.checked(codes.rows() as usize, codes)
    }

    pub(crate) fn identities<'b>(&self, out: &'b mut Vec<u8>) -> Result<Identities<'b>, ShardError> {
        self.reader
            .segment(Segment::Identities, out)
            .map_err(|_| DAMAGED)?;
        let identities = Identities::parse(out).map_err(|_| DAMAGED)?;
        self.checked(identities.len(), identities)
    }

    pub(crate) fn metadata<'b>(&self, out: &'b mut Vec<u8>) -> Result<Columns<'b>, ShardError> {
        self.reader.segment(Segment::Metadata, out).map_err(|_| DAMAGED)?;
        let columns = Columns::parse(out).map_err(|_| DAMAGED)?;
        self.checked(columns.rows() as usize, columns)
    }

    fn checked<S>(&self, rows: usize, segment: S) -> Result<S, ShardError> {
        if rows == self.reader.rows() as usize {
            Ok(segment)
        } else {
            Err(DAMAGED)
        }
    }
}

/// Runs `attempt` until it no longer finds a block missing (`None`). Lists of blocks have to be read inside of it.
pub(super) fn until_whole<R>(
    directory: &Directory,
    mut attempt: impl FnMut() -> Result<Option<R>, ShardError>,
) -> Result<R, ShardError> {
    for _ in 0..READINGS_MAX {
        if let Some(whole) = attempt()? {
            return Ok(whole);
        }
        directory.settle();
    }
    // The list goes on naming a block that is not there.
    Err(ShardError::Corrupt("block directory"))
}

/// The rows of all blocks of a cluster.
pub(crate) fn cluster_rows(
    access: &Access,
    generation: Generation,
    cluster: ClusterLabel,
) -> Result<ClusterRows, ShardError> {
    until_whole(&access.directory, || {
        access.directory.check_live(access.target.index, generation)?;
        let blocks = access.directory.blocks(access.target.index, generation, &cluster);
        read_rows(access, generation, cluster, &blocks)
    })
}

/// Blocks read at a time: bounds what is pinned in memory.
const BLOCKS_PER_READ: usize = 64;

fn read_rows(
    access: &Access,
    generation: Generation,
    cluster: ClusterLabel,
    blocks: &[BlockRef],
) -> Result<Option<ClusterRows>, ShardError> {
    let mut rows = Vec::with_capacity(blocks.iter().map(|block| block.rows as usize).sum());
    for blocks in blocks.chunks(BLOCKS_PER_READ) {
        let places: Vec<Place> = blocks
            .iter()
            .map(|block| Place {
                generation,
                cluster,
                block: block.id,
            })
            .collect();
        for (place, sealed) in places.iter().zip(access.get_blocks(&places)?) {
            let Some(sealed) = sealed else { return Ok(None) };
            Scratch::lend(|scratch| {
                rows.extend(
                    access
                        .open_block(*place, &sealed)?
                        .identities(&mut scratch.identities)?
                        .iter(),
                );
                Ok::<(), ShardError>(())
            })?;
        }
    }
    Ok(Some(ClusterRows {
        blocks: blocks.iter().map(|block| block.id).collect(),
        rows,
    }))
}
