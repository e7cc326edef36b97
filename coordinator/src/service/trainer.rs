//! Whose turn it is to be trained, who waits, and whom to leave alone for a while. Knows nothing of what a training does.

use parking_lot::Mutex;
use sealdex_core::IndexId;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A generation that does not fit is learned anew once in this time, unless this part of the items came or went.
const RELEARN_PAUSE: Duration = Duration::from_secs(3_600);
const RELEARN_CHANGE: u64 = 4;

/// How long an index whose training failed is left alone: every write would begin another.
const FAILURE_PAUSE: Duration = Duration::from_secs(10);

/// Who is being trained. One training runs at a time; the others wait in the order they came.
#[derive(Default)]
pub(crate) struct Trainer {
    /// Held by whose turn it is.
    pub(super) turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Waiting>,
    /// Of indexes that were learned anew because they did not fit: when, and how many items there were.
    relearned: Mutex<HashMap<IndexId, (Instant, u64)>>,
    /// Of indexes whose training by itself failed: when.
    failed: Mutex<HashMap<IndexId, Instant>>,
}

#[derive(Default)]
struct Waiting {
    current: Option<String>,
    /// Of the current one: items that have a row in the new generation, and items there were at its beginning.
    filled: (u64, u64),
    queued: Vec<String>,
}

/// A place in the queue, given up when dropped.
pub(super) struct Place<'a> {
    trainer: &'a Trainer,
    name: &'a str,
}

impl Trainer {
    /// Queues up behind who came before.
    pub(super) fn queue<'a>(&'a self, name: &'a str) -> Place<'a> {
        self.waiting.lock().queued.push(name.to_owned());
        Place { trainer: self, name }
    }

    /// Which index is being trained, with the items that are done and all there are.
    pub(super) fn current(&self) -> Option<(String, (u64, u64))> {
        let waiting = self.waiting.lock();
        Some((waiting.current.clone()?, waiting.filled))
    }

    /// Which index is being trained, and which wait, at one moment: none is between the two.
    pub(super) fn at_work(&self) -> (Option<String>, Vec<String>) {
        let waiting = self.waiting.lock();
        (waiting.current.clone(), waiting.queued.clone())
    }

    /// Which indexes wait for their training.
    pub(super) fn queued(&self) -> Vec<String> {
        self.waiting.lock().queued.clone()
    }

    /// So many more of them are done.
    pub(super) fn filled(&self, items: usize) {
        let (done, total) = &mut self.waiting.lock().filled;
        *done += items as u64;
        // Items that were written meanwhile are gone through too.
        *total = (*done).max(*total);
    }

    /// Whether somebody trains the index of that name, or is about to.
    pub(super) fn is_waiting(&self, name: &str) -> bool {
        let waiting = self.waiting.lock();
        waiting.current.as_deref() == Some(name) || waiting.queued.iter().any(|queued| queued == name)
    }

    /// Whether what does not fit may be learned again: not over and over for items that nothing learned serves.
    pub(super) fn may_relearn(&self, index: IndexId, items: u64) -> bool {
        self.relearned.lock().get(&index).is_none_or(|(when, then)| {
            items.abs_diff(*then) >= then / RELEARN_CHANGE || when.elapsed() >= RELEARN_PAUSE
        })
    }

    /// Takes note of a training by itself that failed.
    pub(super) fn has_failed(&self, index: IndexId) {
        self.failed.lock().insert(index, Instant::now());
    }

    /// Whether one did, a moment ago.
    pub(super) fn failed_lately(&self, index: IndexId) -> bool {
        let mut failed = self.failed.lock();
        failed.retain(|_, when| when.elapsed() < FAILURE_PAUSE);
        failed.contains_key(&index)
    }

    /// Takes note that an index of so many items is learned again because it did not fit.
    pub(super) fn relearns(&self, index: IndexId, items: u64) {
        let mut relearned = self.relearned.lock();
        relearned.retain(|_, (when, _)| when.elapsed() < RELEARN_PAUSE);
        relearned.insert(index, (Instant::now(), items));
    }
}

impl Place<'_> {
    /// Its turn has come.
    pub(super) fn begin(&self) {
        let mut waiting = self.trainer.waiting.lock();
        waiting.leave_queue(self.name);
        waiting.current = Some(self.name.to_owned());
        waiting.filled = (0, 0);
    }

    /// So many items are to be gone through.
    pub(super) fn expect(&self, items: u64) {
        self.trainer.waiting.lock().filled.1 = items;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.trainer.waiting.lock();
        if waiting.current.as_deref() == Some(self.name) {
            waiting.current = None;
        } else {
            waiting.leave_queue(self.name);
        }
    }
}

impl Waiting {
    fn leave_queue(&mut self, name: &str) {
        if let Some(at) = self.queued.iter().position(|queued| queued == name) {
            self.queued.remove(at);
        }
    }
}
