//! The types that openraft is told to use. An entry's payload is bytes; a reply is whatever the state machine returned, and
//! goes straight to the proposer that waits for it, on this node.

use bytes::Bytes;
use openraft::alias;
use openraft::impls::{EmptyNode, InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::{OptionalSend, RaftTypeConfig};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::fmt;
use tokio::sync::oneshot;

use crate::machine::Applier;

/// See the module.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = Reply;
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Command, u64, EmptyNode>;
    type Entry = openraft::Entry<alias::CommittedLeaderIdOf<Self>, Self::Payload>;
    type AsyncRuntime = openraft::impls::TokioRuntime;
    type Responder<T>
        = Waiter<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<Types, Applier>;
pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type Entry = alias::EntryOf<Types>;
pub(crate) type Payload = alias::PayloadOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;
pub(crate) type Metrics = openraft::RaftMetrics<Types>;

/// What was proposed. openraft asks for serde, and never uses it: entries are encoded by `format`.
#[derive(Clone, Eq, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub(crate) struct Command(pub(crate) Bytes);

impl From<Vec<u8>> for Command {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Command> for Vec<u8> {
    fn from(command: Command) -> Self {
        command.0.into()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A state machine's reply of a type that openraft need not know; empty for entries that have none.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    #[serde(skip)]
    reply: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Reply {
    pub(crate) fn new(reply: impl Any + Send) -> Self {
        Self {
            reply: Mutex::new(Some(Box::new(reply))),
        }
    }

    /// The reply, if it is there and is an `R`.
    pub(crate) fn take<R: 'static>(self) -> Option<R> {
        let reply = self.reply.into_inner()?.downcast().ok()?;
        Some(*reply)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// Who waits for the outcome of a proposal, and what the proposal holds meanwhile. Both last as long as the entry is under
/// way, whether or not anybody still listens.
pub(crate) struct Waiter<T> {
    outcome: oneshot::Sender<T>,
    _held: Box<dyn Any + Send>,
}

impl<T> Waiter<T> {
    pub(crate) fn new(held: impl Any + Send) -> (Self, oneshot::Receiver<T>) {
        let (outcome, receiver) = oneshot::channel();
        let waiter = Self {
            outcome,
            _held: Box::new(held),
        };
        (waiter, receiver)
    }
}

impl<T: Send + 'static> Responder<Types, T> for Waiter<T> {
    fn on_complete(self, outcome: T) {
        // A proposer that no longer waits is no concern of the log.
        let _ = self.outcome.send(outcome);
    }
}
