//! How many wrong credentials an address may send before it has to wait.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// In this time an address wins back all its attempts.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered. Beyond that those that have waited longest are forgotten.
const ADDRESSES_MAX: usize = 16_384;

/// A leaky bucket per address (RFC 2475's token bucket, turned over): a wrong credential adds one, time takes away.
pub(super) struct Attempts {
    failures_max: u32,
    by_address: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    failures: f64,
    since: Instant,
    /// The last time that a right credential came from there: who knows one is not guessing.
    known: Option<Instant>,
}

impl Attempts {
    /// `failures_max` wrong credentials in a minute; 0 sets no limit.
    pub(super) fn new(failures_max: u32) -> Self {
        Self {
            failures_max,
            by_address: Mutex::default(),
        }
    }

    /// Takes note of a credential and says whether its judgement may be told. `Err` holds the seconds to wait: an
    /// address that has used up its attempts learns nothing more, not even that it guessed right. One from which a
    /// right credential came within the last minute is not kept from working by a wrong one beside it.
    pub(super) fn judge(&self, from: Option<IpAddr>, right: bool) -> Result<(), u32> {
        self.judge_at(from, right, Instant::now())
    }

    fn judge_at(&self, from: Option<IpAddr>, right: bool, now: Instant) -> Result<(), u32> {
        let Some(address) = from.filter(|_| self.failures_max > 0) else {
            return Ok(());
        };
        let mut by_address = self.by_address.lock();
        if by_address.len() >= ADDRESSES_MAX {
            by_address.retain(|_, bucket| now.duration_since(bucket.since) < WINDOW / 2);
            if by_address.len() >= ADDRESSES_MAX {
                by_address.clear();
            }
        }
        let bucket = by_address.entry(address).or_insert(Bucket {
            failures: 0.0,
            since: now,
            known: None,
        });
        let max = f64::from(self.failures_max);
        let regained = now.duration_since(bucket.since).as_secs_f64() / WINDOW.as_secs_f64() * max;
        bucket.failures = (bucket.failures - regained).max(0.0);
        bucket.since = now;
        let is_known = bucket
            .known
            .is_some_and(|known| now.duration_since(known) < WINDOW);
        let exhausted = bucket.failures > max - 1.0;
        match right {
            true if is_known || !exhausted => bucket.known = Some(now),
            false if !exhausted => bucket.failures += 1.0,
            _ => {
                let missing = bucket.failures - (max - 1.0);
                let wait = missing / max * WINDOW.as_secs_f64();
                return Err((wait.ceil() as u32).max(1));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const A: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    const B: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

    #[test]
    fn attempts_run_out_and_come_back() {
        let (attempts, start) = (Attempts::new(3), Instant::now());
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
        let (attempts, start) = (Attempts::new(2), Instant::now());
        assert_eq!(attempts.judge_at(A, true, start), Ok(()));
        assert_eq!(attempts.judge_at(A, false, start), Ok(()));
        assert_eq!(attempts.judge_at(A, false, start), Ok(()));
        assert!(attempts.judge_at(A, false, start).is_err());
        assert_eq!(attempts.judge_at(A, true, start), Ok(()));
    }

    #[test]
    fn no_limit_and_no_address_limit_nothing() {
        for _ in 0..100 {
            assert_eq!(Attempts::new(0).judge(A, false), Ok(()));
            assert_eq!(Attempts::new(1).judge(None, false), Ok(()));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (attempts, start) = (Attempts::new(1), Instant::now());
        for n in 0..3 * ADDRESSES_MAX as u32 {
            let _ = attempts.judge_at(Some(IpAddr::V4(Ipv4Addr::from(n))), false, start);
        }
        assert!(attempts.by_address.lock().len() <= ADDRESSES_MAX);
    }
}
