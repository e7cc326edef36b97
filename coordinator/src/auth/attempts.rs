//! How many wrong secrets a source may send before it has to wait. What a source is, whoever counts decides.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// In this time a source wins back all its attempts.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Sources remembered. Beyond that those that have waited longest are forgotten.
const SOURCES_MAX: usize = 16_384;

/// A leaky bucket per source (RFC 2475's token bucket, turned over): a wrong secret adds one, time takes away.
pub(crate) struct Attempts<S> {
    failures_max: u32,
    known_for: Duration,
    by_source: Mutex<HashMap<S, Bucket>>,
}

struct Bucket {
    failures: f64,
    since: Instant,
    /// The last time that a right secret came from there: who knows one is not guessing.
    known: Option<Instant>,
}

impl<S: Copy + Eq + Hash> Attempts<S> {
    /// `failures_max` wrong secrets in a minute; 0 sets no limit. Whoever sent a right one is known for `known_for`.
    pub(crate) fn new(failures_max: u32, known_for: Duration) -> Self {
        Self {
            failures_max,
            known_for,
            by_source: Mutex::default(),
        }
    }

    /// Takes note of a secret and says whether its judgement may be told. `Err` holds the seconds to wait: a source that has
    /// used up its attempts learns nothing more, not even that it guessed right. One that is known is not kept from working by
    /// wrong secrets beside the right one.
    pub(crate) fn judge(&self, from: Option<S>, right: bool) -> Result<(), u32> {
        self.judge_at(from, right, Instant::now())
    }

    fn judge_at(&self, from: Option<S>, right: bool, now: Instant) -> Result<(), u32> {
        let Some(source) = from.filter(|_| self.failures_max > 0) else {
            return Ok(());
        };
        let mut by_source = self.by_source.lock();
        if by_source.len() >= SOURCES_MAX && !by_source.contains_key(&source) {
            self.make_room(&mut by_source, now);
        }
        let bucket = by_source.entry(source).or_insert(Bucket {
            failures: 0.0,
            since: now,
            known: None,
        });
        let max = f64::from(self.failures_max);
        let regained = now.duration_since(bucket.since).as_secs_f64() / WINDOW.as_secs_f64() * max;
        bucket.failures = (bucket.failures - regained).max(0.0);
        bucket.since = now;
        let exhausted = bucket.failures > max - 1.0;
        match right {
            true if !exhausted || self.is_known(bucket, now) => bucket.known = Some(now),
            false if !exhausted => bucket.failures += 1.0,
            _ => {
                let missing = bucket.failures - (max - 1.0);
                let wait = missing / max * WINDOW.as_secs_f64();
                return Err((wait.ceil() as u32).max(1));
            }
        }
        Ok(())
    }

    fn is_known(&self, bucket: &Bucket, now: Instant) -> bool {
        let since = bucket.known.map(|known| now.duration_since(known));
        since.is_some_and(|since| since < self.known_for)
    }

    /// Forgets who has won back half of it, then all whom nobody knows: many sources together do not make us forget those that
    /// work.
    fn make_room(&self, by_source: &mut HashMap<S, Bucket>, now: Instant) {
        by_source
            .retain(|_, bucket| self.is_known(bucket, now) || now.duration_since(bucket.since) < WINDOW / 2);
        if by_source.len() >= SOURCES_MAX {
            by_source.retain(|_, bucket| self.is_known(bucket, now));
        }
        if by_source.len() >= SOURCES_MAX {
            by_source.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const A: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    const B: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

    #[test]
    fn attempts_run_out_and_come_back() {
        let (attempts, start) = (Attempts::new(3, WINDOW), Instant::now());
        for _ in 0..3 {
            assert_eq!(attempts.judge_at(A, false, start), Ok(()));
        }
        assert_eq!(attempts.judge_at(A, false, start), Err(20));
        assert_eq!(
            attempts.judge_at(A, true, start),
            Err(20),
            "a right guess is not told either"
        );
        assert_eq!(
            attempts.judge_at(B, false, start),
            Ok(()),
            "another address has its own"
        );
        let later = start + Duration::from_secs(20);
        assert_eq!(attempts.judge_at(A, false, later), Ok(()));
        assert_eq!(attempts.judge_at(A, false, later), Err(20));
        assert_eq!(
            attempts.judge_at(A, true, start + Duration::from_secs(41)),
            Ok(())
        );
    }

    #[test]
    fn whoever_works_is_not_kept_out_by_a_wrong_key_beside_it() {
        let (attempts, start) = (Attempts::new(2, WINDOW), Instant::now());
        assert_eq!(attempts.judge_at(A, true, start), Ok(()));
        assert_eq!(attempts.judge_at(A, false, start), Ok(()));
        assert_eq!(attempts.judge_at(A, false, start), Ok(()));
        assert!(attempts.judge_at(A, false, start).is_err());
        assert_eq!(attempts.judge_at(A, true, start), Ok(()));
    }

    #[test]
    fn no_limit_and_no_address_limit_nothing() {
        for _ in 0..100 {
            assert_eq!(Attempts::new(0, WINDOW).judge(A, false), Ok(()));
            assert_eq!(Attempts::<IpAddr>::new(1, WINDOW).judge(None, false), Ok(()));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (attempts, start) = (Attempts::new(1, WINDOW), Instant::now());
        for n in 0..3 * SOURCES_MAX as u32 {
            let _ = attempts.judge_at(Some(IpAddr::V4(Ipv4Addr::from(n))), false, start);
        }
        assert!(attempts.by_source.lock().len() <= SOURCES_MAX);
    }

    #[test]
    fn whoever_is_known_stays_so_for_its_time_and_however_many_others_come() {
        let day = Duration::from_secs(86_400);
        let (attempts, start) = (Attempts::new(2, day), Instant::now());
        assert_eq!(attempts.judge_at(A, true, start), Ok(()));
        for n in 0..2 * SOURCES_MAX as u32 {
            let stranger = Some(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n)));
            let _ = attempts.judge_at(stranger, false, start);
        }
        let later = start + day - WINDOW;
        for _ in 0..5 {
            let _ = attempts.judge_at(A, false, later);
        }
        assert!(attempts.judge_at(A, false, later).is_err());
        assert_eq!(attempts.judge_at(A, true, later), Ok(()));
        assert!(
            attempts.judge_at(A, true, later + day).is_ok(),
            "its attempts are back by then"
        );
    }
}
