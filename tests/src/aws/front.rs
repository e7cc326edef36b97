//! Stands before moto: counts and keeps the calls, and answers in its place where AWS would refuse and moto does not.

use super::imitation;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// One call as it came.
#[derive(Clone)]
pub struct Call {
    /// `Encrypt`, `Decrypt`, `GetSecretValue` or `AssumeRole`.
    pub operation: String,
    /// As they came.
    pub headers: HeaderMap,
    /// As it came.
    pub body: String,
}

/// What is done with a call.
pub enum Answer {
    /// What moto answers.
    Motos,
    /// An error as KMS and Secrets Manager send it.
    Error(u16, &'static str),
    /// Anything.
    Text(u16, String),
    /// None, and the connection stays open.
    Never,
}

type Rule = Box<dyn Fn(&Call) -> Answer + Send>;

/// A listening front; ends with the runtime of its test.
pub struct Front {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    calls: Mutex<Vec<Call>>,
    rule: Mutex<Rule>,
}

impl Front {
    /// On a free port, answering what moto answers.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        Self::listen(listener)
    }

    /// On a port that is bound already.
    pub fn listen(listener: TcpListener) -> Self {
        let seen = Arc::new(Seen {
            calls: Mutex::default(),
            rule: Mutex::new(Box::new(|_| Answer::Motos)),
        });
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                let service = hyper::service::service_fn(move |request| answer(shared.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, seen }
    }

    /// What AWS's clients take as their endpoint.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on calls are answered by `rule`.
    pub fn rule(&self, rule: impl Fn(&Call) -> Answer + Send + 'static) {
        *self.seen.rule.lock() = Box::new(rule);
    }

    /// The calls since the last time, which are forgotten.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.seen.calls.lock())
    }

    /// The operations of the calls since the last time, which are forgotten.
    pub fn operations(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.operation).collect()
    }
}

async fn answer(seen: Arc<Seen>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .expect("a client sends its whole body")
        .to_bytes();
    let call = Call {
        operation: operation(&head.headers, &body),
        headers: head.headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    seen.calls.lock().push(call.clone());
    let answer = seen.rule.lock()(&call);
    Ok(match answer {
        Answer::Motos => forward(Request::from_parts(head, Full::new(body))).await,
        Answer::Error(status, code) => {
            let text = format!(r#"{{"__type":"{code}","message":"for arn:aws:kms:eu-west-1:1:key/inner"}}"#);
            respond(status, text)
        }
        Answer::Text(status, text) => respond(status, text),
        Answer::Never => std::future::pending().await,
    })
}

fn operation(headers: &HeaderMap, body: &[u8]) -> String {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let action = || {
        let body = std::str::from_utf8(body).unwrap_or_default();
        body.split('&')
            .find_map(|pair| pair.strip_prefix("Action="))
            .unwrap_or_default()
            .to_owned()
    };
    target
        .and_then(|target| target.rsplit('.').next())
        .map_or_else(action, str::to_owned)
}

async fn forward(request: Request<Full<Bytes>>) -> Response<Full<Bytes>> {
    let stream = TcpStream::connect(imitation())
        .await
        .expect("the imitation is up");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("the imitation speaks HTTP");
    tokio::spawn(connection);
    let (head, body) = sender
        .send_request(request)
        .await
        .expect("the imitation answers")
        .into_parts();
    Response::from_parts(
        head,
        Full::new(
            body.collect()
                .await
                .expect("the imitation answers in full")
                .to_bytes(),
        ),
    )
}

fn respond(status: u16, text: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::new(text.into()))
        .expect("a status and a text make a response")
}
