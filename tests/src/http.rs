//! A small HTTP/1.1 client that keeps its connections. It follows no redirect and repeats no request, because the tests need to
//! know of each request whether it was answered.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// A client of one address.
pub struct Http {
    address: SocketAddr,
    /// Where connections come from, if not from wherever the system chooses.
    from: Option<IpAddr>,
    headers: Vec<(String, String)>,
    connected: AtomicUsize,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// What the server answered.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The request got no answer: whether it took effect is not known, unless nothing of it was sent.
#[derive(Debug)]
pub struct Unanswered(
    /// Why.
    pub String,
    /// False if nothing of it was sent: it had no effect and will have none.
    pub bool,
);

impl Http {
    /// A client of `address`; connects when first used.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            from: None,
            headers: Vec::new(),
            connected: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    /// A client of the same address that sends one more header with every request.
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.push((name.to_owned(), value.to_owned()));
        Self {
            from: self.from,
            headers,
            ..Self::new(self.address)
        }
    }

    /// A client of the same address whose connections come from this one of the machine's addresses.
    pub fn coming_from(&self, from: IpAddr) -> Self {
        Self {
            from: Some(from),
            headers: self.headers.clone(),
            ..Self::new(self.address)
        }
    }

    /// How many connections it has opened so far.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fetches `path`.
    pub async fn get(&self, path: &str) -> Result<Reply, Unanswered> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Posts `body` as JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply, Unanswered> {
        self.send(Method::POST, path, body.to_string().into()).await
    }

    /// Sends any bytes, declared as JSON.
    pub async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Reply, Unanswered> {
        self.send_within(ANSWER_TIME_MAX, method, path, body).await
    }

    /// The same with less patience, of which a quarter is for connecting; the connection of a request that took longer is closed.
    pub async fn send_within(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, Unanswered> {
        let exchange = self.exchange(patience / 4, method, path, body);
        match tokio::time::timeout(patience, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Unanswered(
                format!("no answer to {path} within {patience:?}"),
                true,
            )),
        }
    }

    async fn exchange(
        &self,
        connects_within: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, Unanswered> {
        let mut request = self.request(method, path, body)?;
        loop {
            let (mut connection, is_fresh) = self.connection(connects_within).await?;
            match connection.try_send_request(request).await {
                Ok(answer) => {
                    let (head, incoming) = answer.into_parts();
                    let body = incoming
                        .collect()
                        .await
                        .map_err(|error| Unanswered(error.to_string(), true))?;
                    self.idle.lock().push(connection);
                    return Ok(Reply {
                        status: head.status.as_u16(),
                        headers: head.headers,
                        body: body.to_bytes(),
                    });
                }
                // A kept connection that the server had closed meanwhile: nothing of the request was sent.
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) if !is_fresh => request = unsent,
                    unsent => return Err(Unanswered(refused.into_error().to_string(), unsent.is_none())),
                },
            }
        }
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Unanswered> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string());
        if !self.headers.iter().any(|(name, _)| name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(body))
            .map_err(|error| Unanswered(error.to_string(), false))
    }

    /// A connection, and whether it was opened just now.
    async fn connection(&self, within: Duration) -> Result<(SendRequest<Full<Bytes>>, bool), Unanswered> {
        loop {
            let Some(mut kept) = self.idle.lock().pop() else {
                break;
            };
            if kept.ready().await.is_ok() {
                return Ok((kept, false));
            }
        }
        self.connected.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(within, self.open()).await {
            Ok(Ok(opened)) => Ok((opened, true)),
            Ok(Err(error)) => Err(Unanswered(error.to_string(), false)),
            Err(_) => Err(Unanswered(format!("no connection within {within:?}"), false)),
        }
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = match self.from {
            Some(from) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::new(from, 0))?;
                socket.connect(self.address).await?
            }
            None => TcpStream::connect(self.address).await?,
        };
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(sender)
    }
}

impl Reply {
    /// The body as JSON; `null` if it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON body of a 200; anything else fails the test with the whole answer.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
}

/// A request unanswered for so long is a hang.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
