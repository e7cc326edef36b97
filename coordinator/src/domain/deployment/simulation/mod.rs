//! The controller in a world of chance: nodes join, fall, come back, lose their disks and leave; messages are late or lost; the
//! metadata group changes its leader in the middle of everything. Everything follows from a seed, and a failure names it.
//!
//! `SEALDEX_SIM_SEEDS` is the number of seeds (200), `SEALDEX_SIM_FIRST` the first of them.

mod checks;
mod raft;
mod rng;
mod world;

use super::{Assignment, Command, Group, NodeChange, Role, Settings};
use sealdex_core::NodeId;
use world::{Lies, World};

/// Seconds of trouble, and those within which everything must be well again.
const TROUBLE: u64 = 400;
const RECOVERY: u64 = 3_000;

/// Seconds without any move after which calm is believed.
const STILL: u64 = 90;

/// Runs one seed; returns how many seconds recovery took.
fn run(seed: u64, lies: Lies) -> Result<u64, String> {
    let mut world = World::new(seed, lies);
    for _ in 0..TROUBLE {
        if world.rng.percent(8) {
            make_trouble(&mut world);
        }
        world.tick()?;
    }
    world.calm = true;
    for at in 0..world.machines.len() {
        if world.machines[at].down_until > world.now {
            world.crash(at, 0);
        }
    }
    let (began, mut moves, mut still) = (world.now, world.moves, 0);
    while still < STILL {
        world.tick()?;
        let unfinished = checks::unfinished(&world);
        still = if unfinished.is_none() && world.moves == moves {
            still + 1
        } else {
            0
        };
        moves = world.moves;
        if world.now - began > RECOVERY {
            let why = unfinished.unwrap_or_else(|| "it goes to and fro".into());
            return Err(format!(
                "not well after {RECOVERY} s: {why}; {}",
                world.describe()
            ));
        }
    }
    Ok(world.now - began - STILL)
}

fn make_trouble(world: &mut World) {
    let at = world.rng.between(0, world.machines.len() as u64 - 1) as usize;
    let id = world.machines[at].id;
    match world.rng.between(0, 9) {
        0 | 1 if world.machines.len() < 14 => {
            let role = if world.rng.percent(70) {
                Role::Shard
            } else {
                Role::Coordinator
            };
            world.join(format!("late-{}", world.now), role);
        }
        2..=4 if !world.machines[at].dead => {
            let seconds = world.rng.between(1, 120);
            world.crash(at, seconds);
        }
        5 if may_be_wiped(world, at) => {
            let comes_back = world.rng.percent(70);
            world.wipe(at, comes_back);
        }
        6 => operate(world, id, NodeChange::Decommission),
        7 if world.rng.percent(30) => operate(world, id, NodeChange::Recommission),
        8 if world.rng.percent(30) => {
            let replicas = world.rng.between(1, 4) as u8;
            let settings = Settings {
                replicas,
                ..world.deployment.settings
            };
            world
                .apply(Command::Configure(settings))
                .expect("these settings fit");
        }
        9 => {
            let seconds = world.rng.between(5, 60);
            world.stopping(at, seconds);
        }
        _ => {}
    }
}

/// What an operator asks for may be refused.
fn operate(world: &mut World, node: Option<NodeId>, to: NodeChange) {
    if let Some(node) = node {
        let _ = world.apply(Command::SetNode { node, to });
    }
}

/// Raft survives the loss of a minority of disks, and no more is lost here; nor one of a group that is not yet founded.
fn may_be_wiped(world: &World, at: usize) -> bool {
    let machine = &world.machines[at];
    let keeps = |node: NodeId| Some(node) != machine.id && world.machine(node).is_some_and(|m| !m.dead);
    let outlives = |(group, assignment): (Group, &Assignment)| {
        let raft = world.groups.get(&group);
        let has = |node: NodeId| keeps(node) && raft.is_none_or(|raft| raft.behind.contains_key(&node));
        let kept = assignment.voters.iter().filter(|node| has(**node)).count();
        kept > assignment.voters.len() / 2 && raft.is_none_or(|raft| raft.has_quorum(keeps))
    };
    let table = &world.deployment.table;
    let founded = machine.node.role == Role::Coordinator || !table.partitions.is_empty();
    !machine.dead && founded && table.iter().all(outlives)
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn every_seed_comes_to_rest_and_harms_nobody() {
    let first = variable("SEALDEX_SIM_FIRST", 0);
    let (mut slowest, mut failed) = (0, Vec::new());
    for seed in first..first + variable("SEALDEX_SIM_SEEDS", 200) {
        match run(seed, Lies::default()) {
            Ok(seconds) => slowest = slowest.max(seconds),
            Err(why) => failed.push(format!("SEALDEX_SIM_FIRST={seed} SEALDEX_SIM_SEEDS=1: {why}")),
        }
    }
    assert!(
        failed.is_empty(),
        "{} seeds failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    println!("the slowest recovery took {slowest} s");
}

/// Each lie makes the controller do harm, and the checks see it.
#[test]
fn harm_is_seen() {
    let finds = |lies, harm: &str| (0..200).any(|seed| run(seed, lies).is_err_and(|why| why.contains(harm)));
    let lies = Lies::default();
    assert!(finds(
        Lies {
            reports_know_all: true,
            ..lies
        },
        "deleted a replica"
    ));
    assert!(finds(
        Lies {
            nobody_is_behind: true,
            ..lies
        },
        "has not caught up"
    ));
    assert!(finds(
        Lies {
            nobody_is_lost: true,
            ..lies
        },
        "most of them lost"
    ));
    assert!(finds(
        Lies {
            disks_are_empty: true,
            ..lies
        },
        "is removed with a replica"
    ));
}
