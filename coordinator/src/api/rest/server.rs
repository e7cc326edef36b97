//! Connections: accepting them, serving HTTP on them, and letting them finish when the server is to stop.

use super::body::Bodies;
use super::edge::Edge;
use super::request_log::Peer;
use super::router::router;
use crate::auth::Authenticator;
use crate::service::Service;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use sealdex_core::limits;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long to wait before accepting again when the system has no file or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Bytes of one request body.
    pub body_bytes_max: usize,
    /// Bytes of all request bodies under way.
    pub bodies_bytes_max: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// Connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// How long requests under way may go on when the server is to stop.
    pub drain_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: limits::BODY_BYTES_MAX,
            bodies_bytes_max: 8 * limits::BODY_BYTES_MAX,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            connections_max: 1024,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Serves the REST API on `listener` until `shutdown` resolves and the requests under way are done or out of time.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    auth: Authenticator,
    options: ServerOptions,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let bodies = Bodies::new(
        options.body_bytes_max,
        options.body_timeout,
        options.bodies_bytes_max,
    );
    let router = router(Edge {
        service,
        authenticator: auth,
        bodies,
    });
    run(listener, router, &options, shutdown).await;
    Ok(())
}

async fn run(
    listener: TcpListener,
    router: Router,
    options: &ServerOptions,
    shutdown: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(options.connections_max));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, peer, permit) = accept(&listener, &permits) => {
                let router = router.clone().layer(Extension(Peer(peer.ip())));
                let connection = connection(stream, router, options.header_timeout, graceful.watcher());
                connections.spawn(hold(permit, connection));
            }
        }
    }
    drop(listener);
    if timeout(options.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "stopped before all requests were done"
        );
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = permits
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn hold(_permit: OwnedSemaphorePermit, connection: impl Future<Output = ()>) {
    connection.await;
}

async fn connection(stream: TcpStream, router: Router, header_timeout: Duration, watcher: Watcher) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    const REQUEST: &[u8] = b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n";
    const SLOW: Duration = Duration::from_millis(300);

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        server: JoinHandle<()>,
    }

    /// A server whose only route takes a while.
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
                Router::new().route("/slow", get(slow)),
                &options,
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
        assert_eq!(answer(send(running.address, b"").await).await, "");
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
    async fn requests_that_take_too_long_are_cut() {
        let drain_timeout = Duration::from_millis(10);
        let running = start(ServerOptions {
            drain_timeout,
            ..ServerOptions::default()
        })
        .await;
        let stream = send(running.address, REQUEST).await;
        sleep(SLOW / 3).await;
        running.stop.send(()).unwrap();
        running.server.await.unwrap();
        assert_eq!(answer(stream).await, "");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_their_turn() {
        let options = ServerOptions {
            connections_max: 1,
            header_timeout: SLOW,
            ..ServerOptions::default()
        };
        let running = start(options).await;
        let idle = send(running.address, b"").await;
        let started = Instant::now();
        let waiting = send(running.address, REQUEST).await;
        assert_eq!(answer(idle).await, "");
        assert!(answer(waiting).await.ends_with("done"));
        assert!(started.elapsed() >= 2 * SLOW - Duration::from_millis(50));
    }
}
