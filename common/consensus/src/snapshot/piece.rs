//! A snapshot as a stream of pieces.
//!
//! ```text
//! piece    a record (see `raft::format`) of: kind u8 | content
//! header   version u8 | postcard of (group, leader's vote, position)
//! chunk    what the state machine gave
//! end      number of chunks u64 LE
//! ```

use crate::GroupId;
use crate::raft::format::{self, FormatError, WirePosition, WireVote};
use crate::raft::types::{SnapshotMeta, Vote};
use crate::{SnapshotReader, StorageFault};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use std::io;

const VERSION: u8 = 1;

/// No piece is larger.
const PIECE_BYTES_MAX: usize = 8 * 1024 * 1024;

#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Header = 1,
    Chunk = 2,
    End = 3,
}

/// What a snapshot begins with.
pub(crate) struct Header {
    pub(crate) group: GroupId,
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
}

/// A piece that is whole.
pub(super) enum Piece {
    Header(Bytes),
    Chunk(Bytes),
    End(u64),
}

/// Reads the first piece.
pub(crate) fn read_header(piece: Bytes) -> Result<Header, FormatError> {
    let Piece::Header(mut content) = open(piece)? else {
        return Err(FormatError("a snapshot begins with something else"));
    };
    if content.split_to(1)[..] != [VERSION] {
        return Err(FormatError("a snapshot has an unknown version"));
    }
    let (group, vote, position): (u64, WireVote, WirePosition) = format::take(&mut content)?;
    Ok(Header {
        group: GroupId(group),
        vote: vote.into(),
        meta: position.try_into()?,
    })
}

/// Checks a piece and tells what it is.
pub(super) fn open(piece: Bytes) -> Result<Piece, FormatError> {
    if piece.len() > PIECE_BYTES_MAX {
        return Err(FormatError("a piece of a snapshot is too large"));
    }
    let mut content = format::open_record(piece)?;
    if content.is_empty() {
        return Err(FormatError("a piece of a snapshot is empty"));
    }
    match content.split_to(1)[0] {
        kind if kind == Kind::Header as u8 && !content.is_empty() => Ok(Piece::Header(content)),
        kind if kind == Kind::Chunk as u8 => Ok(Piece::Chunk(content)),
        kind if kind == Kind::End as u8 => content[..]
            .try_into()
            .map(|chunks| Piece::End(u64::from_le_bytes(chunks)))
            .map_err(|_| FormatError("the end of a snapshot cannot be read")),
        _ => Err(FormatError("a piece of a snapshot is of no known kind")),
    }
}

/// All pieces of a snapshot, each read when it is asked for, off the async threads.
pub(crate) fn outgoing(
    header: &Header,
    reader: Box<dyn SnapshotReader>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let first = Ok(header_piece(header));
    let rest = stream::try_unfold(Some((reader, 0)), |state| async move {
        let Some((reader, chunks)) = state else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || next_piece(reader, chunks)).await;
        Ok(Some(read.map_err(io::Error::other)??))
    });
    stream::once(future::ready(first)).chain(rest)
}

/// What is left to be read, and how many chunks were.
type Rest = Option<(Box<dyn SnapshotReader>, u64)>;

fn next_piece(mut reader: Box<dyn SnapshotReader>, chunks: u64) -> Result<(Bytes, Rest), StorageFault> {
    Ok(match reader.next_chunk()? {
        Some(chunk) => (piece(Kind::Chunk, &chunk), Some((reader, chunks + 1))),
        None => (piece(Kind::End, &chunks.to_le_bytes()), None),
    })
}

fn header_piece(header: &Header) -> Bytes {
    let mut content = vec![VERSION];
    let vote = WireVote::from(header.vote);
    let position = WirePosition::from(&header.meta);
    format::put(&mut content, &(header.group.0, vote, position));
    piece(Kind::Header, &content)
}

fn piece(kind: Kind, content: &[u8]) -> Bytes {
    let piece = format::record(|out| {
        out.reserve(1 + content.len());
        out.push(kind as u8);
        out.extend_from_slice(content);
    });
    piece.into()
}
