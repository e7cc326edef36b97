//! The clients of a run: what they share, and how one asks. They keep to what any client may do, and record all of it.

mod audit;
mod probe;
mod users;
mod worker;

pub(crate) use audit::audit;

use bytes::Bytes;
use hyper::Method;
use sealdex_tests::history::{Id, Moment, Recorder, Token};
use sealdex_tests::http::{Http, Reply, Unanswered};
use sealdex_tests::item::Item;
use sealdex_tests::random::Random;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// What all clients of a run share.
pub(crate) struct Work {
    /// Where they take down what they do.
    pub(crate) recorder: Arc<Recorder>,
    coordinators: Vec<SocketAddr>,
    root_key: String,
    index_name: String,
    index_key: String,
    tokens: AtomicU64,
    clients: AtomicU32,
    is_over: AtomicBool,
    notes: Mutex<Notes>,
    users: Mutex<Vec<users::Known>>,
}

/// What is not part of the history.
#[derive(Default)]
pub(crate) struct Notes {
    /// Every request.
    pub(crate) requests: Vec<Request>,
    /// Of each probe, when its writes were acknowledged.
    pub(crate) acknowledged: Vec<Vec<Moment>>,
    /// Answers that no fault explains.
    pub(crate) unexpected: Vec<String>,
}

/// One request.
pub(crate) struct Request {
    /// When it began.
    pub(crate) begin: Moment,
    /// When its client knew what became of it.
    pub(crate) end: Moment,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered as it should be.
    Served,
    /// It was answered with an error of the server, or not at all.
    Failed(String),
    /// No coordinator took the connection.
    Unsent,
}

/// What a client gets.
pub(crate) enum Answer {
    /// An answer of the 200s.
    Served(Reply),
    /// An answer of the 400s: it had no effect.
    Refused(Reply),
    /// Nothing of it was sent: it had no effect.
    Unsent,
    /// Nobody knows whether it had an effect.
    Unknown,
}

/// One client.
pub(crate) struct Client {
    number: u32,
    work: Arc<Work>,
    coordinators: Vec<Http>,
    /// The coordinator that it asks now.
    at: usize,
    patience: Duration,
    random: Random,
}

impl Work {
    /// Makes the index that everybody will use.
    pub(crate) async fn begin(
        recorder: &Arc<Recorder>,
        coordinators: Vec<SocketAddr>,
        root_key: &str,
        random: &mut Random,
    ) -> Result<Arc<Self>, String> {
        let work = Arc::new(Self {
            recorder: recorder.clone(),
            coordinators,
            root_key: root_key.to_owned(),
            index_name: format!("chaos-{}", random.hex(4)),
            index_key: random.hex(32),
            tokens: AtomicU64::new(1),
            clients: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            notes: Mutex::default(),
            users: Mutex::default(),
        });
        let mut client = Client::new(&work, random.word(), PATIENCE);
        match client
            .ask_about("indexes/create", json!({"dimension": DIMENSION}))
            .await
        {
            Answer::Served(_) => Ok(work),
            Answer::Refused(reply) => Err(format!("the index cannot be made: {}", reply.text())),
            Answer::Unsent | Answer::Unknown => Err("nobody answers".to_owned()),
        }
    }

    /// Sets all clients to work until [`Work::end`].
    pub(crate) fn start(self: &Arc<Self>, random: &mut Random) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for _ in 0..WORKERS {
            tasks.spawn(worker::work(Client::new(self, random.word(), PATIENCE)));
        }
        tasks.spawn(worker::list_now_and_then(Client::new(
            self,
            random.word(),
            PATIENCE,
        )));
        for number in 0..PROBES {
            self.notes().acknowledged.push(Vec::new());
            tasks.spawn(probe::work(
                Client::new(self, random.word(), PROBE_PATIENCE),
                number,
            ));
        }
        tasks.spawn(users::come_and_go(Client::new(self, random.word(), PATIENCE)));
        for _ in 0..USERS_AT_WORK {
            tasks.spawn(users::work(Client::new(self, random.word(), PATIENCE)));
        }
        tasks
    }

    /// Tells all clients to finish what they are at.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// What was noted so far.
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A version that nobody wrote yet.
    fn token(&self) -> Token {
        Token(self.tokens.fetch_add(1, Ordering::Relaxed))
    }

    fn note(&self, begin: Moment, outcome: Outcome) {
        let end = self.recorder.now();
        self.notes().requests.push(Request { begin, end, outcome });
    }

    fn unexpected(&self, what: String) {
        self.notes().unexpected.push(what);
    }
}

