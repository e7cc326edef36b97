//! How many wrong secrets a source may send before it has to wait, and which right ones it goes on with meanwhile. What a source
//! is, whoever counts decides.

use parking_lot::Mutex;
use sealdex_crypto::{Fingerprint, Fingerprints};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// In this time a source wins back all its attempts.
const WINDOW: Duration = Duration::from_secs(60);

/// Sources whose wrong secrets are counted. Beyond that those that have waited longest are forgotten.
const SOURCES_MAX: usize = 16_384;

/// Right secrets remembered. Beyond that the half that was shown longest ago is forgotten.
const KNOWN_MAX: usize = 16_384;

/// A leaky bucket per source (RFC 2475's token bucket, turned over): a wrong secret adds one, time takes away. A source whose
/// bucket is full is not listened to, so that it learns nothing more, not even that it guessed right; except where it shows
/// a secret that was right when the same source showed it before. Such a secret is no guess.
pub(crate) struct Attempts<S> {
    failures_max: u32,
    fingerprints: Fingerprints,
    sources: Mutex<Sources<S>>,
}

struct Sources<S> {
    buckets: HashMap<S, Bucket>,
    /// When a right secret was last shown from there.
    known: HashMap<(S, Fingerprint), Instant>,
}

struct Bucket {
    failures: f64,
    since: Instant,
}

impl<S: Copy + Eq + Hash> Attempts<S> {
    /// `failures_max` wrong secrets in a minute; 0 sets no limit.
    pub(crate) fn new(failures_max: u32) -> Self {
        Self {
            failures_max,
            fingerprints: Fingerprints::generate(),
            sources: Mutex::new(Sources {
                buckets: HashMap::new(),
                known: HashMap::new(),
            }),
        }
    }

    /// What `look` says of a secret, if it may be looked at. `Err` holds the seconds to wait, and then `look` was not asked.
    pub(crate) fn judge<T, E>(
        &self,
        from: Option<S>,
        shown: impl FnOnce(&Fingerprints) -> Fingerprint,
        look: impl Fn() -> Result<T, E>,
    ) -> Result<Result<T, E>, u32> {
        match from.filter(|_| self.failures_max > 0) {
            None => Ok(look()),
            Some(source) => self.judge_at((source, shown(&self.fingerprints)), look, Instant::now()),
        }
    }

    /// Remembers a secret that is right because whoever shows it has just set it.
    pub(crate) fn remember(&self, from: Option<S>, shown: impl FnOnce(&Fingerprints) -> Fingerprint) {
        if let Some(source) = from.filter(|_| self.failures_max > 0) {
            let shown = shown(&self.fingerprints);
            self.sources.lock().remember((source, shown), Instant::now());
        }
    }

    fn judge_at<T, E>(
        &self,
        shown: (S, Fingerprint),
        look: impl Fn() -> Result<T, E>,
        now: Instant,
    ) -> Result<Result<T, E>, u32> {
        if self.sources.lock().recognise(shown, now) {
            let judged = look();
            if judged.is_ok() {
                return Ok(judged);
            }
            // It was right once. From here on it is a guess like any other.
            self.sources.lock().known.remove(&shown);
        }
        // Looked at under the lock: of guesses that come side by side no more are seen than of those that come one by one.
        let mut sources = self.sources.lock();
        let bucket = sources.bucket(shown.0, self.failures_max, now);
        bucket.admits(self.failures_max)?;
        let judged = look();
        match judged {
            Ok(_) => sources.remember(shown, now),
            Err(_) => bucket.failures += 1.0,
        }
        Ok(judged)
    }
}

impl<S: Copy + Eq + Hash> Sources<S> {
    fn recognise(&mut self, shown: (S, Fingerprint), now: Instant) -> bool {
        let known = self.known.get_mut(&shown);
        known.is_some_and(|last| {
            *last = now;
            true
        })
    }

    fn remember(&mut self, shown: (S, Fingerprint), now: Instant) {
        if self.known.len() >= KNOWN_MAX {
            let mut times: Vec<Instant> = self.known.values().copied().collect();
            let (_, &mut median, _) = times.select_nth_unstable(KNOWN_MAX / 2);
            self.known.retain(|_, last| *last > median);
        }
        self.known.insert(shown, now);
    }

    /// The bucket of a source, less what has leaked by now.
    fn bucket(&mut self, source: S, failures_max: u32, now: Instant) -> &mut Bucket {
        if self.buckets.len() >= SOURCES_MAX && !self.buckets.contains_key(&source) {
            self.buckets
                .retain(|_, bucket| now.duration_since(bucket.since) < WINDOW / 2);
            if self.buckets.len() >= SOURCES_MAX {
                self.buckets.clear();
            }
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket {
            failures: 0.0,
            since: now,
        });
        let leaked = now.duration_since(bucket.since).as_secs_f64() / WINDOW.as_secs_f64();
        bucket.failures = (bucket.failures - leaked * f64::from(failures_max)).max(0.0);
        bucket.since = now;
        bucket
    }
}

impl Bucket {
    /// Whether one more fits; the seconds until it does if not.
    fn admits(&self, failures_max: u32) -> Result<(), u32> {
        let max = f64::from(failures_max);
        let missing = self.failures - (max - 1.0);
        if missing <= 0.0 {
            return Ok(());
        }
        let wait = missing / max * WINDOW.as_secs_f64();
        Err((wait.ceil() as u32).max(1))
    }
}

#[cfg(test)]
mod tests;
