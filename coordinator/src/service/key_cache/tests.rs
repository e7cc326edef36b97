//! The cache against a loader that counts, waits and fails as it is told.

use super::*;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Notify, oneshot};

const MINUTE: Duration = Duration::from_secs(60);

/// How long a failure lasts.
fn lasts(error: &&'static str) -> Duration {
    Duration::from_secs(if *error == "busy" { 2 } else { 0 })
}

/// A cache whose clock the test moves.
struct Bench {
    cache: Arc<KeyCache<&'static str>>,
    seconds: Arc<AtomicU64>,
    loads: Arc<AtomicUsize>,
}

impl Bench {
    fn new(lifetime: Duration) -> Self {
        let seconds = Arc::new(AtomicU64::new(0));
        let (start, passed) = (Instant::now(), seconds.clone());
        let clock = move || start + Duration::from_secs(passed.load(Ordering::Relaxed));
        Self {
            cache: Arc::new(KeyCache::with_clock(lifetime, lasts, Arc::new(clock))),
            seconds,
            loads: Arc::default(),
        }
    }

    fn wait(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }

    fn kept(&self) -> usize {
        self.cache.entries.lock().by_index.len()
    }

    /// Asks for a key; a load, if there is one, answers at once.
    async fn ask(&self, index: u64, answer: Result<u8, &'static str>) -> Result<u8, &'static str> {
        let loads = self.loads.clone();
        let load = move || async move {
            loads.fetch_add(1, Ordering::Relaxed);
            answer.map(key)
        };
        let key = self.cache.get_or_load(IndexId(index), load).await?;
        Ok(key.expose_for_wrapping()[0])
    }

    /// Asks for a key; a load, if there is one, answers what `answer` brings, once it is polled and has said so.
    fn ask_later(
        &self,
        index: u64,
        answer: oneshot::Receiver<Result<u8, &'static str>>,
    ) -> (Arc<Notify>, tokio::task::JoinHandle<Result<u8, &'static str>>) {
        let (cache, loads) = (self.cache.clone(), self.loads.clone());
        let begun = Arc::new(Notify::new());
        let said = begun.clone();
        let asked = tokio::spawn(async move {
            let load = move || async move {
                loads.fetch_add(1, Ordering::Relaxed);
                said.notify_one();
                answer.await.unwrap().map(key)
            };
            let key = cache.get_or_load(IndexId(index), load).await?;
            Ok(key.expose_for_wrapping()[0])
        });
        (begun, asked)
    }
}

fn key(byte: u8) -> Arc<IndexKey> {
    Arc::new(IndexKey::from_bytes([byte; 32]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_make_one_load() {
    let bench = Arc::new(Bench::new(MINUTE));
    let (send, answer) = oneshot::channel();
    let (begun, first) = bench.ask_later(1, answer);
    begun.notified().await;
    let others: Vec<_> = (0..99)
        .map(|_| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.ask(1, Ok(2)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    send.send(Ok(1)).unwrap();
    assert_eq!(first.await.unwrap(), Ok(1));
    for other in others {
        assert_eq!(other.await.unwrap(), Ok(1));
    }
    assert_eq!(bench.loads(), 1);
}

#[tokio::test]
async fn a_key_is_kept_for_its_time_from_the_start_of_its_load() {
    let bench = Bench::new(MINUTE);
    let (send, answer) = oneshot::channel();
    let (begun, asked) = bench.ask_later(1, answer);
    begun.notified().await;
    bench.wait(5);
    send.send(Ok(1)).unwrap();
    assert_eq!(asked.await.unwrap(), Ok(1));
    bench.wait(54);
    assert_eq!(bench.ask(1, Ok(2)).await, Ok(1));
    bench.wait(1);
    assert_eq!(bench.ask(1, Ok(2)).await, Ok(2));
    assert_eq!(bench.ask(2, Ok(3)).await, Ok(3));
    assert_eq!(bench.loads(), 3);
}

#[tokio::test]
async fn a_failed_load_is_told_and_forgotten() {
    let bench = Bench::new(MINUTE);
    assert_eq!(bench.ask(1, Err("down")).await, Err("down"));
    assert_eq!(bench.kept(), 0);
    assert_eq!(bench.ask(1, Ok(1)).await, Ok(1));
    bench.wait(60);
    assert_eq!(bench.ask(1, Err("down")).await, Err("down"));
    assert_eq!(bench.ask(1, Ok(2)).await, Ok(2));
}

#[tokio::test]
async fn a_failure_that_lasts_is_told_without_another_load() {
    let bench = Bench::new(MINUTE);
    for _ in 0..5 {
        assert_eq!(bench.ask(1, Err("busy")).await, Err("busy"));
    }
    assert_eq!(bench.loads(), 1);
    assert_eq!(bench.ask(2, Ok(2)).await, Ok(2), "another index");
    bench.wait(2);
    assert_eq!(bench.ask(1, Ok(1)).await, Ok(1));
    bench.wait(60);
    assert_eq!(bench.ask(1, Err("busy")).await, Err("busy"));
    bench.cache.forget(IndexId(1));
    assert_eq!(bench.ask(1, Ok(3)).await, Ok(3));
    let never = Bench::new(Duration::ZERO);
    for loads in 1..4 {
        assert_eq!(never.ask(1, Err("busy")).await, Err("busy"));
        assert_eq!(never.loads(), loads, "who keeps nothing keeps no failure");
    }
}

#[tokio::test]
async fn all_who_wait_are_told_of_a_failure() {
    let bench = Arc::new(Bench::new(MINUTE));
    let (send, answer) = oneshot::channel();
    let (begun, first) = bench.ask_later(1, answer);
    begun.notified().await;
    let second = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.ask(1, Ok(2)).await })
    };
    tokio::task::yield_now().await;
    send.send(Err("down")).unwrap();
    assert_eq!(first.await.unwrap(), Err("down"));
    assert_eq!(second.await.unwrap(), Err("down"));
    assert_eq!(bench.loads(), 1);
}

#[tokio::test]
async fn what_is_forgotten_during_its_load_does_not_come_back() {
    let bench = Bench::new(MINUTE);
    let (send, answer) = oneshot::channel();
    let (begun, old) = bench.ask_later(1, answer);
    begun.notified().await;
    bench.cache.forget(IndexId(1));
    // A newer load is not disturbed by the end of the older one.
    assert_eq!(bench.ask(1, Ok(2)).await, Ok(2));
    send.send(Ok(1)).unwrap();
    assert_eq!(old.await.unwrap(), Ok(1));
    assert_eq!(bench.ask(1, Ok(3)).await, Ok(2));
    bench.cache.forget(IndexId(1));
    assert_eq!(bench.kept(), 0);
}

#[tokio::test]
async fn a_load_that_nobody_waits_for_ends_and_the_next_begins_anew() {
    let bench = Bench::new(MINUTE);
    let (_send, answer) = oneshot::channel();
    let (begun, gone) = bench.ask_later(1, answer);
    begun.notified().await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(bench.ask(1, Ok(2)).await, Ok(2));
    assert_eq!(bench.loads(), 2);
}

#[tokio::test]
async fn one_who_leaves_does_not_take_the_load_along() {
    let bench = Arc::new(Bench::new(MINUTE));
    let (send, answer) = oneshot::channel();
    let (begun, first) = bench.ask_later(1, answer);
    begun.notified().await;
    let second = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.ask(1, Ok(2)).await })
    };
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    send.send(Ok(1)).unwrap();
    assert_eq!(second.await.unwrap(), Ok(1));
    assert_eq!(bench.loads(), 1);
}

