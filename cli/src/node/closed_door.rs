//! The peer port of a coordinator that is not part of a deployment yet: it tells whoever asks that it knows none, so that a deployment
//! may be begun.

use super::{NodeArgs, NodeError, PeerPort};
use async_trait::async_trait;
use bytes::Bytes;
use sealdex_core::{DeploymentId, NodeId};
use sealdex_peer::{CurrentCredentials, Directory, Gate, Identity, PeerHandler, PeerService, SnapshotChunks};
use sealdex_proto::peer::{JoinReply, JoinRequest};
use std::sync::Arc;
use tonic::Status;

/// See the module.
pub(crate) struct ConsensusDoor(PeerPort);

impl ConsensusDoor {
    /// Listens until it is closed.
    pub(crate) async fn closed(
        args: &NodeArgs,
        credentials: Arc<CurrentCredentials>,
    ) -> Result<Self, NodeError> {
        let listener = PeerPort::bind(args.peer_address).await?;
        // Nobody is admitted: there is no deployment to be admitted to.
        let gate = Gate::new(DeploymentId([0; 16]), NodeId(0), Arc::new(Directory::default()));
        let router = sealdex_peer::server().add_service(PeerService::new(gate, Arc::new(KnowsNone)));
        Ok(Self(PeerPort::start(listener, credentials, router)))
    }

    /// Gives the port back. Nobody has reason to keep a connection to it.
    pub(crate) async fn close(self) {
        self.0.abort().await;
    }
}

struct KnowsNone;

#[async_trait]
impl PeerHandler for KnowsNone {
    async fn raft(&self, _: NodeId, _: Bytes) -> Result<Bytes, Status> {
        Err(none())
    }

    async fn snapshot(&self, _: NodeId, _: SnapshotChunks) -> Result<Bytes, Status> {
        Err(none())
    }

    async fn join(&self, _: Identity, _: JoinRequest) -> Result<JoinReply, Status> {
        Err(none())
    }
}

fn none() -> Status {
    Status::not_found("this coordinator is part of no deployment yet")
}
