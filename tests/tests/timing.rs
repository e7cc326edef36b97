//! How long a refusal takes tells nothing of how nearly right a secret was: one that shares all but its end with the right one and one
//! that shares nothing get the same body and status, after times that Welch's test cannot tell apart. `make chaos` asks often enough to
//! judge (50,000 times for each kind of secret); every other run asks a few times, shows the figure, and judges the answers alone.
#![allow(clippy::unwrap_used)]

use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::random::Random;
use sealdex_tests::server::Home;
use sealdex_tests::welch::{T_MAX, t_without_outliers};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

const ROOT: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// From so many on the figures are judged.
const REQUESTS_JUDGED: usize = 50_000;

const HEX: &[u8] = b"0123456789abcdef";
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn requests() -> usize {
    let given = std::env::var("SEALDEX_TIMING_REQUESTS").ok();
    given.map_or(2_000, |given| {
        given.parse().expect("SEALDEX_TIMING_REQUESTS is a number")
    })
}

/// A request with a secret in it that is exchanged before each sending, in place, so that nothing else differs.
struct Question {
    bytes: Vec<u8>,
    /// Where the secret stands.
    at: usize,
    right: Vec<u8>,
    /// The part of the secret that is guessed: what stands before it and behind it is the same in all.
    guessed: std::ops::Range<usize>,
    alphabet: &'static [u8],
}

impl Question {
    fn new(request: &str, right: &str, guessed: std::ops::Range<usize>, alphabet: &'static [u8]) -> Self {
        let at = request.find(right).unwrap();
        Self {
            bytes: request.as_bytes().to_vec(),
            at,
            right: right.as_bytes().to_vec(),
            guessed,
            alphabet,
        }
    }

    /// Puts in a wrong secret: one that is right but for its last two characters, or one that shares nothing.
    fn guess(&mut self, nearly: bool, random: &mut Random) {
        let end = self.guessed.end;
        let wrong = if nearly {
            end - 2..end
        } else {
            self.guessed.clone()
        };
        let secret = &mut self.bytes[self.at..self.at + self.right.len()];
        secret.copy_from_slice(&self.right);
        for (place, &right) in secret
            .iter_mut()
            .zip(&self.right)
            .take(wrong.end)
            .skip(wrong.start)
        {
            // No character is right, so that what is shared is known.
            while *place == right {
                *place = self.alphabet[random.below(self.alphabet.len())];
            }
        }
    }
}

/// Asks so often, near and far at random on one connection, and returns t of the two lists of times. All answers are the same.
fn ask(address: SocketAddr, mut question: Question, times: usize) -> f64 {
    let mut random = Random::from_clock("timing", "SEALDEX_TIMING_SEED");
    let mut connection = Connection::open(address);
    let mut samples = [Vec::with_capacity(times), Vec::with_capacity(times)];
    let mut first = None;
    for n in 0..times + WARM_UP {
        let nearly = random.chance(50);
        question.guess(nearly, &mut random);
        let begun = Instant::now();
        let answer = connection.exchange(&question.bytes);
        let took = begun.elapsed().as_secs_f64() * 1e6;
        assert_eq!(
            &answer,
            first.get_or_insert_with(|| answer.clone()),
            "all answers are the same"
        );
        if n >= WARM_UP {
            samples[usize::from(nearly)].push(took);
        }
    }
    let (status, body) = first.unwrap();
    assert_eq!(status, 401, "{body}");
    t_without_outliers(&samples[1], &samples[0])
}

/// One keep-alive connection whose answers are read as they come, without a runtime in between.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: vec![0; 64 << 10],
        }
    }

    /// Status and body.
    fn exchange(&mut self, request: &[u8]) -> (u16, String) {
        self.stream.write_all(request).unwrap();
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
            if let Some(answer) = whole(&self.buffer[..filled]) {
                return answer;
            }
        }
    }
}

