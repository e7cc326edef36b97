//! One keep-alive HTTP/1.1 connection, at as little cost as possible: the processor is shared with the server under
//! test. The connection is driven by whoever waits for the answer, so no task is woken in between. It knows paths
//! and bodies, not what they mean.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Characters of a server's error text that are passed on.
const DETAIL_CHARS: usize = 300;

/// Why a request brought no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Not an address we can use.
    #[error("--url {0:?} is not of the form http://host:port; for https, put a proxy in between")]
    Url(String),
    /// A path has characters that no URL may have.
    #[error("{0:?} cannot stand in a URL")]
    Path(String),
    /// The API key has characters that no header may have.
    #[error("the API key holds characters that cannot be sent in a header; check where it comes from")]
    ApiKey,
    /// Nobody listens.
    #[error(
        "no server answers at {authority}: {source}; start one with `sealdex serve`, or name it with --url"
    )]
    Connect {
        /// Host and port.
        authority: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection broke during {path}: {source}; the server's log should tell why")]
    Lost {
        /// The route.
        path: String,
        /// What hyper says.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{path} took longer than {seconds} s; raise --timeout, or for training --train-timeout")]
    Timeout {
        /// The route.
        path: String,
        /// The limit.
        seconds: u64,
    },
    /// The server refused.
    #[error("{path} was refused with status {status}: {detail}")]
    Status {
        /// The route.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The server's reason, without what it echoes of the request.
        detail: String,
    },
    /// Not the answer that the contract promises.
    #[error("{path} answered what the contract does not allow: {source}; is this a server of that contract?")]
    Reply {
        /// The route.
        path: String,
        /// Where it differs.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Whether the server answered and took nothing of the request.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, ClientError::Status { status, .. } if *status < 500)
    }

    /// Whether the server asks to come back later.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(
            self,
            ClientError::Status {
                status: 429 | 503,
                ..
            }
        )
    }
}

/// Where requests go, and the credential they carry. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoint {
    authority: Arc<str>,
    host: HeaderValue,
    /// Sent with every request.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Endpoint {
    /// Reads `http://host[:port]`.
    pub(crate) fn new(url: &str, api_key: Option<&str>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Url(url.into());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri
            .authority()
            .filter(|_| uri.scheme_str() == Some("http"))
            .ok_or_else(wrong)?;
        if !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
        let authority = match authority.port_u16() {
            Some(_) => authority.as_str().into(),
            None => format!("{authority}:80").into(),
        };
        let endpoint = Self {
            authority,
            host,
            headers: Vec::new(),
        };
        match api_key {
            Some(key) => endpoint.with_secret(HeaderName::from_static("x-api-key"), key),
            None => Ok(endpoint),
        }
    }

    /// The same, with one more header in every request.
    pub(crate) fn with_secret(mut self, name: HeaderName, secret: &str) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(secret).map_err(|_| ClientError::ApiKey)?;
        value.set_sensitive(true);
        self.headers.push((name, value));
        Ok(self)
    }
}

/// One connection, opened when first used and again whenever the server has closed it.
pub(crate) struct Connection {
    endpoint: Endpoint,
    timeout: Duration,
    live: Option<Live>,
}

impl Connection {
    /// A connection whose requests may take `timeout` each. Nothing is opened yet.
    pub(crate) fn new(endpoint: &Endpoint, timeout: Duration) -> Self {
        Self {
            endpoint: endpoint.clone(),
            timeout,
            live: None,
        }
    }

    /// Sends JSON and waits for the whole body of a successful answer.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        self.exchange(Method::POST, path, body).await
    }

    /// Asks for a path without a body.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes, ClientError> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// Asks for what is at a path to be removed.
    pub(crate) async fn delete(&mut self, path: &str) -> Result<Bytes, ClientError> {
        self.exchange(Method::DELETE, path, Bytes::new()).await
    }

    /// Opens the connection if it is not open.
    pub(crate) async fn open(&mut self) -> Result<(), ClientError> {
        if self.live.is_none() {
            let failed = |source| ClientError::Connect {
                authority: self.endpoint.authority.to_string(),
                source,
            };
            let stream = TcpStream::connect(&*self.endpoint.authority)
                .await
                .map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let (sender, driver) =
                http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|source| ClientError::Lost {
                        path: "the handshake".into(),
                        source,
                    })?;
            self.live = Some(Live {
                sender,
                driver: Box::pin(driver),
            });
        }
        Ok(())
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let deadline = tokio::time::timeout(self.timeout, self.exchange_untimed(method, path, body));
        let Ok(outcome) = deadline.await else {
            self.live = None;
            return Err(ClientError::Timeout {
                path: path.into(),
                seconds: self.timeout.as_secs(),
            });
        };
        let (status, body) = outcome?;
        if status.is_success() {
            return Ok(body);
        }
        Err(ClientError::Status {
            path: path.into(),
            status: status.as_u16(),
            detail: detail(&body),
        })
    }

    /// A server may close an idle connection at any time: what was then never sent is sent once more, on a new one.
    async fn exchange_untimed(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        loop {
            let reused = self.live.is_some();
            self.open().await?;
            let request = self.request(method.clone(), path, body.clone())?;
            let Some(live) = self.live.take() else {
                continue;
            };
            match live.exchange(request).await {
                Ok((status, body, live)) => {
                    self.live = live;
                    return Ok((status, body));
                }
                Err(error) if reused && was_never_sent(&error) => {}
                Err(source) => {
                    return Err(ClientError::Lost {
                        path: path.into(),
                        source,
                    });
                }
            }
        }
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| ClientError::Path(path.into()))?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.endpoint.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &self.endpoint.headers {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }
}

