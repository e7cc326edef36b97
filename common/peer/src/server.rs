//! The one port of a node for its peers: mutual TLS and nothing without it.

use crate::channels::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::credentials::Credentials;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server};

/// Calls of one peer at a time; further ones wait at the peer.
const STREAMS_MAX: u32 = 1024;

/// A peer that gives no sign of life for the sum of the two is disconnected.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(10);

/// A server that talks to holders of a certificate of the same authority alone. The node adds its services.
pub fn server(credentials: &Credentials) -> Result<Server, Error> {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    server.tls_config(credentials.server_tls())
}

/// What arrives at a listener. Answers leave at once: one that waited for the acknowledgement of its own first half would take 40 ms.
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}
