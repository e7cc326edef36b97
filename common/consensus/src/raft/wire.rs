//! Messages between the replicas of a group.
//!
//! ```text
//! request   version u8 | kind u8 | group u64 LE | body
//! reply     version u8 | body
//! body      postcard; a request to append says how many entries follow
//! ```

use super::format::{self, FormatError, WireLogId, WireVote};
use super::types::{LogId, Types, Vote};
use crate::GroupId;
use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

/// Of both directions. A node that does not know a version refuses it.
const VERSION: u8 = 1;

/// What one replica asks another.
pub(crate) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
    ReadIndex,
}

/// A leader's answer to [`Request::ReadIndex`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) enum ReadIndexReply {
    /// Whoever has applied this entry sees what was acknowledged before the question.
    At(u64),
    NotLeader(Option<u64>),
    Unconfirmed,
}

#[derive(Serialize, Deserialize)]
struct WireAppend {
    vote: WireVote,
    previous: Option<WireLogId>,
    committed: Option<WireLogId>,
    entries: u32,
}

#[derive(Serialize, Deserialize)]
struct WireVoteRequest {
    vote: WireVote,
    last: Option<WireLogId>,
    transfer: bool,
}

#[derive(Serialize, Deserialize)]
struct WireTransfer {
    from: WireVote,
    to: u64,
    last: Option<WireLogId>,
}

#[derive(Serialize, Deserialize)]
enum WireAppendReply {
    Success,
    Partial(Option<WireLogId>),
    Conflict,
    Higher(WireVote),
}

#[derive(Serialize, Deserialize)]
struct WireVoteReply {
    vote: WireVote,
    granted: bool,
    last: Option<WireLogId>,
}

#[derive(Serialize, Deserialize)]
enum WireTransferReply {
    Done,
    VoteChanged(WireVote, WireVote),
    NotFlushed(Option<WireLogId>, Option<WireLogId>),
}

fn wire(id: Option<LogId>) -> Option<WireLogId> {
    id.map(Into::into)
}

fn unwire(id: Option<WireLogId>) -> Option<LogId> {
    id.map(Into::into)
}

impl Request {
    /// The node that must have sent this, whoever says so.
    pub(crate) fn sender(&self) -> Option<u64> {
        let vote = match self {
            Self::Append(request) => &request.vote,
            Self::Vote(request) | Self::PreVote(request) => &request.vote,
            Self::Transfer(request) => request.from_leader(),
            Self::ReadIndex => return None,
        };
        Some(vote.leader_id.voted_for)
    }
}

pub(crate) fn encode_request(group: GroupId, request: &Request) -> Bytes {
    let kind = match request {
        Request::Append(_) => 1,
        Request::Vote(_) => 2,
        Request::PreVote(_) => 3,
        Request::Transfer(_) => 4,
        Request::ReadIndex => 5,
    };
    let mut out = vec![VERSION, kind];
    out.extend(group.0.to_le_bytes());
    match request {
        Request::Append(request) => put_append(&mut out, request),
        Request::Vote(request) | Request::PreVote(request) => format::put(
            &mut out,
            &WireVoteRequest {
                vote: request.vote.into(),
                last: wire(request.last_log_id),
                transfer: request.leadership_transfer,
            },
        ),
        Request::Transfer(request) => format::put(
            &mut out,
            &WireTransfer {
                from: (*request.from_leader()).into(),
                to: *request.to_node_id(),
                last: wire(request.last_log_id().copied()),
            },
        ),
        Request::ReadIndex => {}
    }
    out.into()
}

fn put_append(out: &mut Vec<u8>, request: &AppendEntriesRequest<Types>) {
    let head = WireAppend {
        vote: request.vote.into(),
        previous: wire(request.prev_log_id),
        committed: wire(request.leader_commit),
        entries: u32::try_from(request.entries.len()).expect("a message's entries are counted in thousands"),
    };
    format::put(out, &head);
    for entry in &request.entries {
        format::put_entry(out, entry);
    }
}

pub(crate) fn decode_request(mut message: Bytes) -> Result<(GroupId, Request), FormatError> {
    let Some(([VERSION, kind, group @ ..], _)) = message.split_first_chunk::<10>() else {
        return Err(FormatError("a message is too short, or of an unknown version"));
    };
    let (kind, group) = (*kind, GroupId(u64::from_le_bytes(*group)));
    let mut body = message.split_off(10);
    let request = match kind {
        1 => Request::Append(take_append(&mut body)?),
        2 => Request::Vote(take_vote(&mut body)?),
        3 => Request::PreVote(take_vote(&mut body)?),
        4 => {
            let WireTransfer { from, to, last } = format::take(&mut body)?;
            Request::Transfer(TransferLeaderRequest::new(from.into(), to, unwire(last)))
        }
        5 => Request::ReadIndex,
        _ => return Err(FormatError("a message is of no known kind")),
    };
    if body.is_empty() {
        Ok((group, request))
    } else {
        Err(FormatError("a message goes on behind its end"))
    }
}