impl Client {
    fn new(work: &Arc<Work>, seed: u64, patience: Duration) -> Self {
        let number = work.clients.fetch_add(1, Ordering::Relaxed);
        let coordinators = work.coordinators.iter();
        Self {
            number,
            coordinators: coordinators
                .map(|address| {
                    Http::new(*address)
                        .with_header("x-api-key", &work.root_key)
                        .with_header("x-index-key", &work.index_key)
                })
                .collect(),
            work: work.clone(),
            at: number as usize,
            patience,
            random: Random::new(seed),
        }
    }

    /// Asks a route about the index.
    async fn ask_about(&mut self, route: &str, mut body: Value) -> Answer {
        body["index_name"] = json!(self.work.index_name);
        body["index_key"] = json!(self.work.index_key);
        let body = body.to_string().into();
        self.ask(Method::POST, &format!("/v1/{route}"), body).await
    }

    /// Asks once. While nothing is sent, the next coordinator is tried; after a failure, the next request goes there.
    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Answer {
        let begin = self.work.recorder.now();
        for _ in 0..self.coordinators.len() {
            let http = &self.coordinators[self.at % self.coordinators.len()];
            let answer = http
                .send_within(self.patience, method.clone(), path, body.clone())
                .await;
            let reply = match answer {
                Ok(reply) => reply,
                Err(Unanswered(_, false)) => {
                    self.at += 1;
                    continue;
                }
                Err(Unanswered(why, true)) => return self.failed(begin, why).await,
            };
            match reply.status {
                200..300 => {
                    self.work.note(begin, Outcome::Served);
                    return Answer::Served(reply);
                }
                400..500 => {
                    self.work.note(begin, Outcome::Served);
                    return Answer::Refused(reply);
                }
                status => {
                    let why = format!("{path}: {status} {}", start_of(&reply.text()));
                    return self.failed(begin, why).await;
                }
            }
        }
        self.work.note(begin, Outcome::Unsent);
        tokio::time::sleep(BREATH).await;
        Answer::Unsent
    }

    async fn failed(&mut self, begin: Moment, why: String) -> Answer {
        self.work.note(begin, Outcome::Failed(why));
        self.at += 1;
        tokio::time::sleep(BREATH).await;
        Answer::Unknown
    }

    /// Notes a refusal that no client of this run should get.
    fn unexpected(&self, route: &str, reply: &Reply) {
        let text = reply.text();
        self.work
            .unexpected(format!("{route}: {} {}", reply.status, start_of(&text)));
    }
}

/// As much of an answer as a reader needs.
fn start_of(text: &str) -> String {
    text.chars().take(300).collect()
}

/// An item's id as it is spelled.
fn name(id: Id) -> String {
    format!("k{}", id.0)
}

fn id_of(name: &str) -> Option<Id> {
    name.strip_prefix('k')?.parse().ok().map(Id)
}

/// The vector of a version, which is no other version's.
fn vector(token: Token) -> Vec<f32> {
    Random::new(token.0).vector(DIMENSION)
}

/// A version of an item; each of its parts tells which.
fn version(id: Id, token: Token) -> Item {
    Item::bare(name(id), vector(token))
        .with_metadata(json!({"version": token.0}))
        .with_contents(format!("version {} of {}", token.0, id.0))
}

/// Which version was read: one that nobody wrote if its parts do not agree.
fn token_of(item: &Item) -> Token {
    let token = item.metadata.get("version").and_then(Value::as_u64).map(Token);
    let id = id_of(&item.id);
    match (id, token) {
        (Some(id), Some(token)) if version(id, token).is_same_as(item) => token,
        _ => TORN,
    }
}

/// No version has this.
const TORN: Token = Token(u64::MAX);

const DIMENSION: usize = 16;
const WORKERS: usize = 8;
const PROBES: usize = 16;
const USERS_AT_WORK: usize = 2;

/// How long most clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Those who measure for how long writes fail try again sooner.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// Between a failure and the next request.
const BREATH: Duration = Duration::from_millis(50);
