//! The newest entries of a log, in memory: they can be read before they are written, and usually are read while they are
//! here, by those who replicate and those who apply.

use super::database::entry_bytes;
use crate::raft::types::Entry;
use std::collections::VecDeque;
use std::ops::Range;

/// Entries that are on disk are kept in memory up to so many bytes.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Consecutive entries.
pub(super) struct Tail {
    /// The index of the first entry, or of the next one if there is none.
    start: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    /// Of a log whose next entry has the index `start`.
    pub(super) fn new(start: u64) -> Self {
        Self {
            start,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.start + self.entries.len() as u64
    }

    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.log_id.index, self.end());
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
    }

    /// Entries of a range that lies within, as many as fit into `bytes_max`, but one at least.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: usize) -> Vec<Entry> {
        let from = (range.start - self.start) as usize;
        let mut bytes = 0;
        self.entries
            .range(from..(range.end - self.start) as usize)
            .enumerate()
            .take_while(|(n, entry)| {
                bytes += entry_bytes(entry);
                *n == 0 || bytes <= bytes_max
            })
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// Drops what comes from `end` on.
    pub(super) fn truncate(&mut self, end: u64) {
        while self.end() > end
            && let Some(entry) = self.entries.pop_back()
        {
            self.bytes -= entry_bytes(&entry);
        }
        self.start = self.start.min(end);
    }

    /// Drops what comes before `start`.
    pub(super) fn advance(&mut self, start: u64) {
        while self.start < start && self.pop() {}
        self.start = self.start.max(start);
    }

    /// Drops the oldest of those that are before `written`, if there are too many bytes.
    pub(super) fn shrink(&mut self, written: u64) {
        while self.bytes > BYTES_MAX && self.start < written && self.pop() {}
    }

    fn pop(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else {
            return false;
        };
        self.bytes -= entry_bytes(&entry);
        self.start += 1;
        true
    }
}