fn take_append(body: &mut Bytes) -> Result<AppendEntriesRequest<Types>, FormatError> {
    let head: WireAppend = format::take(body)?;
    let entries = (0..head.entries).map(|_| format::take_entry(body));
    Ok(AppendEntriesRequest {
        entries: entries.collect::<Result<_, _>>()?,
        vote: head.vote.into(),
        prev_log_id: unwire(head.previous),
        leader_commit: unwire(head.committed),
    })
}

fn take_vote(body: &mut Bytes) -> Result<VoteRequest<Types>, FormatError> {
    let WireVoteRequest { vote, last, transfer } = format::take(body)?;
    Ok(VoteRequest {
        vote: vote.into(),
        last_log_id: unwire(last),
        leadership_transfer: transfer,
    })
}

fn encode_reply(body: &impl Serialize) -> Bytes {
    let mut out = vec![VERSION];
    format::put(&mut out, body);
    out.into()
}

fn decode_reply<T: serde::de::DeserializeOwned>(mut reply: Bytes) -> Result<T, FormatError> {
    match reply.split_first() {
        Some((&VERSION, _)) => format::take(&mut reply.split_off(1)),
        _ => Err(FormatError("a reply is empty, or of an unknown version")),
    }
}

pub(crate) fn encode_append_reply(reply: AppendEntriesResponse<Types>) -> Bytes {
    encode_reply(&match reply {
        AppendEntriesResponse::Success => WireAppendReply::Success,
        AppendEntriesResponse::PartialSuccess(id) => WireAppendReply::Partial(wire(id)),
        AppendEntriesResponse::Conflict => WireAppendReply::Conflict,
        AppendEntriesResponse::HigherVote(vote) => WireAppendReply::Higher(vote.into()),
    })
}

pub(crate) fn decode_append_reply(reply: Bytes) -> Result<AppendEntriesResponse<Types>, FormatError> {
    Ok(match decode_reply(reply)? {
        WireAppendReply::Success => AppendEntriesResponse::Success,
        WireAppendReply::Partial(id) => AppendEntriesResponse::PartialSuccess(unwire(id)),
        WireAppendReply::Conflict => AppendEntriesResponse::Conflict,
        WireAppendReply::Higher(vote) => AppendEntriesResponse::HigherVote(vote.into()),
    })
}

pub(crate) fn encode_vote_reply(reply: &VoteResponse<Types>) -> Bytes {
    encode_reply(&WireVoteReply {
        vote: reply.vote.into(),
        granted: reply.vote_granted,
        last: wire(reply.last_log_id),
    })
}

pub(crate) fn decode_vote_reply(reply: Bytes) -> Result<VoteResponse<Types>, FormatError> {
    let WireVoteReply { vote, granted, last } = decode_reply(reply)?;
    Ok(VoteResponse {
        vote: vote.into(),
        vote_granted: granted,
        last_log_id: unwire(last),
    })
}

pub(crate) fn encode_transfer_reply(reply: TransferLeaderResponse<Types>) -> Bytes {
    encode_reply(&match reply {
        Ok(()) => WireTransferReply::Done,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            WireTransferReply::VoteChanged(expected.into(), actual.into())
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            WireTransferReply::NotFlushed(wire(expected), wire(actual))
        }
    })
}

pub(crate) fn decode_transfer_reply(reply: Bytes) -> Result<TransferLeaderResponse<Types>, FormatError> {
    Ok(match decode_reply(reply)? {
        WireTransferReply::Done => Ok(()),
        WireTransferReply::VoteChanged(expected, actual) => Err(TransferLeaderError::VoteChanged {
            expected: expected.into(),
            actual: actual.into(),
        }),
        WireTransferReply::NotFlushed(expected, actual) => Err(TransferLeaderError::LogNotFlushed {
            expected: unwire(expected),
            actual: unwire(actual),
        }),
    })
}

pub(crate) fn encode_read_index_reply(reply: ReadIndexReply) -> Bytes {
    encode_reply(&reply)
}

pub(crate) fn decode_read_index_reply(reply: Bytes) -> Result<ReadIndexReply, FormatError> {
    decode_reply(reply)
}

/// The answer to a snapshot: the receiver's vote.
pub(crate) fn encode_snapshot_reply(vote: Vote) -> Bytes {
    encode_reply(&WireVote::from(vote))
}

pub(crate) fn decode_snapshot_reply(reply: Bytes) -> Result<Vote, FormatError> {
    Ok(decode_reply::<WireVote>(reply)?.into())
}