struct Live {
    sender: SendRequest<Full<Bytes>>,
    driver: std::pin::Pin<Box<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

impl Live {
    /// Status, body, and the connection if it can be used again.
    async fn exchange(
        self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<(StatusCode, Bytes, Option<Self>)> {
        let Self {
            mut sender,
            mut driver,
        } = self;
        let answer = async move {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes(), sender))
        };
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answered = &mut answer => {
                answered.map(|(status, body, sender)| (status, body, Some(Self { sender, driver })))
            }
            ended = &mut driver => {
                // What is still on its way to the driver waits for it as long as it is there.
                drop(driver);
                let answered: hyper::Result<_> = answer.await;
                match (&answered, ended) {
                    (Err(error), Err(reason)) if !was_never_sent(error) => Err(reason),
                    _ => answered.map(|(status, body, _)| (status, body, None)),
                }
            }
        }
    }
}

/// Whether nothing of a request has left: the connection had ended before it was its turn.
fn was_never_sent(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed()
}

/// A name as one segment of a path (RFC 3986, section 2.1).
pub(crate) fn segment(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => text.push(char::from(byte)),
            // Writing to a text cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

/// What the server says is wrong. Servers exist that echo the request, key included, beside it: only the known
/// fields are read, and of plain text only the beginning.
fn detail(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(reply) => match &reply["detail"] {
            Value::String(detail) => detail.clone(),
            Value::Array(problems) => {
                let messages = problems.iter().map(|p| format!("{} at {}", p["msg"], p["loc"]));
                messages.collect::<Vec<_>>().join("; ")
            }
            _ => "no reason given".into(),
        },
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    text.chars().take(DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn addresses_are_http_with_a_host() {
        assert_eq!(
            &*Endpoint::new("http://127.0.0.1:8000", None).unwrap().authority,
            "127.0.0.1:8000"
        );
        assert_eq!(
            &*Endpoint::new("http://localhost/", None).unwrap().authority,
            "localhost:80"
        );
        for wrong in [
            "",
            "127.0.0.1:8000",
            "https://localhost:1",
            "http://localhost:1/v1",
            "http://",
        ] {
            assert!(Endpoint::new(wrong, None).is_err(), "{wrong}");
        }
        assert!(matches!(
            Endpoint::new("http://h:1", Some("a\nb")),
            Err(ClientError::ApiKey)
        ));
    }

    #[test]
    fn the_request_is_never_repeated_in_an_error() {
        let echo =
            br#"{"detail":[{"msg":"field required","loc":["body","x"],"input":{"index_key":"5ec7e7"}}]}"#;
        let text = detail(echo);
        assert!(
            text.contains("field required") && !text.contains("5ec7e7"),
            "{text}"
        );
        assert_eq!(
            detail(br#"{"status_code":404,"detail":"no such index"}"#),
            "no such index"
        );
        assert_eq!(detail(b"Internal Server Error"), "Internal Server Error");
    }

    /// Answers `answers` requests per connection, then closes it, as servers do with idle ones.
    async fn closing_server(answers: usize) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                for _ in 0..answers {
                    let mut request = [0; 4096];
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await
                        .unwrap();
                }
            }
        });
        Endpoint::new(&url, None).unwrap()
    }

    #[tokio::test]
    async fn a_connection_closed_while_idle_is_opened_again() {
        let endpoint = closing_server(2).await;
        let mut connection = Connection::new(&endpoint, Duration::from_secs(5));
        for _ in 0..7 {
            let answer = connection
                .post("/v1/vectors/query", Bytes::from_static(b"{}"))
                .await
                .unwrap();
            assert_eq!(&answer[..], b"ok");
        }
    }

    /// A connection that has had one answer, and whose server is gone since.
    async fn connection_of_a_server_that_died(timeout: Duration) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
        });
        let mut connection = Connection::new(&Endpoint::new(&url, None).unwrap(), timeout);
        assert_eq!(&connection.get("/v1/health").await.unwrap()[..], b"ok");
        server.await.unwrap();
        connection
    }

    #[tokio::test]
    async fn a_server_that_dies_between_two_requests_is_not_waited_for() {
        let mut connection = connection_of_a_server_that_died(Duration::from_secs(30)).await;
        for _ in 0..2 {
            let error = connection.get("/v1/health").await.expect_err("nobody is there");
            assert!(matches!(error, ClientError::Connect { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        drop(listener);
        let endpoint = Endpoint::new(&format!("http://{authority}"), None).unwrap();
        let error = Connection::new(&endpoint, Duration::from_secs(5))
            .get("/v1/health")
            .await
            .expect_err("nobody");
        assert!(error.to_string().contains(&authority), "{error}");
    }
}
