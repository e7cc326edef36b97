//! Replicated groups: one door, propose and apply.
//!
//! A *group* orders proposals into a log that is durable on a majority of its replicas, and hands them, in that order, to a
//! [`StateMachine`] on each; a proposer gets its reply once its entry is durable and applied. A group with one replica is the
//! same thing without waiting for anybody. A [`Host`] is a process's part in all groups. This is the only crate that names
//! openraft.
//!
//! This crate must never know what an entry says. Payloads are bytes that were sealed before they were proposed; no
//! key, no cipher and no domain type may come in here. Coordinator (metadata group) and shard (partitions) use it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod barrier;
mod census;
mod group;
mod host;
mod keeper;
mod log;
mod log_frames;
mod machine;
mod peers;
mod raft;
mod replica;
mod snapshot;
mod space;
mod state_machine;
#[cfg(test)]
mod tests;
mod watermark;

pub use barrier::ReadError;
pub use group::{ChangeError, Group, GroupStatus, ProposeError};
pub use host::{Host, HostError, HostOptions, ReceiveError};
pub use log_frames::{LogError, check_logs};
pub use peers::{Alone, Peers, Unreachable};
pub use raft::config::Timing;
pub use raft::mark::{Mark, MarkError};
pub use sealdex_core::NodeId;
pub use space::{Full, Purpose, Room, Space};
pub use state_machine::{Entry, LogIndex, SnapshotReader, StateMachine, StorageFault};
pub use watermark::{Watermark, WatermarkError};

/// One replicated group, for the whole life of the deployment: 0 is that of the metadata, 1 + p that of partition p.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupId(pub u64);

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
