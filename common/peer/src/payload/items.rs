//! Opened items: fetched by label, or walked through in order.

use super::MALFORMED;
use super::packed::{join, pack, pack_floats, split, unpack, unpack_floats};
use super::scan::{precision, read_precision};
use bytes::Bytes;
use sealdex_core::{ItemLabel, Op, ReadIndex};
use sealdex_index::dataplane::{FetchRequest, Fetched, Fields, ShardError, Target, WalkReply, WalkRequest};
use sealdex_index::metadata::Metadata;
use sealdex_proto::shard as wire;

/// A fetch, without its target.
pub fn fetch_request(request: &FetchRequest) -> wire::FetchRequest {
    wire::FetchRequest {
        precision: precision(request.precision).into(),
        fields: Some(fields(request.fields)),
        items: pack(request.items.iter(), |(label, op)| {
            let op = op.map_or([0; 17], |op| join([1], op.0));
            join::<16, 17, 33>(label.0, op)
        }),
        bytes_max: request.bytes_max as u64,
        since: request.since.map(|index| index.0),
    }
}

/// A fetch from `target`, from its message.
pub fn read_fetch_request(target: Target, message: &wire::FetchRequest) -> Result<FetchRequest, ShardError> {
    Ok(FetchRequest {
        target,
        precision: read_precision(message.precision())?,
        fields: read_fields(message.fields.as_ref())?,
        items: unpack(&message.items, |row| {
            let (label, rest) = split::<16, 17, 33>(row);
            let ([there], op) = split::<1, 16, 17>(&rest);
            match there {
                0 => Ok((ItemLabel(label), None)),
                1 => Ok((ItemLabel(label), Some(Op(op)))),
                _ => Err(MALFORMED),
            }
        })?,
        bytes_max: size(message.bytes_max)?,
        since: message.since.map(ReadIndex),
    })
}

/// What was fetched, as a message.
pub fn fetch_reply(reply: Vec<Option<Fetched>>) -> wire::FetchReply {
    let items = reply.into_iter().map(|found| wire::MaybeItem {
        item: found.map(item),
    });
    wire::FetchReply {
        items: items.collect(),
    }
}

/// What was fetched, from its message.
pub fn read_fetch_reply(message: wire::FetchReply) -> Result<Vec<Option<Fetched>>, ShardError> {
    let items = message.items.into_iter();
    items.map(|found| found.item.map(read_item).transpose()).collect()
}

/// A walk, without its target.
pub fn walk_request(request: &WalkRequest) -> wire::WalkRequest {
    wire::WalkRequest {
        precision: precision(request.precision).into(),
        fields: Some(fields(request.fields)),
        after: request.after.map(label_bytes),
        limit: request.limit as u64,
        bytes_max: request.bytes_max as u64,
    }
}

/// A walk through `target`, from its message.
pub fn read_walk_request(target: Target, message: &wire::WalkRequest) -> Result<WalkRequest, ShardError> {
    Ok(WalkRequest {
        target,
        precision: read_precision(message.precision())?,
        fields: read_fields(message.fields.as_ref())?,
        after: read_label(message.after.as_ref())?,
        limit: size(message.limit)?,
        bytes_max: size(message.bytes_max)?,
    })
}

/// A page of a walk, as a message.
pub fn walk_reply(reply: WalkReply) -> wire::WalkReply {
    wire::WalkReply {
        items: reply.items.into_iter().map(item).collect(),
        next: reply.next.map(label_bytes),
    }
}

/// A page of a walk, from its message.
pub fn read_walk_reply(message: wire::WalkReply) -> Result<WalkReply, ShardError> {
    let items = message.items.into_iter().map(read_item);
    Ok(WalkReply {
        items: items.collect::<Result<_, _>>()?,
        next: read_label(message.next.as_ref())?,
    })
}

fn item(item: Fetched) -> wire::Item {
    wire::Item {
        label: label_bytes(item.label),
        op: Bytes::copy_from_slice(item.op.as_bytes()),
        id: item.id,
        metadata: item.metadata.encode().into(),
        vector: item.vector.map(|vector| pack_floats(&vector)),
        contents: item.contents.map(Bytes::from),
        bytes: item.bytes as u64,
    }
}

fn read_item(message: wire::Item) -> Result<Fetched, ShardError> {
    Ok(Fetched {
        label: ItemLabel::from_slice(&message.label).ok_or(MALFORMED)?,
        op: Op::from_slice(&message.op).ok_or(MALFORMED)?,
        id: message.id,
        metadata: Metadata::decode(&message.metadata).map_err(|_| MALFORMED)?,
        vector: message.vector.map(|packed| unpack_floats(&packed)).transpose()?,
        contents: message.contents.map(Vec::from),
        bytes: size(message.bytes)?,
    })
}

fn fields(fields: Fields) -> wire::Fields {
    wire::Fields {
        vector: fields.vector,
        meta: fields.meta,
        contents: fields.contents,
    }
}

fn read_fields(message: Option<&wire::Fields>) -> Result<Fields, ShardError> {
    let message = message.ok_or(MALFORMED)?;
    Ok(Fields {
        vector: message.vector,
        meta: message.meta,
        contents: message.contents,
    })
}

fn label_bytes(label: ItemLabel) -> Bytes {
    Bytes::copy_from_slice(label.as_bytes())
}

fn read_label(bytes: Option<&Bytes>) -> Result<Option<ItemLabel>, ShardError> {
    bytes
        .map(|bytes| ItemLabel::from_slice(bytes).ok_or(MALFORMED))
        .transpose()
}

fn size(number: u64) -> Result<usize, ShardError> {
    usize::try_from(number).map_err(|_| MALFORMED)
}
