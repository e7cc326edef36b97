//! The admin port: whether the process runs, whether it is ready, and its figures. Nothing else, so it asks for no credential and tells
//! no secret. It is up before storage is opened and until the process ends, and no request of a client has to wait for it.

mod disk;
mod readiness;

pub(crate) use readiness::{Condition, Readiness};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sealdex_telemetry::{EXPOSITION_TYPE, metrics};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time. One more waits until another is closed.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take to send a request's head, and how long it may be idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// How long to wait before accepting again when the system has no file or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// Where the admin port listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AdminAddress(pub(crate) SocketAddr);

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text
            .parse()
            .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let address = port.or_else(|_| text.parse());
        address
            .map(Self)
            .map_err(|_| "neither an address with a port, such as 127.0.0.1:9000, nor a port".to_owned())
    }
}

/// Listens on the admin port and answers there as long as the runtime lives.
pub(crate) async fn start(address: AdminAddress, readiness: Readiness) -> std::io::Result<()> {
    let listener = TcpListener::bind(address.0).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, "the admin port answers /livez, /readyz and /metrics");
    tokio::spawn(accept(listener, readiness));
    Ok(())
}

async fn accept(listener: TcpListener, readiness: Readiness) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let readiness = readiness.clone();
                tokio::spawn(async move {
                    serve(stream, readiness).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, readiness: Readiness) {
    let requests = service_fn(|request: Request<Incoming>| {
        let readiness = readiness.clone();
        async move { Ok::<_, Infallible>(answer(&request, readiness).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), requests);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection of the admin port ended");
    }
}

async fn answer(request: &Request<Incoming>, readiness: Readiness) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/livez" | "/readyz" | "/metrics") {
        return reply(
            StatusCode::NOT_FOUND,
            TEXT,
            "There is /livez, /readyz and /metrics.\n",
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET it.\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        // Must not depend on anything that can be slow or gone.
        "/livez" => reply(StatusCode::OK, TEXT, "live\n"),
        "/readyz" => {
            looked_up(move || {
                let report = readiness.report();
                let status = match report.is_ready {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                };
                reply(status, TEXT, report.text)
            })
            .await
        }
        _ => looked_up(|| reply(StatusCode::OK, EXPOSITION_TYPE, metrics().expose())).await,
    }
}

/// Figures of disks are asked of the system, which may take a while.
async fn looked_up(look: impl FnOnce() -> Response<Full<Bytes>> + Send + 'static) -> Response<Full<Bytes>> {
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|_| {
        reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            TEXT,
            "The figures cannot be told; the log has more.\n",
        )
    })
}

fn reply(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let said: [(HeaderName, &'static str); 2] = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-store")];
    for (name, value) in said {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_this_machines() {
        let parsed = |text: &str| text.parse::<AdminAddress>().map(|address| address.0.to_string());
        assert_eq!(parsed("9000").as_deref(), Ok("127.0.0.1:9000"));
        assert_eq!(parsed("0.0.0.0:9000").as_deref(), Ok("0.0.0.0:9000"));
        assert_eq!(parsed("[::1]:9000").as_deref(), Ok("[::1]:9000"));
        for wrong in ["", "localhost", "99999", "127.0.0.1", ":9000"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
