//! A deployment under faults and under load: everything that its clients did and saw is recorded, and the history must be one that a
//! correct deployment could have shown. `make test` runs it for a few seconds against one process; `make chaos` at full length against
//! containers. `SEALDEX_CHAOS_SEED` repeats the faults of a run.
#![allow(clippy::unwrap_used)]

mod clients;
mod container;
mod docker;
mod machine;
mod nemesis;
mod process;
mod report;
mod schedule;
mod settings;

use clients::{Work, audit};
use nemesis::Nemesis;
use report::Report;
use schedule::{Nodes, Schedule};
use sealdex_tests::history::{Findings, History, Recorder, check};
use sealdex_tests::random::Random;
use settings::Settings;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_sees_what_a_correct_deployment_could_not_show() {
    let mut random = Random::from_clock("chaos", "SEALDEX_CHAOS_SEED");
    let settings = tokio::task::spawn_blocking(Settings::from_environment)
        .await
        .unwrap()
        .unwrap();
    let nodes = settings
        .machines
        .iter()
        .map(|machine| (machine.name().to_owned(), machine.role()));
    let schedule = Schedule::draw(&Nodes(nodes.collect()), settings.time, &mut random);
    println!(
        "{} faults in {:?}:\n{schedule}",
        schedule.0.len(),
        schedule.time()
    );
    wait_until_served(&settings).await;

    let recorder = Arc::new(Recorder::default());
    let coordinators = settings
        .machines
        .iter()
        .filter_map(|machine| machine.rest())
        .collect();
    let work = Work::begin(&recorder, coordinators, &settings.root_key, &mut random)
        .await
        .unwrap();
    let clients = work.start(&mut random);
    let struck = Nemesis::new(&settings.machines, &recorder).run(schedule).await;
    work.end();
    clients.join_all().await;
    let audited = audit(&work).await;

    let history = recorder.history();
    let findings = check(&history);
    let notes = work.notes();
    let report = Report::of(&history, &findings, &notes, struck.as_deref().unwrap_or_default());
    println!("\n{report}");
    println!(
        "in rolling restarts failed {:#?}",
        first(report.failed_in_rolling_restarts())
    );
    assert_clean(&findings, &history, &settings.histories);
    assert!(
        notes.unexpected.is_empty(),
        "{} answers that no fault explains, as {:#?}",
        notes.unexpected.len(),
        first(&notes.unexpected)
    );
    struck.map(drop).and(audited).unwrap();
    assert!(
        report.acknowledged >= settings.acknowledged_min,
        "too little was written for the faults to mean anything"
    );
    // Where there is one node only, nobody takes over.
    let noticed = report.failed_in_rolling_restarts();
    assert!(
        settings.machines.len() == 1 || noticed.is_empty(),
        "clients noticed a rolling restart: {} requests failed, as {:#?}",
        noticed.len(),
        first(noticed)
    );
}

/// Enough of them to see what they are.
fn first<T>(all: &[T]) -> &[T] {
    &all[..all.len().min(3)]
}

async fn wait_until_served(settings: &Settings) {
    let given_up = Instant::now() + START_TIME_MAX;
    loop {
        let machines = settings.machines.clone();
        let are_well = move || machines.iter().all(|machine| machine.is_well());
        if tokio::task::spawn_blocking(are_well).await.unwrap() {
            return;
        }
        assert!(
            Instant::now() < given_up,
            "not every node is well after {START_TIME_MAX:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Fails with the first violations, and leaves the whole history behind.
fn assert_clean(findings: &Findings, history: &History, folder: &Path) {
    if findings.is_clean() {
        return;
    }
    let path = folder.join(format!("sealdex-history-{}.jsonl", std::process::id()));
    history.write(&path).unwrap();
    let told: String = findings
        .violations
        .iter()
        .take(5)
        .map(ToString::to_string)
        .collect();
    panic!(
        "{} violations, {} undecided; the history is in {}\n{told}",
        findings.violations.len(),
        findings.undecided.len(),
        path.display()
    );
}

/// Nodes that are there but not well by then never will be.
const START_TIME_MAX: Duration = Duration::from_secs(60);
