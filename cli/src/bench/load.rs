//! A closed loop: each of some clients sends its next request when the last one is answered. Or an open one: requests
//! are due at a steady rate, whether those before are answered or not, and what waits for a client waits for its answer
//! too (no coordinated omission, as Tene calls it). Answers are kept as they came and read after the clock has stopped.

use crate::client::{ClientError, Connection, Endpoint};
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// A client sends at most this many requests before the clock starts, and at least one.
const WARM_UP_REQUESTS: usize = 50;

/// The share of the least duration that warming up may take.
const WARM_UP_SHARE: u32 = 4;

/// How long a client waits when the server asks it to come back later.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What is to be sent, by whom, for how long.
pub(super) struct Load {
    pub(super) endpoint: Endpoint,
    /// For each request.
    pub(super) timeout: Duration,
    pub(super) path: &'static str,
    /// Sent in order, over and over.
    pub(super) bodies: Vec<Bytes>,
    pub(super) clients: usize,
    /// Requests that are due per second; as many as are answered if `None`.
    pub(super) rate: Option<f64>,
    /// The least and the greatest duration; in between the load ends when every body was sent.
    pub(super) span: (Duration, Duration),
}

/// What came of it.
pub(super) struct Outcome {
    /// Of each answered request.
    pub(super) latencies: Vec<Duration>,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// Requests that the server put off.
    pub(super) refused: usize,
    /// The first answer to each body, where there was time for one.
    pub(super) answers: Vec<Option<Bytes>>,
}

impl Load {
    /// Sends it all. The first failure ends it.
    pub(super) async fn run(self) -> Result<Outcome, ClientError> {
        let bodies = self.bodies.len();
        let start = Barrier::new(self.clients);
        let clients = self.clients;
        let shared = Arc::new(Shared {
            load: self,
            next: AtomicUsize::new(0),
            start,
            began: OnceLock::new(),
        });
        let mut running = JoinSet::new();
        for number in 0..clients {
            running.spawn(shared.clone().client(number));
        }
        let mut tallies = Vec::new();
        while let Some(ended) = running.join_next().await {
            tallies.push(ended.expect("a client neither panics nor is cancelled")?);
        }
        Ok(sum_up(tallies, bodies))
    }
}

struct Shared {
    load: Load,
    next: AtomicUsize,
    start: Barrier,
    /// When the first request was due.
    began: OnceLock<Instant>,
}

struct Tally {
    started: Instant,
    ended: Instant,
    latencies: Vec<Duration>,
    refused: usize,
    answers: Vec<(usize, Bytes)>,
}

