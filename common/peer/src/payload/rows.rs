//! Rows of clusters, whether they are current, and pieces of models.

use super::MALFORMED;
use super::packed::{pack, pack_writes, unpack, unpack_writes};
use bytes::Bytes;
use sealdex_core::{BlobLabel, BlockId, ClusterLabel, Generation, ItemLabel, Op};
use sealdex_index::dataplane::{ClusterRows, ShardError};
use sealdex_proto::shard as wire;

/// The question for a piece of a model.
pub fn blob_request(generation: Generation, label: &BlobLabel) -> wire::BlobRequest {
    wire::BlobRequest {
        generation: generation.0,
        label: Bytes::copy_from_slice(label.as_bytes()),
    }
}

/// The question for a piece of a model, from its message.
pub fn read_blob_request(message: &wire::BlobRequest) -> Result<(Generation, BlobLabel), ShardError> {
    let label = BlobLabel::from_slice(&message.label).ok_or(MALFORMED)?;
    Ok((Generation(message.generation), label))
}

/// A piece of a model, as a message.
pub fn blob_reply(sealed: Option<Vec<u8>>) -> wire::BlobReply {
    wire::BlobReply {
        sealed: sealed.map(Bytes::from),
    }
}

/// A piece of a model, from its message.
pub fn read_blob_reply(message: wire::BlobReply) -> Option<Vec<u8>> {
    message.sealed.map(Vec::from)
}

/// The question for a cluster's rows.
pub fn cluster_rows_request(generation: Generation, cluster: &ClusterLabel) -> wire::ClusterRowsRequest {
    wire::ClusterRowsRequest {
        generation: generation.0,
        cluster: Bytes::copy_from_slice(cluster.as_bytes()),
    }
}

/// The question for a cluster's rows, from its message.
pub fn read_cluster_rows_request(
    message: &wire::ClusterRowsRequest,
) -> Result<(Generation, ClusterLabel), ShardError> {
    let cluster = ClusterLabel::from_slice(&message.cluster).ok_or(MALFORMED)?;
    Ok((Generation(message.generation), cluster))
}

/// A cluster's rows, as a message.
pub fn cluster_rows(rows: &ClusterRows) -> wire::ClusterRowsReply {
    wire::ClusterRowsReply {
        blocks: pack_blocks(&rows.blocks),
        rows: pack_writes(&rows.rows),
    }
}

/// A cluster's rows, from their message.
pub fn read_cluster_rows(message: &wire::ClusterRowsReply) -> Result<ClusterRows, ShardError> {
    Ok(ClusterRows {
        blocks: unpack_blocks(&message.blocks)?,
        rows: unpack_writes(&message.rows)?,
    })
}

/// The question which rows are current.
pub fn current_request(rows: &[(ItemLabel, Op)]) -> wire::CurrentRequest {
    wire::CurrentRequest {
        rows: pack_writes(rows),
    }
}

/// The question which rows are current, from its message.
pub fn read_current_request(message: &wire::CurrentRequest) -> Result<Vec<(ItemLabel, Op)>, ShardError> {
    unpack_writes(&message.rows)
}

/// Which rows are current, as a message.
pub fn current_reply(current: &[bool]) -> wire::CurrentReply {
    wire::CurrentReply {
        current: pack(current.iter(), |current| [u8::from(*current)]),
    }
}

/// Which rows are current, from its message.
pub fn read_current_reply(message: &wire::CurrentReply) -> Result<Vec<bool>, ShardError> {
    unpack(&message.current, |[current]| match current {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(MALFORMED),
    })
}

pub(super) fn pack_blocks(blocks: &[BlockId]) -> Bytes {
    pack(blocks.iter(), |block| block.0)
}

pub(super) fn unpack_blocks(packed: &[u8]) -> Result<Vec<BlockId>, ShardError> {
    unpack(packed, |id| Ok(BlockId(*id)))
}
