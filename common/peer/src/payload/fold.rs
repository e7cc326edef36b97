//! Maintenance: folds, and sealing again under another key epoch.

use super::MALFORMED;
use super::packed::{join, pack_writes, split, unpack_writes};
use super::rows::{pack_blocks, unpack_blocks};
use bytes::Bytes;
use sealdex_core::{BlockId, ClusterLabel, Dimension, Generation, ItemLabel};
use sealdex_index::dataplane::{FoldRequest, ResealPlace, ResealRequest, Resealed, ShardError, Target};
use sealdex_index::quantiser::Codec;
use sealdex_proto::shard as wire;
use wire::reseal_place::Place;

/// A fold, without its target.
pub fn fold_request(request: &FoldRequest) -> wire::FoldRequest {
    wire::FoldRequest {
        generation: request.generation.0,
        cluster: Bytes::copy_from_slice(request.cluster.as_bytes()),
        blocks: pack_blocks(&request.blocks),
        dead: pack_writes(&request.dead),
        codec: u32::from(request.codec.to_byte()),
        dimension: request.dimension.get() as u32,
    }
}

/// A fold at `target`, from its message.
pub fn read_fold_request(target: Target, message: &wire::FoldRequest) -> Result<FoldRequest, ShardError> {
    let codec = u8::try_from(message.codec).ok().and_then(Codec::from_byte);
    Ok(FoldRequest {
        target,
        generation: Generation(message.generation),
        cluster: ClusterLabel::from_slice(&message.cluster).ok_or(MALFORMED)?,
        blocks: unpack_blocks(&message.blocks)?,
        dead: unpack_writes(&message.dead)?,
        codec: codec.ok_or(MALFORMED)?,
        dimension: Dimension::new(u64::from(message.dimension)).map_err(|_| MALFORMED)?,
    })
}

/// Where to seal again, without the target.
pub fn reseal_request(request: &ResealRequest) -> wire::ResealPlace {
    place(&request.from)
}

/// Where to seal again at `target`, from its message.
pub fn read_reseal_request(target: Target, message: &wire::ResealPlace) -> Result<ResealRequest, ShardError> {
    Ok(ResealRequest {
        target,
        from: read_place(message)?,
    })
}

/// How far it came, as a message.
pub fn resealed(resealed: &Resealed) -> wire::ResealReply {
    wire::ResealReply {
        looked_at: resealed.looked_at,
        bytes: resealed.bytes,
        next: resealed.next.as_ref().map(place),
    }
}

/// How far it came, from its message.
pub fn read_resealed(message: &wire::ResealReply) -> Result<Resealed, ShardError> {
    Ok(Resealed {
        looked_at: message.looked_at,
        bytes: message.bytes,
        next: message.next.as_ref().map(read_place).transpose()?,
    })
}

fn place(place: &ResealPlace) -> wire::ResealPlace {
    let place = match place {
        ResealPlace::Items(behind) => Place::Items(wire::ItemsPlace {
            behind: behind.map(|label| Bytes::copy_from_slice(label.as_bytes())),
        }),
        ResealPlace::Blocks(generation, behind) => Place::Blocks(wire::BlocksPlace {
            generation: generation.0,
            behind: behind
                .map(|(cluster, block)| Bytes::copy_from_slice(&join::<16, 16, 32>(cluster.0, block.0))),
        }),
    };
    wire::ResealPlace { place: Some(place) }
}

fn read_place(message: &wire::ResealPlace) -> Result<ResealPlace, ShardError> {
    match message.place.as_ref().ok_or(MALFORMED)? {
        Place::Items(items) => {
            let label = |bytes: &Bytes| ItemLabel::from_slice(bytes).ok_or(MALFORMED);
            Ok(ResealPlace::Items(items.behind.as_ref().map(label).transpose()?))
        }
        Place::Blocks(blocks) => {
            let behind = |bytes: &Bytes| {
                let row: &[u8; 32] = bytes.as_ref().try_into().map_err(|_| MALFORMED)?;
                let (cluster, block) = split::<16, 16, 32>(row);
                Ok((ClusterLabel(cluster), BlockId(block)))
            };
            let behind = blocks.behind.as_ref().map(behind).transpose()?;
            Ok(ResealPlace::Blocks(Generation(blocks.generation), behind))
        }
    }
}
