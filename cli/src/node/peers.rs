//! Where consensus and the wire meet: messages of groups go out over a node's connections, and come in at its peer port.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use sealdex_consensus::{Host, Peers, ReceiveError, Unreachable};
use sealdex_core::NodeId;
use sealdex_peer::{Identity, PeerClient, PeerHandler, SnapshotChunks};
use sealdex_proto::peer::{JoinReply, JoinRequest};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::Status;

/// Messages of groups to other nodes.
pub(crate) struct ConsensusPeers(pub(crate) PeerClient);

#[async_trait]
impl Peers for ConsensusPeers {
    async fn call(&self, to: NodeId, message: Bytes, deadline: Duration) -> Result<Bytes, Unreachable> {
        let answer = self.0.call(to, message, deadline).await;
        answer.map_err(|error| Unreachable(error.to_string()))
    }

    async fn send_snapshot(
        &self,
        to: NodeId,
        chunks: BoxStream<'static, std::io::Result<Bytes>>,
        idle_deadline: Duration,
    ) -> Result<Bytes, Unreachable> {
        let answer = self.0.send_snapshot(to, chunks, idle_deadline).await;
        answer.map_err(|error| Unreachable(error.to_string()))
    }
}

/// Who decides whether a node may join.
#[async_trait]
pub(crate) trait Doorkeeper: Send + Sync + 'static {
    /// Lets a node in, or says why not.
    async fn admit(&self, identity: Identity, request: JoinRequest) -> Result<JoinReply, Status>;
}

/// Messages of groups from other nodes, and those who want to join.
pub(crate) struct ConsensusHandler {
    host: Arc<Host>,
    /// None on shard nodes, and before a coordinator knows the deployment.
    doorkeeper: OnceLock<Arc<dyn Doorkeeper>>,
}

impl ConsensusHandler {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            doorkeeper: OnceLock::new(),
        }
    }

    /// From now on nodes may join here. The first doorkeeper stays.
    pub(crate) fn open_door(&self, doorkeeper: Arc<dyn Doorkeeper>) {
        let _ = self.doorkeeper.set(doorkeeper);
    }
}

#[async_trait]
impl PeerHandler for ConsensusHandler {
    async fn raft(&self, from: NodeId, message: Bytes) -> Result<Bytes, Status> {
        self.host.receive(from, message).await.map_err(status_of)
    }

    async fn snapshot(&self, from: NodeId, chunks: SnapshotChunks) -> Result<Bytes, Status> {
        self.host.receive_snapshot(from, chunks).await.map_err(status_of)
    }

    async fn join(&self, identity: Identity, request: JoinRequest) -> Result<JoinReply, Status> {
        match self.doorkeeper.get() {
            Some(doorkeeper) => doorkeeper.admit(identity, request).await,
            None => Err(Status::unavailable(
                "this node lets nobody join, or not yet; ask a coordinator",
            )),
        }
    }
}

fn status_of(error: ReceiveError) -> Status {
    let text = error.to_string();
    match error {
        ReceiveError::UnknownGroup(_) => Status::not_found(text),
        ReceiveError::Message(_) => Status::invalid_argument(text),
        ReceiveError::Forged(_) => Status::permission_denied(text),
        ReceiveError::Full => Status::resource_exhausted(text),
        ReceiveError::Recovering | ReceiveError::Busy | ReceiveError::Snapshot(_) | ReceiveError::Stopped => {
            Status::unavailable(text)
        }
    }
}
