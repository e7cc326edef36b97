//! When a read is worth asking a second replica: how long each node lately took, and how many reads may be asked twice.

use parking_lot::Mutex;
use sealdex_core::{NodeId, PartitionId};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A second replica is asked no sooner: answers that are this quick are not worth two.
const DELAY_MIN: Duration = Duration::from_millis(10);

/// And no later, if the budget lets it: a node that was slow for long must not teach us to be patient.
const DELAY_MAX: Duration = Duration::from_millis(500);

/// Of a node that has not answered often enough to tell.
const DELAY_UNKNOWN: Duration = Duration::from_millis(200);

/// A node that is silent for so long is asked about elsewhere even if the budget is used up, for one read of each partition at a time.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// Reads that earn one hedge: a tenth of all reads is asked twice at most.
const READS_PER_HEDGE: u32 = 10;

/// Hedges that can be saved up.
const HEDGES_SAVED_MAX: u32 = 16;

/// Answers that a delay is learned from.
const WINDOW: usize = 64;

/// Fewer answers teach nothing.
const WINDOW_MIN: usize = 16;

/// What is known for hedging.
pub(super) struct Hedges {
    latencies: Mutex<HashMap<(NodeId, &'static str), Window>>,
    /// In parts of a hedge: each read earns one, each hedge takes [`READS_PER_HEDGE`].
    saved: Mutex<u32>,
    probed: Mutex<HashSet<PartitionId>>,
}

/// The last answers of one node to one kind of call.
#[derive(Default)]
struct Window {
    micros: Vec<u32>,
    next: usize,
    /// Not exceeded by 95 in 100 of them.
    usual: Duration,
}

impl Hedges {
    pub(super) fn new() -> Self {
        Self {
            latencies: Mutex::default(),
            saved: Mutex::new(HEDGES_SAVED_MAX * READS_PER_HEDGE),
            probed: Mutex::default(),
        }
    }

    /// How long to wait for an answer before a second replica is asked.
    pub(super) fn delay(&self, node: NodeId, call: &'static str) -> Duration {
        let latencies = self.latencies.lock();
        let window = latencies.get(&(node, call));
        let learned = window.filter(|window| window.micros.len() >= WINDOW_MIN);
        learned.map_or(DELAY_UNKNOWN, |window| window.usual.clamp(DELAY_MIN, DELAY_MAX))
    }

    /// An answer took so long, or was not waited for any longer.
    pub(super) fn note(&self, node: NodeId, call: &'static str, took: Duration) {
        self.latencies.lock().entry((node, call)).or_default().note(took);
    }

    /// A read began.
    pub(super) fn earn(&self) {
        let mut saved = self.saved.lock();
        *saved = (*saved + 1).min(HEDGES_SAVED_MAX * READS_PER_HEDGE);
    }

    /// The right to ask a second replica, if the budget has one left.
    pub(super) fn take(&self) -> bool {
        let mut saved = self.saved.lock();
        let left = saved.checked_sub(READS_PER_HEDGE);
        *saved = left.unwrap_or(*saved);
        left.is_some()
    }

    /// The same beside the budget, for who finds out what became of a silent node. One at a time for a partition.
    pub(super) fn probe(&self, partition: PartitionId) -> Option<Probe<'_>> {
        let first = self.probed.lock().insert(partition);
        first.then_some(Probe {
            hedges: self,
            partition,
        })
    }
}

/// The only one who asks about a partition's silent node, until this is dropped.
pub(super) struct Probe<'a> {
    hedges: &'a Hedges,
    partition: PartitionId,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.hedges.probed.lock().remove(&self.partition);
    }
}

impl Window {
    fn note(&mut self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.micros.len() < WINDOW {
            self.micros.push(took);
        } else {
            self.micros[self.next % WINDOW] = took;
        }
        self.next = (self.next + 1) % WINDOW;
        let mut sorted = self.micros.clone();
        let at = sorted.len() * 95 / 100;
        let (_, usual, _) = sorted.select_nth_unstable(at.min(self.micros.len() - 1));
        self.usual = Duration::from_micros(u64::from(*usual));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    #[test]
    fn the_delay_is_what_few_answers_exceed() {
        let hedges = Hedges::new();
        assert_eq!(hedges.delay(NODE, "scan"), DELAY_UNKNOWN);
        for _ in 0..WINDOW {
            hedges.note(NODE, "scan", Duration::from_millis(40));
        }
        hedges.note(NODE, "scan", Duration::from_secs(9));
        assert_eq!(hedges.delay(NODE, "scan"), Duration::from_millis(40));
        assert_eq!(hedges.delay(NODE, "count"), DELAY_UNKNOWN, "another kind of call");
        assert_eq!(hedges.delay(NodeId(2), "scan"), DELAY_UNKNOWN, "another node");
        for (took, delay) in [(Duration::ZERO, DELAY_MIN), (Duration::from_secs(9), DELAY_MAX)] {
            for _ in 0..WINDOW {
                hedges.note(NODE, "scan", took);
            }
            assert_eq!(hedges.delay(NODE, "scan"), delay);
        }
    }

    #[test]
    fn a_tenth_of_all_reads_is_asked_twice_at_most() {
        let hedges = Hedges::new();
        let mut hedged = 0;
        for _ in 0..10_000 {
            hedges.earn();
            hedged += u32::from(hedges.take());
        }
        assert!((1000..=1000 + HEDGES_SAVED_MAX).contains(&hedged), "{hedged}");
    }

    #[test]
    fn one_at_a_time_asks_about_a_silent_node() {
        let hedges = Hedges::new();
        let probe = hedges.probe(PartitionId(1));
        assert!(probe.is_some());
        assert!(hedges.probe(PartitionId(1)).is_none());
        assert!(hedges.probe(PartitionId(2)).is_some());
        drop(probe);
        assert!(hedges.probe(PartitionId(1)).is_some());
    }
}
