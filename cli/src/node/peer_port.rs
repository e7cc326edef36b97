//! The peer port of a node, as long as it is served.

use super::NodeError;
use sealdex_peer::CurrentCredentials;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::server::Router;

/// How long calls under way may go on when the port is to be closed.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct PeerPort {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl PeerPort {
    /// Listens, and serves nobody yet.
    pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, NodeError> {
        let listener = TcpListener::bind(address).await;
        listener.map_err(|cause| NodeError::Listen(address, cause.to_string()))
    }

    /// Serves what `router` has.
    pub(crate) fn start(listener: TcpListener, credentials: Arc<CurrentCredentials>, router: Router) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(sealdex_peer::serve(router, listener, credentials, async {
            let _ = stopped.await;
        }));
        Self { stop, serving }
    }

    /// Tells peers to come back elsewhere, finishes the calls under way, and closes the port.
    pub(crate) async fn stop(mut self) -> Result<(), NodeError> {
        let _ = self.stop.send(());
        match tokio::time::timeout(DRAIN_MAX, &mut self.serving).await {
            Ok(Ok(served)) => Ok(served?),
            // It panicked, which the log has.
            Ok(Err(_)) => Ok(()),
            Err(_) => {
                tracing::warn!("the peer port was closed before all calls were done");
                self.serving.abort();
                Ok(())
            }
        }
    }

    /// Closes the port at once, whatever is under way.
    pub(crate) async fn abort(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}
