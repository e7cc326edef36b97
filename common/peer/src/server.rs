//! The one port of a node for its peers: mutual TLS and nothing without it. Each connection is shown the credentials of the moment at which
//! it begins.

use crate::channels::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::credentials::{CurrentCredentials, HANDSHAKE_MAX};
use futures_util::{Stream, stream};
use rustls::ServerConfig;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Router;
use tonic::transport::{Error, Server};

/// Calls of one peer at a time; further ones wait at the peer.
const STREAMS_MAX: u32 = 1024;

/// Calls that were given up before they were looked at, and for which a peer's connection is not closed: as many as it may have under way.
/// Whoever asks two replicas gives one of the calls up, and a node that was paused or is busy finds many of those at once. The library's 20
/// are meant for strangers, who get no connection here; a closed one leaves every other write on it with an unknown outcome.
const RESETS_MAX: usize = STREAMS_MAX as usize;

/// A peer that gives no sign of life for the sum of the two is disconnected.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(10);

/// Connections that have not shown yet who they are from. Further ones wait to be accepted.
const HANDSHAKES_MAX: usize = 256;

/// How long to wait before accepting again when the system has no file or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server to which the node adds its services. [`serve`] lets it listen.
pub fn server() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// Serves holders of a certificate of the node's authority, and nobody else, until `until`; then finishes the calls under way.
pub async fn serve(
    router: Router,
    listener: TcpListener,
    credentials: Arc<CurrentCredentials>,
    until: impl Future<Output = ()>,
) -> Result<(), Error> {
    let incoming = Box::pin(incoming(listener, credentials));
    router.serve_with_incoming_shutdown(incoming, until).await
}

/// Connections whose handshake is done. One that is slow holds up no other.
fn incoming(
    listener: TcpListener,
    credentials: Arc<CurrentCredentials>,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let begin = (listener, credentials, JoinSet::new());
    stream::unfold(begin, |(listener, credentials, mut handshakes)| async move {
        loop {
            tokio::select! {
                accepted = listener.accept(), if handshakes.len() < HANDSHAKES_MAX => match accepted {
                    Ok((stream, _)) => {
                        handshakes.spawn(shake_hands(stream, credentials.get().server_tls()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection on the peer port");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = handshakes.join_next() => match ended {
                    Ok(Ok(stream)) => return Some((Ok(stream), (listener, credentials, handshakes))),
                    Ok(Err(error)) => tracing::debug!(%error, "a connection to the peer port did not come about"),
                    Err(error) => tracing::error!(%error, "a handshake on the peer port panicked"),
                },
            }
        }
    })
}

async fn shake_hands(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsStream<TcpStream>> {
    // Answers leave at once: one that waited for the acknowledgement of its own first half would take 40 ms.
    stream.set_nodelay(true)?;
    timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await?
}
