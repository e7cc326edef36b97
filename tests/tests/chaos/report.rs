//! The figures of a run.

use super::clients::{Notes, Outcome, Request};
use super::machine::Role;
use super::nemesis::Struck;
use super::schedule::Fault;
use sealdex_tests::history::{Call, Effect, Findings, History, Kind, Moment};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What a run showed.
pub(crate) struct Report {
    operations: usize,
    /// Items written or deleted with an acknowledgement.
    pub(crate) acknowledged: usize,
    /// Registers and steps judged.
    judged: (usize, usize),
    violations: BTreeMap<&'static str, usize>,
    /// By what was done to which kinds of nodes.
    faults: BTreeMap<(Fault, BTreeSet<Role>), Figures>,
    failed: usize,
}

/// What one kind of fault did.
#[derive(Default)]
struct Figures {
    count: usize,
    /// For each probe whose writes stopped: for how long.
    outages: Vec<Duration>,
    /// From when nodes were put right until all said that they were well.
    recovery: Duration,
    /// Requests that were under way while it lasted.
    requests: usize,
    /// Why some of them failed.
    failed: Vec<String>,
}

impl Report {
    /// Counts it all up.
    pub(crate) fn of(history: &History, findings: &Findings, notes: &Notes, struck: &[Struck]) -> Self {
        let mut faults: BTreeMap<(Fault, BTreeSet<Role>), Figures> = BTreeMap::new();
        for one in struck {
            let kind = (one.planned.fault, one.planned.roles.clone());
            faults.entry(kind).or_default().add(one, notes);
        }
        Self {
            operations: history.0.len(),
            acknowledged: history
                .0
                .iter()
                .map(|operation| acknowledged(&operation.call))
                .sum(),
            judged: (findings.subjects, findings.steps),
            violations: KINDS
                .iter()
                .map(|(kind, name)| (*name, findings.count(*kind)))
                .collect(),
            faults,
            failed: notes.requests.iter().filter_map(why_failed).count(),
        }
    }

    /// Why requests failed while nodes were restarted one after another.
    pub(crate) fn failed_in_rolling_restarts(&self) -> Vec<&str> {
        let restarts = self
            .faults
            .iter()
            .filter(|((fault, _), _)| *fault == Fault::RollingRestart);
        restarts
            .flat_map(|(_, figures)| figures.failed.iter().map(String::as_str))
            .collect()
    }
}

impl Figures {
    fn add(&mut self, struck: &Struck, notes: &Notes) {
        self.count += 1;
        self.recovery = self.recovery.max(between(struck.mended, struck.well));
        for acknowledged in &notes.acknowledged {
            let outage = longest_gap(acknowledged, struck.begin, struck.well);
            self.outages.extend(outage.filter(|outage| *outage > HICCUP_MAX));
        }
        let during = || {
            let requests = notes.requests.iter();
            requests.filter(|request| request.begin <= struck.well && request.end >= struck.begin)
        };
        self.requests += during().count();
        self.failed.extend(during().filter_map(why_failed).cloned());
    }
}

/// The longest time without an acknowledgement that has some part between `begin` and `end`; `None` if there was none after it.
fn longest_gap(acknowledged: &[Moment], begin: Moment, end: Moment) -> Option<Duration> {
    let gaps = acknowledged
        .windows(2)
        .filter(|pair| pair[0] <= end && pair[1] >= begin);
    gaps.map(|pair| between(pair[0], pair[1])).max()
}

fn between(earlier: Moment, later: Moment) -> Duration {
    Duration::from_nanos(later.0.saturating_sub(earlier.0))
}

fn why_failed(request: &Request) -> Option<&String> {
    match &request.outcome {
        Outcome::Failed(why) => Some(why),
        Outcome::Served | Outcome::Unsent => None,
    }
}

fn acknowledged(call: &Call) -> usize {
    match call {
        Call::Upsert {
            items,
            effect: Effect::Acknowledged,
        } => items.len(),
        Call::Delete {
            ids,
            effect: Effect::Acknowledged,
        } => ids.len(),
        _ => 0,
    }
}

fn told(roles: &BTreeSet<Role>) -> String {
    let names: Vec<String> = roles
        .iter()
        .map(|role| format!("{role:?}").to_lowercase())
        .collect();
    names.join("+")
}

/// The value below which `percent` of a hundred lie; zero of nothing.
fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (registers, steps) = self.judged;
        writeln!(
            f,
            "{} items written or deleted and acknowledged",
            self.acknowledged
        )?;
        writeln!(
            f,
            "{} operations, {} of them failed",
            self.operations, self.failed
        )?;
        writeln!(f, "{steps} steps of {registers} items and users judged:")?;
        for (name, count) in &self.violations {
            writeln!(f, "  {count:>6} {name}")?;
        }
        writeln!(
            f,
            "fault                       times   writes stop: probes      p50      p99  longest   well after   requests   failed"
        )?;
        for ((fault, roles), figures) in &self.faults {
            let outage = |percent| percentile(&figures.outages, percent).as_secs_f64();
            writeln!(
                f,
                "{:<26} {:>6} {:>21} {:>6.2} s {:>6.2} s {:>6.2} s {:>10.2} s {:>10} {:>8}",
                format!("{fault:?} {}", told(roles)),
                figures.count,
                figures.outages.len(),
                outage(50),
                outage(99),
                outage(100),
                figures.recovery.as_secs_f64(),
                figures.requests,
                figures.failed.len()
            )?;
        }
        Ok(())
    }
}

const KINDS: [(Kind, &str); 8] = [
    (Kind::Lost, "lost"),
    (Kind::Unfound, "not found by their own vector"),
    (Kind::Resurrected, "resurrected"),
    (Kind::Stale, "stale"),
    (Kind::Phantom, "read as nobody wrote them"),
    (Kind::Twice, "twice in one answer"),
    (Kind::Revoked, "revoked and served"),
    (Kind::Denied, "denied with rights"),
];

/// A write that takes longer than this is counted as an outage.
const HICCUP_MAX: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn seconds(values: &[u64]) -> Vec<Moment> {
        values.iter().map(|value| Moment(value * SECOND)).collect()
    }

    #[test]
    fn an_outage_is_the_longest_gap_that_touches_the_fault() {
        let acknowledged = seconds(&[1, 5, 6, 9, 10, 30]);
        let gap =
            |begin: u64, end: u64| longest_gap(&acknowledged, Moment(begin * SECOND), Moment(end * SECOND));
        assert_eq!(gap(6, 8), Some(Duration::from_secs(3)));
        assert_eq!(gap(7, 7), Some(Duration::from_secs(3)));
        assert_eq!(gap(2, 12), Some(Duration::from_secs(20)));
        assert_eq!(gap(31, 32), None);
    }

    #[test]
    fn percentiles_are_values_that_were() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50), Duration::from_millis(100));
        assert_eq!(percentile(&values, 99), Duration::from_millis(198));
        assert_eq!(percentile(&values, 100), Duration::from_millis(200));
        assert_eq!(percentile(&values[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
