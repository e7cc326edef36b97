//! The server: accepts connections, finds each a place, and lets requests finish when it is to stop.

use super::body::Bodies;
use super::connection;
use super::connections::Connections;
use super::edge::Edge;
use super::router::router;
use crate::auth::Authenticator;
use crate::service::Service;
use axum::Router;
use futures_util::FutureExt;
use hyper_util::server::graceful::GracefulShutdown;
use sealdex_core::limits;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long to wait before accepting again when the system has no file or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request that was on its way when the last connection was accepted has come within this time.
const LAST_REQUESTS: Duration = Duration::from_millis(200);

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Bytes of all request bodies under way.
    pub bodies_bytes_max: usize,
    /// How long a request's head may take from its first byte on.
    pub header_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How long a request's body may take in all.
    pub body_timeout: Duration,
    /// How long a body may be slower than [`limits::BODY_RATE_MIN`].
    pub body_grace: Duration,
    /// Connections at a time. One more takes the place of one that waits, or is told to come back.
    pub connections_max: usize,
    /// Connections of one remote address at a time. A proxy in front is one address.
    pub connections_per_address: usize,
    /// How long requests are still taken when the server is to stop: whoever sends them has to notice first that they are to go elsewhere.
    pub drain_delay: Duration,
    /// How long requests under way may go on after that.
    pub drain_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: limits::BODY_BYTES_MAX,
            bodies_bytes_max: 8 * limits::BODY_BYTES_MAX,
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(120),
            body_grace: Duration::from_secs(10),
            connections_max: limits::CONNECTIONS_MAX,
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS_MAX,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Serves the REST API on `listener` until `shutdown` resolves, and then ends such that no request fails: for
/// [`drain_delay`](ServerOptions::drain_delay) it goes on, but every answer is its connection's last; then nobody is let in, connections
/// that are idle are closed, and the requests under way are finished, unless they run out of time.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    auth: Authenticator,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let router = router(Edge {
        service,
        authenticator: auth,
        bodies: Bodies::new(&options),
    });
    run(listener, router, options, shutdown).await;
    Ok(())
}

async fn run(
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) {
    let mut server = Server {
        connections: Connections::new(&options),
        router,
        options: Arc::new(options),
        graceful: GracefulShutdown::new(),
        serving: JoinSet::new(),
    };
    server.serve_until(&listener, shutdown).await;
    server.connections.drain();
    server
        .serve_until(&listener, sleep(server.options.drain_delay))
        .await;
    // Who is connected already would be cut off with the listener.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        server.take(stream, peer);
    }
    drop(listener);
    sleep(LAST_REQUESTS).await;
    server.finish().await;
}

/// A server and those it serves.
struct Server {
    connections: Connections,
    router: Router,
    options: Arc<ServerOptions>,
    graceful: GracefulShutdown,
    serving: JoinSet<()>,
}

