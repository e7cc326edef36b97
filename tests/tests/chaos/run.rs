//! One run: clients at work, faults, a last look at everything, and the verdict.

use super::clients::{Notes, Work, audit};
use super::guest::Guest;
use super::machine::Machine;
use super::nemesis::{Nemesis, Struck};
use super::overseer::Overseer;
use super::report::Report;
use super::schedule::Schedule;
use sealdex_tests::history::{Findings, History, Recorder, check};
use sealdex_tests::random::Random;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What came of a run.
pub(crate) struct Run {
    history: History,
    /// What is wrong with the history.
    pub(crate) findings: Findings,
    notes: Notes,
    struck: Result<Vec<Struck>, String>,
    audited: Result<(), String>,
}

/// Puts a deployment under load, does to it for about `time` what the schedule says, and judges what its clients saw.
pub(crate) async fn run(
    machines: &[Arc<dyn Machine>],
    guest: Option<Arc<Guest>>,
    root_key: &str,
    schedule: Schedule,
    time: Duration,
    random: &mut Random,
) -> Run {
    wait_until_all_are_well(machines).await;
    let recorder = Arc::new(Recorder::default());
    let coordinators: Vec<SocketAddr> = machines.iter().filter_map(|machine| machine.rest()).collect();
    let overseer = Overseer::of(&coordinators, root_key);
    let work = Work::begin(&recorder, coordinators, root_key, random)
        .await
        .expect("a deployment that is well serves");
    let clients = work.start(random);
    let struck = Nemesis::new(machines, guest, overseer, &recorder)
        .run(schedule, time)
        .await;
    work.end();
    clients.join_all().await;
    let audited = audit(&work).await;
    let history = recorder.history();
    Run {
        findings: check(&history),
        history,
        notes: std::mem::take(&mut work.notes()),
        struck,
        audited,
    }
}

impl Run {
    /// The figures.
    pub(crate) fn report(&self) -> Report {
        let struck = self.struck.as_deref().unwrap_or_default();
        Report::of(&self.history, &self.findings, &self.notes, struck)
    }

    /// Fails the test if anything was wrong; then the history is left in `folder`.
    pub(crate) fn assert_clean(&self, folder: &Path) {
        if !self.findings.is_clean() {
            let path = folder.join(format!("sealdex-history-{}.jsonl", std::process::id()));
            self.history
                .write(&path)
                .expect("the folder for histories can be written");
            let told: String = first(&self.findings.violations)
                .iter()
                .map(ToString::to_string)
                .collect();
            panic!(
                "{} violations, {} items and users undecided; the history is in {}\n{told}",
                self.findings.violations.len(),
                self.findings.undecided.len(),
                path.display()
            );
        }
        let unexpected = &self.notes.unexpected;
        assert!(
            unexpected.is_empty(),
            "{} answers that no fault explains, as {:#?}",
            unexpected.len(),
            first(unexpected)
        );
        assert_done(&self.struck);
        assert_done(&self.audited);
    }
}

fn assert_done<T>(outcome: &Result<T, String>) {
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Enough of them to see what they are.
pub(crate) fn first<T: Debug>(all: &[T]) -> &[T] {
    &all[..all.len().min(3)]
}

async fn wait_until_all_are_well(machines: &[Arc<dyn Machine>]) {
    let given_up = Instant::now() + START_TIME_MAX;
    loop {
        let machines = machines.to_vec();
        let are_well = move || machines.iter().all(|machine| machine.is_well());
        if tokio::task::spawn_blocking(are_well)
            .await
            .expect("asking does not panic")
        {
            return;
        }
        assert!(
            Instant::now() < given_up,
            "not every node is well after {START_TIME_MAX:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Nodes that are there but not well by then never will be.
const START_TIME_MAX: Duration = Duration::from_secs(60);
