//! Replicated groups: one door, propose and apply.
//!
//! A *group* orders proposals into a log and hands them, in that order, to a [`StateMachine`]; a proposer gets its
//! reply once its entry is durable and applied. Today a group has one replica and the durable local log is the state
//! machine's own synced write. openraft takes that place, and this will then be the only crate that names it, so that
//! neither state machines nor proposers change.
//!
//! This crate must never know what an entry says. Payloads are bytes that were sealed before they were proposed; no
//! key, no cipher and no domain type may come in here. Coordinator (metadata group) and shard (partitions) use it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod group;
mod log_frames;
mod space;
mod state_machine;
mod watermark;
mod writer;

pub use group::{Group, ProposeError};
pub use log_frames::{LogError, check_logs};
pub use space::{Full, Purpose, Room, Space};
pub use state_machine::{Entry, LogIndex, StateMachine, StorageFault};
pub use watermark::{Watermark, WatermarkError};