#[tokio::test]
async fn a_load_that_panics_harms_its_waiters_alone() {
    let bench = Arc::new(Bench::new(MINUTE));
    let panicking = {
        let cache = bench.cache.clone();
        tokio::spawn(async move {
            let load = || async { panic!("as planned") };
            cache.get_or_load(IndexId(1), load).await.map(drop)
        })
    };
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(bench.ask(1, Ok(1)).await, Ok(1));
}

#[tokio::test]
async fn without_a_lifetime_nothing_is_kept() {
    let bench = Bench::new(Duration::ZERO);
    assert_eq!(bench.ask(1, Ok(1)).await, Ok(1));
    assert_eq!(bench.kept(), 0);
    assert_eq!(bench.ask(1, Ok(2)).await, Ok(2));
}

#[tokio::test]
async fn no_more_than_its_limit_is_kept_and_the_oldest_goes_first() {
    let bench = Bench::new(MINUTE);
    assert_eq!(bench.ask(0, Ok(0)).await, Ok(0));
    bench.wait(1);
    for index in 1..=KEYS_MAX as u64 {
        bench.ask(index, Ok(1)).await.unwrap();
    }
    assert_eq!(bench.kept(), KEYS_MAX);
    let before = bench.loads();
    assert_eq!(bench.ask(KEYS_MAX as u64, Ok(2)).await, Ok(1));
    assert_eq!(bench.loads(), before);
    assert_eq!(bench.ask(0, Ok(9)).await, Ok(9));
}

#[tokio::test]
async fn keys_leave_memory_when_swept_or_evicted() {
    let bench = Bench::new(MINUTE);
    let held = key(1);
    let gone = Arc::downgrade(&held);
    let load = move || async move { Ok(held) };
    drop(bench.cache.get_or_load(IndexId(1), load).await);
    bench.cache.sweep();
    assert!(gone.upgrade().is_some());
    bench.wait(60);
    bench.cache.sweep();
    // Dropping it zeroises it: that is what an `IndexKey` promises.
    assert!(gone.upgrade().is_none());
}
