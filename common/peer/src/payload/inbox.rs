//! What waits in an inbox, sealed as its writers left it.

use super::{MALFORMED, partition};
use bytes::Bytes;
use sealdex_core::{IndexId, ItemLabel, KeyEpoch, Op};
use sealdex_index::dataplane::{InboxReply, InboxRequest, SealedItem, ShardError, WaitingItem};
use sealdex_proto::shard as wire;

/// The question for an inbox.
pub fn inbox_request(request: &InboxRequest) -> wire::InboxRequest {
    wire::InboxRequest {
        index: request.index.0,
        partition: u32::from(request.partition.0),
        seen: request.seen,
    }
}

/// The question for an inbox, from its message.
pub fn read_inbox_request(message: &wire::InboxRequest) -> Result<InboxRequest, ShardError> {
    Ok(InboxRequest {
        partition: partition(message.partition)?,
        index: IndexId(message.index),
        seen: message.seen,
    })
}

/// What waits, as a message.
pub fn inbox_reply(reply: InboxReply) -> wire::InboxReply {
    let waiting = reply.waiting.into_iter().map(|item| wire::WaitingItem {
        label: Bytes::copy_from_slice(item.label.as_bytes()),
        op: Bytes::copy_from_slice(item.op.as_bytes()),
        arrival: item.arrival,
        item: item.sealed.map(|item| wire::SealedItem {
            epoch: item.epoch.0,
            sealed: item.sealed.into(),
        }),
    });
    wire::InboxReply {
        bytes: reply.bytes,
        arrivals: reply.arrivals,
        departed: reply.departed,
        waiting: waiting.collect(),
    }
}

/// What waits, from its message.
pub fn read_inbox_reply(message: wire::InboxReply) -> Result<InboxReply, ShardError> {
    let waiting = message.waiting.into_iter().map(|item| {
        Ok(WaitingItem {
            label: ItemLabel::from_slice(&item.label).ok_or(MALFORMED)?,
            op: Op::from_slice(&item.op).ok_or(MALFORMED)?,
            arrival: item.arrival,
            sealed: item.item.map(|item| SealedItem {
                epoch: KeyEpoch(item.epoch),
                sealed: item.sealed.into(),
            }),
        })
    });
    Ok(InboxReply {
        bytes: message.bytes,
        arrivals: message.arrivals,
        departed: message.departed,
        waiting: waiting.collect::<Result<_, ShardError>>()?,
    })
}
