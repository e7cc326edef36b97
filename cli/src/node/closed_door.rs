//! The peer port of a coordinator that is not part of a deployment yet: it tells whoever asks that it knows none, so that a deployment
//! may be begun.

use super::{NodeArgs, NodeError};
use async_trait::async_trait;
use bytes::Bytes;
use sealdex_core::{DeploymentId, NodeId};
use sealdex_peer::{CurrentCredentials, Directory, Gate, Identity, PeerHandler, PeerService, SnapshotChunks};
use sealdex_proto::peer::{JoinReply, JoinRequest};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;

/// See the module.
pub(crate) struct ConsensusDoor {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl ConsensusDoor {
    /// Listens until it is closed.
    pub(crate) async fn closed(
        args: &NodeArgs,
        credentials: Arc<CurrentCredentials>,
    ) -> Result<Self, NodeError> {
        let refused = |error: String| NodeError::Listen(args.peer_address, error);
        let listener = TcpListener::bind(args.peer_address).await;
        let listener = listener.map_err(|error| refused(error.to_string()))?;
        // Nobody is admitted: there is no deployment to be admitted to.
        let gate = Gate::new(DeploymentId([0; 16]), NodeId(0), Arc::new(Directory::default()));
        let router = sealdex_peer::server().add_service(PeerService::new(gate, Arc::new(KnowsNone)));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let until = async {
                let _ = stopped.await;
            };
            if let Err(error) = sealdex_peer::serve(router, listener, credentials, until).await {
                tracing::warn!(%error, "the peer port was not served");
            }
        });
        Ok(Self { stop, serving })
    }

    /// Gives the port back.
    pub(crate) async fn close(self) {
        let _ = self.stop.send(());
        // It ends when its last connection does; nobody has reason to keep one.
        self.serving.abort();
        let _ = self.serving.await;
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
