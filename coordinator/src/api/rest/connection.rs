//! One connection: serves HTTP on it, tells [`Connections`](super::connections::Connections) what it is at, and ends it
//! when it is late or its place is needed.

use super::body::linger;
use super::connections::{Admission, Holder, Seat, Stage};
use super::errors::ApiError;
use super::request_log::Peer;
use super::server::ServerOptions;
use crate::service::ServiceError;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use sealdex_core::ErrorCode;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tower::ServiceExt;

/// The only route that answers in the lobby.
const HEALTH: &str = "/v1/health";

/// How long a connection may stay in the lobby.
const LOBBY_TIME: Duration = Duration::from_secs(5);

/// Serves requests until the client or the server has enough.
pub(super) async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    seat: Seat,
    router: Router,
    options: &ServerOptions,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let holder = &seat.holder;
    let requests = service_fn(|request: hyper::Request<Incoming>| {
        let mut request = request.map(|body| {
            Body::new(Arriving {
                body,
                holder: holder.clone(),
            })
        });
        request.extensions_mut().insert(Peer(peer));
        answer(request, router.clone(), &seat)
    });
    let io = TokioIo::new(Watched {
        stream,
        holder: holder.clone(),
    });
    // Heads have a deadline of ours, which does not count the time between two requests. A client that has sent all it
    // will and says so still waits for its answer.
    let connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(io, requests);
    tokio::select! {
        biased;
        () = holder.displaced() => tracing::debug!("connection made room for another"),
        ended = watcher.watch(connection) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        }
        () = late(holder, seat.admission, options) => tracing::debug!("connection was idle or slow for too long"),
    }
}

async fn answer(request: Request, router: Router, seat: &Seat) -> Result<Response, Infallible> {
    if seat.holder.begin_request().is_err() {
        return Ok(closing(refuse(request)));
    }
    let under_way = UnderWay(seat.holder.clone());
    let response = match seat.admission {
        Admission::Seated => {
            let response = router.oneshot(request).await?;
            match seat.is_to_end() {
                true => closing(response),
                false => response,
            }
        }
        Admission::Lobby if request.uri().path() == HEALTH => closing(router.oneshot(request).await?),
        Admission::Lobby => closing(refuse(request)),
    };
    Ok(response.map(|body| {
        Body::new(Answer {
            body,
            _under_way: under_way,
        })
    }))
}

fn refuse(request: Request) -> Response {
    if !request.headers().contains_key(header::EXPECT) {
        linger(request.into_body());
    }
    ApiError::from(ServiceError::new(
        ErrorCode::Busy,
        "The server has too many connections of this address or in all; close idle ones, keep fewer open, or send the \
         request again.",
    ))
    .into_response()
}

fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Resolves when a head takes too long, or the time between two requests.
async fn late(holder: &Holder, admission: Admission, options: &ServerOptions) {
    let opened = Instant::now();
    loop {
        let (stage, since) = holder.stage();
        let deadline = match (admission, stage) {
            (Admission::Lobby, _) => opened + LOBBY_TIME,
            (_, Stage::Head) => since + options.header_timeout,
            (_, Stage::Idle) => since + options.idle_timeout,
            // Bodies have deadlines of their own.
            (_, Stage::Body | Stage::Request) => Instant::now() + options.idle_timeout,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // A head that begins meanwhile has its deadline no sooner than after this.
        sleep(left.min(options.header_timeout)).await;
    }
}

/// Marks a request as under way until its answer is handed over.
struct UnderWay(Arc<Holder>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// A request's body, which tells whether it has to be waited for.
struct Arriving {
    body: Incoming,
    holder: Arc<Holder>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match polled {
            Poll::Pending => self.holder.body_awaited(),
            Poll::Ready(_) => self.holder.body_came(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.holder.body_came();
    }
}

/// An answer's body.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells when bytes come and go.
struct Watched {
    stream: TcpStream,
    holder: Arc<Holder>,
}

impl Watched {
    fn note_sent(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.holder.sent();
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.holder.received();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_sent(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note_sent(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