impl Server {
    async fn serve_until(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                Some(_) = self.serving.join_next() => {}
                (stream, peer) = accept(listener) => self.take(stream, peer),
            }
        }
    }

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        // Without a place the stream is dropped, which closes it.
        if let Some(seat) = self.connections.admit(peer.ip()) {
            let (router, options, watcher) =
                (self.router.clone(), self.options.clone(), self.graceful.watcher());
            self.serving.spawn(async move {
                connection::serve(stream, peer.ip(), seat, router, &options, watcher).await;
            });
        }
    }

    async fn finish(self) {
        if timeout(self.options.drain_timeout, self.graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.serving.len(),
                "stopped before all requests were done"
            );
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n";
    const ENDLESS: &[u8] = b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n";
    const SLOW: Duration = Duration::from_millis(300);

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        server: JoinHandle<()>,
    }

    /// A server whose routes take a while, and for ever.
    async fn start(options: ServerOptions) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = || async {
            sleep(SLOW).await;
            "done"
        };
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let shutdown = async {
                stopped.await.unwrap();
            };
            run(
                listener,
                Router::new()
                    .route("/slow", get(slow))
                    .route("/endless", get(std::future::pending::<&str>)),
                options,
                shutdown,
            )
            .await;
        });
        Running {
            address,
            stop,
            server,
        }
    }

    async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        // A connection that is cut may end in an error; what came before it counts.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_ends_its_connection() {
        let header_timeout = Duration::from_millis(50);
        let running = start(ServerOptions {
            header_timeout,
            ..ServerOptions::default()
        })
        .await;
        assert_eq!(answer(send(running.address, b"GET /slow HT").await).await, "");
    }

    #[tokio::test]
    async fn a_client_that_closes_its_half_is_answered() {
        let running = start(ServerOptions::default()).await;
        let mut stream = send(running.address, REQUEST).await;
        stream.shutdown().await.unwrap();
        assert!(answer(stream).await.ends_with("done"));
    }

    #[tokio::test]
    async fn requests_under_way_are_finished() {
        let running = start(ServerOptions::default()).await;
        let stream = send(running.address, REQUEST).await;
        sleep(SLOW / 3).await;
        running.stop.send(()).unwrap();
        assert!(answer(stream).await.ends_with("done"));
        running.server.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }

    #[tokio::test]
    async fn for_a_while_requests_are_still_taken_and_their_connections_closed() {
        let running = start(ServerOptions {
            drain_delay: 10 * SLOW,
            ..ServerOptions::default()
        })
        .await;
        let idle = send(running.address, b"").await;
        let under_way = send(running.address, REQUEST).await;
        sleep(SLOW / 3).await;
        running.stop.send(()).unwrap();
        sleep(SLOW / 3).await;
        let newcomer = send(running.address, REQUEST).await;
        for stream in [under_way, newcomer] {
            let answer = answer(stream).await;
            assert!(answer.ends_with("done"), "{answer}");
            assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        }
        // A request on a connection that was kept is answered like any other.
        let mut idle = idle;
        idle.write_all(REQUEST).await.unwrap();
        assert!(answer(idle).await.ends_with("done"));
        running.server.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }

    #[tokio::test]
    async fn who_connected_last_and_who_asks_last_are_answered() {
        let running = start(ServerOptions::default()).await;
        let kept = send(running.address, b"").await;
        sleep(SLOW / 3).await;
        running.stop.send(()).unwrap();
        // Both come to a server that has been told to stop.
        let newcomer = send(running.address, REQUEST).await;
        let mut kept = kept;
        kept.write_all(REQUEST).await.unwrap();
        for stream in [newcomer, kept] {
            assert!(answer(stream).await.ends_with("done"));
        }
        running.server.await.unwrap();
    }

    #[tokio::test]
    async fn requests_that_take_too_long_are_cut() {
        let drain_timeout = Duration::from_millis(10);
        let running = start(ServerOptions {
            drain_timeout,
            ..ServerOptions::default()
        })
        .await;
        let stream = send(running.address, ENDLESS).await;
        sleep(SLOW / 3).await;
        running.stop.send(()).unwrap();
        running.server.await.unwrap();
        assert_eq!(answer(stream).await, "");
    }

    #[tokio::test]
    async fn a_connection_that_stays_idle_is_closed() {
        let idle_timeout = Duration::from_millis(50);
        let running = start(ServerOptions {
            idle_timeout,
            ..ServerOptions::default()
        })
        .await;
        assert_eq!(answer(send(running.address, b"").await).await, "");
        assert!(
            answer(send(running.address, REQUEST).await)
                .await
                .ends_with("done"),
            "an answer takes longer than a connection may be idle"
        );
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_an_idle_connection_or_is_told_to_come_back() {
        let running = start(ServerOptions {
            connections_max: 1,
            idle_timeout: 2 * SLOW,
            ..ServerOptions::default()
        })
        .await;
        let idle = send(running.address, b"").await;
        sleep(SLOW / 6).await;
        let served = send(running.address, REQUEST).await;
        assert_eq!(answer(idle).await, "");
        sleep(SLOW / 6).await;
        let refused = answer(send(running.address, REQUEST).await).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert!(refused.to_lowercase().contains("retry-after: 1"), "{refused}");
        assert!(refused.to_lowercase().contains("connection: close"), "{refused}");
        assert!(answer(served).await.ends_with("done"));
    }
}
