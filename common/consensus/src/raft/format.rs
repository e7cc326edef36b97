//! The bytes that stand for openraft's values, on disk and between nodes. They are ours, so that they outlive its versions.
//!
//! ```text
//! id          postcard of (term, index)
//! vote        postcard of (term, node, committed)
//! membership  postcard of (configurations: sets of voters, all nodes)
//! entry       postcard of its id and kind; a command says its length, and its bytes follow
//! record      format u8 | CRC-32C of what follows, u32 LE | one of the above
//! ```

use super::types::{Command, Entry, LogId, Membership, Payload, SnapshotMeta, StoredMembership, Vote};
use bytes::Bytes;
use openraft::impls::EmptyNode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const RECORD_FORMAT: u8 = 1;
const RECORD_HEADER_BYTES: usize = 5;

/// Bytes that do not say what they should.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FormatError(pub(crate) &'static str);

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct WireLogId {
    term: u64,
    index: u64,
}

impl From<LogId> for WireLogId {
    fn from(id: LogId) -> Self {
        Self {
            term: *id.leader_id,
            index: id.index,
        }
    }
}

impl From<WireLogId> for LogId {
    fn from(id: WireLogId) -> Self {
        Self::new_term_index(id.term, id.index)
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct WireVote {
    term: u64,
    node: u64,
    committed: bool,
}

impl From<Vote> for WireVote {
    fn from(vote: Vote) -> Self {
        Self {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for,
            committed: vote.committed,
        }
    }
}

impl From<WireVote> for Vote {
    fn from(vote: WireVote) -> Self {
        if vote.committed {
            Self::new_committed(vote.term, vote.node)
        } else {
            Self::new(vote.term, vote.node)
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct WireMembership {
    configurations: Vec<BTreeSet<u64>>,
    nodes: BTreeSet<u64>,
}

impl From<&Membership> for WireMembership {
    fn from(membership: &Membership) -> Self {
        Self {
            configurations: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, _)| *id).collect(),
        }
    }
}

impl TryFrom<WireMembership> for Membership {
    type Error = FormatError;

    fn try_from(membership: WireMembership) -> Result<Self, FormatError> {
        let nodes: BTreeMap<u64, EmptyNode> = membership
            .nodes
            .into_iter()
            .map(|id| (id, EmptyNode {}))
            .collect();
        Self::new(membership.configurations, nodes)
            .map_err(|_| FormatError("a membership contradicts itself"))
    }
}

/// Where a state machine or a snapshot is.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct WirePosition {
    last: Option<WireLogId>,
    membership_at: Option<WireLogId>,
    membership: WireMembership,
}

impl From<&SnapshotMeta> for WirePosition {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            last: meta.last_log_id.map(Into::into),
            membership_at: meta.last_membership.log_id().map(Into::into),
            membership: meta.last_membership.membership().into(),
        }
    }
}

impl TryFrom<WirePosition> for SnapshotMeta {
    type Error = FormatError;

    fn try_from(position: WirePosition) -> Result<Self, FormatError> {
        let membership = if position.membership.nodes.is_empty() {
            Membership::default()
        } else {
            position.membership.try_into()?
        };
        Ok(Self {
            last_log_id: position.last.map(Into::into),
            last_membership: StoredMembership::new(position.membership_at.map(Into::into), membership),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WireEntry {
    id: WireLogId,
    kind: WireKind,
}

#[derive(Serialize, Deserialize)]
enum WireKind {
    Blank,
    Command { bytes: u32 },
    Membership(WireMembership),
}

/// Appends an entry to `out`.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    let (kind, payload) = match &entry.payload {
        Payload::Blank => (WireKind::Blank, None),
        Payload::Normal(Command(bytes)) => {
            let length = u32::try_from(bytes.len()).expect("a proposal is checked to be much shorter");
            (WireKind::Command { bytes: length }, Some(bytes))
        }
        Payload::Membership(membership) => (WireKind::Membership(membership.into()), None),
    };
    let id = entry.log_id.into();
    put(out, &WireEntry { id, kind });
    out.extend_from_slice(payload.map_or(&[], |bytes| bytes));
}

/// Reads an entry at the beginning of `bytes`, which are left with what follows it. Its command is not copied.
pub(crate) fn take_entry(bytes: &mut Bytes) -> Result<Entry, FormatError> {
    let WireEntry { id, kind } = take(bytes)?;
    let payload = match kind {
        WireKind::Blank => Payload::Blank,
        WireKind::Command { bytes: length } if length as usize <= bytes.len() => {
            Payload::Normal(Command(bytes.split_to(length as usize)))
        }
        WireKind::Command { .. } => return Err(FormatError("an entry ends too early")),
        WireKind::Membership(membership) => Payload::Membership(membership.try_into()?),
    };
    Ok(Entry {
        log_id: id.into(),
        payload,
    })
}

/// Appends a value to `out`.
pub(crate) fn put(out: &mut Vec<u8>, value: &impl Serialize) {
    *out = postcard::to_extend(value, std::mem::take(out))
        .expect("these values can be encoded, and memory grows");
}

/// Reads a value at the beginning of `bytes`, which are left with what follows it.
pub(crate) fn take<T: DeserializeOwned>(bytes: &mut Bytes) -> Result<T, FormatError> {
    let (value, rest) =
        postcard::take_from_bytes(bytes).map_err(|_| FormatError("a value cannot be read"))?;
    *bytes = bytes.slice_ref(rest);
    Ok(value)
}

/// A record for the disk, whose content `write` appends.
pub(crate) fn record(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut record = vec![RECORD_FORMAT, 0, 0, 0, 0];
    write(&mut record);
    let checksum = crc32c::crc32c(&record[RECORD_HEADER_BYTES..]);
    record[1..RECORD_HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    record
}

/// The content of a record.
pub(crate) fn open_record(record: Bytes) -> Result<Bytes, FormatError> {
    match record.split_first_chunk::<RECORD_HEADER_BYTES>() {
        Some(([RECORD_FORMAT, checksum @ ..], content)) => {
            if crc32c::crc32c(content) == u32::from_le_bytes(*checksum) {
                Ok(record.slice_ref(content))
            } else {
                Err(FormatError("a record of the log is damaged"))
            }
        }
        Some(_) => Err(FormatError("a record of the log has an unknown format")),
        None => Err(FormatError("a record of the log is too short")),
    }
}
