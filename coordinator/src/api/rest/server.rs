//! Connections: accepting them, serving HTTP on them, and letting them finish when the server is to stop.

use super::body::Bodies;
use super::edge::Edge;
use super::router::router;
use crate::auth::Authenticator;
use crate::service::Service;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use sealdex_core::limits;
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
            body_timeout: Duration::from_secs(120),
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
    let permits = Arc::new(Semaphore::new(options.connections_max));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, permit) = accept(&listener, &permits) => {
                let connection = connection(stream, router.clone(), options.header_timeout, graceful.watcher());
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
    Ok(())
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = permits
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
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