/// An answer, once all of it is there.
fn whole(bytes: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    (body.len() == length.parse::<usize>().unwrap()).then(|| {
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    })
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_nearly_right_a_secret_was_takes_no_longer_to_tell() {
    let home = Home::new()
        .with_variable("SEALDEX_ROOT_KEY", ROOT)
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
        .with_variable("SEALDEX_LOG", "error");
    let server = home.start().await;
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    let index = Index::create(&root, "mine", KEY, json!({"dimension": 2})).await;
    index.upsert(&[Item::bare("a", vec![1.0, 2.0])]).await;
    let token = user(&root).await;

    let as_root = format!("x-api-key: {ROOT}\r\n");
    let describe = json!({"index_name": "mine", "index_key": KEY}).to_string();
    let questions = [
        (
            "index key",
            Question::new(
                &post("/v1/indexes/describe", &as_root, &describe),
                KEY,
                0..KEY.len(),
                HEX,
            ),
        ),
        (
            "root key",
            Question::new(
                &format!("GET /v1/indexes/list HTTP/1.1\r\nhost: test\r\n{as_root}\r\n"),
                ROOT,
                0..ROOT.len(),
                ALPHANUMERIC,
            ),
        ),
        (
            "user's token",
            Question::new(
                &format!("GET /v1/indexes/list HTTP/1.1\r\nhost: test\r\nx-api-key: {token}\r\n\r\n"),
                &token,
                // The last character holds a few bits only: with another, most are no token at all.
                "cdbk_1_".len()..token.len() - 1,
                ALPHANUMERIC,
            ),
        ),
    ];
    let times = requests();
    for (what, question) in questions {
        let address = server.http.address();
        let t = tokio::task::spawn_blocking(move || ask(address, question, times))
            .await
            .unwrap();
        println!("{what}: t = {t:.2} over {times} requests");
        assert!(times < REQUESTS_JUDGED || t.abs() < T_MAX, "{what}: t = {t}");
    }
    let server_alive = root.get("/v1/indexes/list").await.unwrap();
    assert_eq!(server_alive.status, 200);
}

async fn user(root: &Http) -> String {
    let body = json!({"permissions": ["read"], "index_key": KEY});
    let made = root.post("/v1/indexes/mine/users", &body).await.unwrap().ok();
    made["api_key"].as_str().unwrap().to_owned()
}

/// The measurement sees what it is to rule out: an index that is not there is told without looking at a key, a few microseconds
/// sooner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_measurement_tells_answers_apart_that_differ() {
    let home = Home::new()
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
        .with_variable("SEALDEX_LOG", "error");
    let server = home.start().await;
    Index::create(&server.http, "mine", KEY, json!({"dimension": 2})).await;
    let wrong = KEY.replace('0', "1");
    let of = |name: &str| {
        post(
            "/v1/indexes/describe",
            "",
            &json!({"index_name": name, "index_key": wrong}).to_string(),
        )
    };
    let (there, not_there) = (of("mine"), of("none"));
    let (times, address) = (requests(), server.http.address());
    let measured = tokio::task::spawn_blocking(move || {
        let mut random = Random::from_clock("timing", "SEALDEX_TIMING_SEED");
        let mut connection = Connection::open(address);
        let mut samples = [Vec::new(), Vec::new()];
        for n in 0..times + WARM_UP {
            let which = random.below(2);
            let begun = Instant::now();
            let (status, _) = connection.exchange([&not_there, &there][which].as_bytes());
            let took = begun.elapsed().as_secs_f64() * 1e6;
            assert_eq!(status, [404, 401][which]);
            if n >= WARM_UP {
                samples[which].push(took);
            }
        }
        t_without_outliers(&samples[1], &samples[0])
    });
    let t = measured.await.unwrap();
    println!("a wrong key against no index: t = {t:.2} over {times} requests");
    assert!(times < REQUESTS_JUDGED || t.abs() > T_MAX, "t = {t}");
}

/// Until branch predictors and caches have seen both.
const WARM_UP: usize = 500;
