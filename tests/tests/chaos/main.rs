//! A deployment under faults and under load: everything that its clients did and saw is recorded, and the history must be one that a
//! correct deployment could have shown. `make test` runs it for a few seconds against one process; `make chaos` at full length against
//! containers. `SEALDEX_CHAOS_SEED` repeats the faults of a run.
#![allow(clippy::unwrap_used)]

mod clients;
mod container;
mod forgetful;
mod guest;
mod machine;
mod nemesis;
mod overseer;
mod process;
mod replicas;
mod report;
mod run;
mod schedule;
mod settings;

use forgetful::Forgetful;
use machine::{Machine, Role};
use process::Process;
use replicas::Compared;
use run::run;
use schedule::{Fault, Nodes, Planned, Schedule};
use sealdex_tests::history::Kind;
use sealdex_tests::random::Random;
use settings::Settings;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_sees_what_a_correct_deployment_could_not_show() {
    let mut random = Random::from_clock("chaos", "SEALDEX_CHAOS_SEED");
    let settings = tokio::task::spawn_blocking(Settings::from_environment)
        .await
        .unwrap()
        .unwrap();
    let machines = settings.machines.iter();
    let nodes = machines.map(|machine| (machine.name().to_owned(), machine.role()));
    let nodes = Nodes {
        nodes: nodes.collect(),
        guest: settings.guest.as_ref().map(|guest| guest.name().to_owned()),
        only: settings.only.clone(),
    };
    let schedule = Schedule::draw(&nodes, settings.time, &mut random);
    println!(
        "up to {} faults in {:?}:\n{schedule}",
        schedule.0.len(),
        settings.time
    );

    assert!(
        !schedule.0.is_empty(),
        "SEALDEX_CHAOS_SECONDS leaves no time for a fault"
    );
    let run = run(
        &settings.machines,
        settings.guest,
        &settings.root_key,
        schedule,
        settings.time,
        &mut random,
    )
    .await;
    let report = run.report();
    println!("\n{report}");
    let machines = settings.machines.clone();
    let compared = tokio::task::spawn_blocking(move || stop_and_compare(&machines))
        .await
        .unwrap();
    println!("{compared}");
    run.assert_clean(&settings.histories);
    assert!(compared.differ.is_empty(), "{:#?}", compared.differ);
    assert!(
        report.acknowledged >= settings.acknowledged_min,
        "too little was written for the faults to mean anything"
    );
    let noticed = report.failed_in_rolling_restarts();
    let told = format!(
        "{} requests failed in rolling restarts, as {:#?}",
        noticed.len(),
        run::first(&noticed)
    );
    println!("{told}");
    // Where there is one node only, nobody takes over.
    assert!(settings.machines.len() == 1 || noticed.is_empty(), "{told}");
}

/// What shard nodes have stored, when nobody writes any more and nobody has anything written. Of one node alone there is nothing to
/// compare.
fn stop_and_compare(machines: &[Arc<dyn Machine>]) -> Compared {
    let of = |role| machines.iter().filter(move |machine| machine.role() == role);
    of(Role::Coordinator).for_each(|coordinator| coordinator.stop().unwrap());
    std::thread::sleep(REST);
    let disk = |shard: &Arc<dyn Machine>| {
        shard.stop().unwrap();
        (shard.name().to_owned(), shard.disk().unwrap())
    };
    replicas::compare(&of(Role::Shard).map(disk).collect::<Vec<_>>()).unwrap()
}

/// Followers hear with the next heartbeat what was committed.
const REST: Duration = Duration::from_secs(3);

/// The whole way, from a client's request to the verdict, must find a deployment out that loses what it acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_goes_back_in_time_is_found_out() {
    let root_key = "the root key of this test";
    let disk = Forgetful::of(Process::begin(root_key).unwrap());
    let kill = Planned {
        fault: Fault::Kill,
        nodes: vec!["serve".to_owned()],
        roles: [Role::Embedded].into(),
        lasts: Duration::ZERO,
        after: Duration::from_secs(2),
    };
    let schedule = Schedule(vec![kill.clone(), kill]);
    let time = Duration::from_secs(60);
    let run = run(
        &[Arc::new(disk)],
        None,
        root_key,
        schedule,
        time,
        &mut Random::new(1),
    )
    .await;
    println!("\n{}", run.report());
    for kind in [Kind::Lost, Kind::Stale] {
        assert!(run.findings.count(kind) > 0, "{kind:?}");
    }
}
