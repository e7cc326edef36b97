//! What a process tells of itself: figures for Prometheus, and spans for whoever collects traces.
//!
//! Every part of Sealdex observes into [`metrics`], a set of handles with types for labels; the admin port exposes them. A figure
//! is added in the file of its subject here, and observed where the thing happens. [`stage`] and [`call`] time a piece of work
//! and make it a span; [`RequestSpan`] is the span of a request, and [`serve`] that of a call of another process. Who exports spans, if anybody, is the binary's affair.
//!
//! Nothing here may name an item, a key, an index, its owner or a user. Labels are enums of ours, and route patterns; spans carry
//! [`SPAN_FIELDS`] and nothing else. This crate knows none of ours.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod certificates;
mod connections;
mod disk;
mod fanout;
mod kms;
mod label;
mod leases;
mod log;
mod metrics;
mod propagation;
mod queues;
mod raft;
mod recall;
mod requests;
mod shard;
mod span;
mod stages;

pub use certificates::{Certificate, Certificates};
pub use connections::{Connections, Open};
pub use disk::{Disk, Store, Urgency};
pub use fanout::{Fanout, Reason};
pub use kms::{Kms, KmsOperation, KmsOutcome, KmsProvider};
pub use leases::Leases;
pub use log::Log;
pub use metrics::{EXPOSITION_TYPE, Metrics, metrics};
pub use propagation::{TRACEPARENT, propagate, serve, traceparent};
pub use queues::{Queue, Queued, Queues};
pub use raft::{Raft, RaftFigures, RaftRole, Replicated};
pub use recall::Recall;
pub use requests::{Requests, UnderWay};
pub use shard::{Call, Shard};
pub use span::{METHOD, REQUEST_SPAN, ROUTE, RequestSpan, SPAN_FIELDS, SPAN_TARGET, STATUS, call, stage};
pub use stages::{Stage, Stages};