impl Shared {
    async fn client(self: Arc<Self>, number: usize) -> Result<Tally, ClientError> {
        let mut connection = Connection::new(&self.load.endpoint, self.load.timeout);
        self.warm_up(&mut connection, number).await?;
        self.start.wait().await;
        let started = *self.began.get_or_init(Instant::now);
        let mut tally = Tally {
            started,
            ended: started,
            latencies: vec![],
            refused: 0,
            answers: vec![],
        };
        let bodies = &self.load.bodies;
        loop {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let sent = self.due(started, turn).await;
            if self.is_over(sent - started, turn) {
                return Ok(tally);
            }
            match connection
                .post(self.load.path, bodies[turn % bodies.len()].clone())
                .await
            {
                Ok(answer) => {
                    tally.ended = Instant::now();
                    tally.latencies.push(tally.ended - sent);
                    if turn < bodies.len() {
                        tally.answers.push((turn, answer));
                    }
                }
                Err(error) if error.is_busy() => {
                    tally.refused += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a request is due, and tells from when its latency counts: from when it was due if nobody was free to
    /// send it, else from now, because timers are late.
    async fn due(&self, started: Instant, turn: usize) -> Instant {
        let Some(rate) = self.load.rate else {
            return Instant::now();
        };
        let due = started + Duration::from_secs_f64(turn as f64 / rate);
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }

    fn is_over(&self, elapsed: Duration, turn: usize) -> bool {
        let (least, greatest) = self.load.span;
        elapsed >= greatest || (elapsed >= least && turn >= self.load.bodies.len())
    }

    /// Each client starts elsewhere, so that together they touch as much as the loop will.
    async fn warm_up(&self, connection: &mut Connection, number: usize) -> Result<(), ClientError> {
        let bodies = &self.load.bodies;
        let first = number * bodies.len() / self.load.clients;
        let started = Instant::now();
        for turn in first..first + WARM_UP_REQUESTS {
            match connection
                .post(self.load.path, bodies[turn % bodies.len()].clone())
                .await
            {
                Err(error) if !error.is_busy() => return Err(error),
                _ if started.elapsed() >= self.load.span.0 / WARM_UP_SHARE => break,
                _ => {}
            }
        }
        Ok(())
    }
}

fn sum_up(tallies: Vec<Tally>, bodies: usize) -> Outcome {
    let started = tallies.iter().map(|tally| tally.started).min();
    let ended = tallies.iter().map(|tally| tally.ended).max();
    let elapsed = started
        .zip(ended)
        .map_or(Duration::ZERO, |(started, ended)| ended - started);
    let mut outcome = Outcome {
        latencies: vec![],
        elapsed,
        refused: 0,
        answers: vec![None; bodies],
    };
    for tally in tallies {
        outcome.latencies.extend(tally.latencies);
        outcome.refused += tally.refused;
        for (turn, answer) in tally.answers {
            outcome.answers[turn] = Some(answer);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers every request with its own body, after `pause`; every fifth of a connection with `status`.
    async fn echo(pause: Duration, status: &'static str) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    for turn in 1.. {
                        let length = stream.read(&mut request).await.unwrap_or(0);
                        if length == 0 {
                            return;
                        }
                        let text = String::from_utf8_lossy(&request[..length]);
                        let body = text.split_once("\r\n\r\n").unwrap().1;
                        let status = if turn % 5 == 0 { status } else { "200 OK" };
                        let answer = format!(
                            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        tokio::time::sleep(pause).await;
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Endpoint::new(&url, None).unwrap()
    }

    fn load(endpoint: Endpoint, clients: usize, least: u64, greatest: u64) -> Load {
        Load {
            endpoint,
            timeout: Duration::from_secs(5),
            path: "/v1/vectors/query",
            bodies: (0..20)
                .map(|number| Bytes::from(format!("{{\"n\":{number}}}")))
                .collect(),
            clients,
            rate: None,
            span: (Duration::from_millis(least), Duration::from_millis(greatest)),
        }
    }

    #[tokio::test]
    async fn every_body_is_answered_once_at_least_and_answers_keep_their_place() {
        let outcome = load(echo(Duration::ZERO, "200 OK").await, 4, 0, 60_000)
            .run()
            .await
            .unwrap();
        assert_eq!(outcome.latencies.len(), 20);
        for (number, answer) in outcome.answers.iter().enumerate() {
            assert_eq!(answer.as_ref().unwrap(), &format!("{{\"n\":{number}}}"));
        }
    }

    #[tokio::test]
    async fn it_goes_on_for_the_least_and_stops_after_the_greatest_duration() {
        let pause = Duration::from_millis(10);
        let outcome = load(echo(pause, "200 OK").await, 2, 400, 60_000)
            .run()
            .await
            .unwrap();
        assert!(outcome.elapsed >= Duration::from_millis(390) && outcome.latencies.len() > 20);
        assert!(outcome.latencies.iter().all(|latency| *latency >= pause));
        let outcome = load(echo(pause, "200 OK").await, 1, 50, 50).run().await.unwrap();
        assert!(outcome.answers.iter().any(Option::is_none) && outcome.elapsed < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn requests_are_due_at_a_rate_and_wait_for_who_is_too_slow() {
        let quick = Load {
            rate: Some(200.0),
            ..load(echo(Duration::ZERO, "200 OK").await, 4, 500, 60_000)
        };
        let outcome = quick.run().await.unwrap();
        assert!(
            (80..=110).contains(&outcome.latencies.len()),
            "{}",
            outcome.latencies.len()
        );
        // One client, who is busy for twice as long as there is between two requests: each waits longer than the one before.
        let pause = Duration::from_millis(20);
        let slow = Load {
            rate: Some(100.0),
            ..load(echo(pause, "200 OK").await, 1, 400, 60_000)
        };
        let outcome = slow.run().await.unwrap();
        let last = outcome.latencies.last().unwrap();
        assert!(*last >= 5 * pause, "the last waited for {last:?}");
    }

    #[tokio::test]
    async fn a_busy_server_is_asked_again_and_a_failing_one_is_not() {
        let busy = echo(Duration::ZERO, "503 Service Unavailable").await;
        let outcome = load(busy, 1, 0, 60_000).run().await.unwrap();
        assert!(outcome.refused > 0 && outcome.latencies.len() + outcome.refused == 20);
        let failing = echo(Duration::ZERO, "500 Internal Server Error").await;
        let error = load(failing, 1, 0, 60_000).run().await.err().unwrap();
        assert!(
            matches!(error, ClientError::Status { status: 500, .. }),
            "{error}"
        );
    }
}
