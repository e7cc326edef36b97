//! Folding: rows of small or half-dead blocks are written again as few well-filled blocks. Zone P while it lasts; what
//! comes out is sealed.

use crate::scan::{Access, DAMAGED, Place, Scratch};
use crate::storage::Pinned;
use sealdex_core::{BlockId, ItemLabel, Op};
use sealdex_crypto::{BlockAddress, random_16, seal_block};
use sealdex_index::block::{BlockBuilder, BlockSegments, rows_per_block};
use sealdex_index::dataplane::{FoldRequest, ShardError};
use sealdex_proto::partition as wire;
use std::collections::HashSet;

/// Bytes after which a block is full in any case: rows may have long metadata.
const BLOCK_BYTES: usize = 2 * 1024 * 1024;

/// Rewrites the request's blocks, but for those that are well filled already and have lost no row. `None` if that
/// leaves nothing to do.
pub(crate) fn fold(
    access: &Access,
    request: &FoldRequest,
) -> Result<Option<wire::ReplaceBlocks>, ShardError> {
    access
        .directory
        .check_live(access.target.index, request.generation)?;
    let places: Vec<Place> = request
        .blocks
        .iter()
        .map(|block| place(request, *block))
        .collect();
    let sealed = access
        .get_blocks(&places)?
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or(ShardError::BlocksGone)?;
    let old = Scratch::lend(|scratch| {
        let mut old = sealed
            .iter()
            .zip(&places)
            .map(|(sealed, place)| OldBlock::open(access, *place, sealed, scratch))
            .collect::<Result<Vec<_>, _>>()?;
        mark_live(&mut old, &request.dead);
        Ok::<_, ShardError>(old)
    })?;
    let rows_target = rows_per_block(request.codec.row_bytes(request.dimension));
    let old: Vec<OldBlock<'_>> = old
        .into_iter()
        .filter(|block| !block.is_good(rows_target))
        .collect();
    if old.is_empty() || matches!(&old[..], [only] if only.lost == 0) {
        return Ok(None);
    }
    let new_blocks = Scratch::lend(|scratch| rewrite(access, request, &old, rows_target, scratch))?;
    Ok(Some(wire::ReplaceBlocks {
        generation: request.generation.0,
        cluster: request.cluster.0.to_vec().into(),
        old_blocks: old
            .iter()
            .map(|block| block.place.block.0.to_vec().into())
            .collect(),
        new_blocks,
    }))
}

/// A block to be folded.
struct OldBlock<'a> {
    place: Place,
    sealed: &'a [u8],
    rows: Vec<(ItemLabel, Op)>,
    /// Which of `rows` are to be kept.
    live: Vec<bool>,
    /// How many are not.
    lost: usize,
}

impl<'a> OldBlock<'a> {
    fn open(
        access: &Access,
        place: Place,
        sealed: &'a Pinned<'_>,
        scratch: &mut Scratch,
    ) -> Result<Self, ShardError> {
        let block = access.open_block(place, sealed)?;
        let rows: Vec<_> = block.identities(&mut scratch.identities)?.iter().collect();
        Ok(Self {
            place,
            sealed,
            live: vec![true; rows.len()],
            lost: 0,
            rows,
        })
    }

    fn is_good(&self, rows_target: usize) -> bool {
        self.lost == 0 && 2 * self.rows.len() >= rows_target
    }

    fn live_rows(&self) -> usize {
        self.rows.len() - self.lost
    }
}

/// Marks rows that are dead, and all but one of those that are the same. Of two blocks with the same row the smaller
/// one loses it, so that large ones stay as they are.
fn mark_live(blocks: &mut [OldBlock<'_>], dead: &[(ItemLabel, Op)]) {
    let mut left_out: HashSet<(ItemLabel, Op)> = dead.iter().copied().collect();
    blocks.sort_by_key(|block| std::cmp::Reverse(block.rows.len()));
    for block in blocks {
        for (row, live) in block.rows.iter().zip(&mut block.live) {
            *live = left_out.insert(*row);
            block.lost += usize::from(!*live);
        }
    }
}

fn rewrite(
    access: &Access,
    request: &FoldRequest,
    old: &[OldBlock<'_>],
    rows_target: usize,
    scratch: &mut Scratch,
) -> Result<Vec<wire::Block>, ShardError> {
    let rows: usize = old.iter().map(OldBlock::live_rows).sum();
    // Blocks of equal size rather than full ones and a rest.
    let rows_each = rows.div_ceil(rows.div_ceil(rows_target).max(1));
    let mut new = Vec::new();
    let mut builder = BlockBuilder::new(request.codec, request.dimension);
    for block in old {
        let open = access.open_block(block.place, block.sealed)?;
        let codes = open.codes(request.codec, request.dimension, &mut scratch.codes)?;
        let metadata = open.metadata(&mut scratch.metadata)?;
        for (n, (label, op)) in (0..).zip(&block.rows) {
            if !block.live[n as usize] {
                continue;
            }
            codes.row_code(n, &mut scratch.record);
            builder.push(
                *label,
                *op,
                &scratch.record,
                &metadata.get(n).map_err(|_| DAMAGED)?,
            );
            if builder.rows() as usize >= rows_each || builder.bytes() >= BLOCK_BYTES {
                let full =
                    std::mem::replace(&mut builder, BlockBuilder::new(request.codec, request.dimension));
                new.push(seal(access, request, &full.finish()));
            }
        }
    }
    if builder.rows() > 0 {
        new.push(seal(access, request, &builder.finish()));
    }
    Ok(new)
}

fn seal(access: &Access, request: &FoldRequest, block: &BlockSegments) -> wire::Block {
    let id = BlockId(random_16());
    let at = BlockAddress {
        label: request.cluster,
        generation: request.generation,
        block: id,
    };
    let segments = [block.codes.as_slice(), &block.identities, &block.metadata];
    let sealed = seal_block(&access.keys, &at, block.rows, segments);
    wire::Block {
        id: id.0.to_vec().into(),
        rows: block.rows,
        sealed: sealed.into(),
    }
}

fn place(request: &FoldRequest, block: BlockId) -> Place {
    Place {
        generation: request.generation,
        cluster: request.cluster,
        block,
    }
}
