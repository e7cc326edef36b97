//! How a message gets to another node. Who implements it knows addresses and certificates, and nothing of what is said.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use sealdex_core::NodeId;
use std::io;
use std::time::Duration;

/// The other nodes, by id.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Brings a message to [`Host::receive`](crate::Host::receive) of `to`, and its answer back, before the deadline.
    async fn call(&self, to: NodeId, message: Bytes, deadline: Duration) -> Result<Bytes, Unreachable>;

    /// Brings a snapshot to [`Host::receive_snapshot`](crate::Host::receive_snapshot) of `to`, chunk by chunk, and the answer
    /// back. Gives up when nothing moved for `idle_deadline`; an error among the chunks ends the stream with an error there
    /// too. Snapshots must not delay messages.
    async fn send_snapshot(
        &self,
        to: NodeId,
        chunks: BoxStream<'static, io::Result<Bytes>>,
        idle_deadline: Duration,
    ) -> Result<Bytes, Unreachable>;
}

/// There was no answer, or one that refused: whether the message arrived is unknown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// Nobody: for a deployment of one node.
pub struct Alone;

#[async_trait]
impl Peers for Alone {
    async fn call(&self, to: NodeId, _: Bytes, _: Duration) -> Result<Bytes, Unreachable> {
        Err(Unreachable(format!("there is no node {to}")))
    }

    async fn send_snapshot(
        &self,
        to: NodeId,
        _: BoxStream<'static, io::Result<Bytes>>,
        _: Duration,
    ) -> Result<Bytes, Unreachable> {
        Err(Unreachable(format!("there is no node {to}")))
    }
}
