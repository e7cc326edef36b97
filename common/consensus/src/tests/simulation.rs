//! A deployment under faults, drawn from a seed: crashes of one, some or all, partitions, lost and doubled messages, handed-over
//! leadership, changing members, purged logs. Clients check what they see as they go; in the end all is healed, and the
//! replicas must be equal and hold everything that was acknowledged.
//!
//! Each bug that is planted must be found. A seed repeats the faults; threads and openraft's own dice make it repeat the
//! interleaving only roughly.

use super::deployment::{Deployment, ids};
use super::ledger::{Command, Disk, Ledger, Plants};
use super::rng::Rng;
use crate::{Group, NodeId, ProposeError, Purpose, ReadError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

const KEYS: u16 = 4;
const NODES: u64 = 4;
const STEPS: u64 = 25;

/// What is wrong on purpose.
#[derive(Clone, Copy, Default)]
struct Bugs {
    machine: Plants,
    /// A crash takes back what was synced: the log is as it was some time before.
    sync_skipped: bool,
    /// A crash empties the disk, and the node comes back under its old id.
    id_reused: bool,
    /// Whoever believes to lead reads without asking the others.
    reads_without_barrier: bool,
}

/// What the clients know.
#[derive(Default)]
struct Knowledge {
    keys: Mutex<BTreeMap<u16, Key>>,
    leaders: Mutex<BTreeMap<u64, NodeId>>,
    violation: Mutex<Option<String>>,
    done: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Key {
    started: u64,
    acked: u64,
    seen: u64,
}

impl Knowledge {
    fn key(&self, key: u16) -> Key {
        self.keys.lock().get(&key).copied().unwrap_or_default()
    }

    fn note(&self, key: u16, note: impl FnOnce(&mut Key)) {
        note(self.keys.lock().entry(key).or_default());
    }

    fn violated(&self, what: String) {
        self.violation.lock().get_or_insert(what);
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed) || self.violation.lock().is_some()
    }
}

type Asked = (NodeId, Group<Ledger>, Disk);

/// The nodes that clients may ask.
#[derive(Clone, Default)]
struct Nodes(Arc<Mutex<Vec<Asked>>>);

impl Nodes {
    fn refresh(&self, deployment: &Deployment) {
        let running = deployment.running();
        *self.0.lock() = running
            .map(|(id, group)| (id, group.clone(), deployment.nodes[&id].disk.clone()))
            .collect();
    }

    fn any(&self, rng: &mut Rng, hint: Option<NodeId>) -> Option<(NodeId, Group<Ledger>, Disk)> {
        let nodes = self.0.lock();
        let hinted = nodes.iter().find(|(id, ..)| Some(*id) == hint);
        hinted
            .or_else(|| (!nodes.is_empty()).then(|| rng.pick(&nodes[..])))
            .cloned()
    }
}

/// Writes one key, a version at a time.
async fn write(key: u16, mut rng: Rng, nodes: Nodes, known: Arc<Knowledge>) {
    let mut version = 1;
    let mut hint = None;
    while !known.is_done() {
        let Some((_, group, _)) = nodes.any(&mut rng, hint) else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        known.note(key, |key| key.started = version);
        let deleted = version.is_multiple_of(3);
        let command = Command {
            key,
            version,
            deleted,
        };
        let proposed = group.propose(Purpose::Grow, command.encode()).await;
        drop(group);
        hint = None;
        match proposed {
            Ok(_) => {
                known.note(key, |key| key.acked = version);
                version += 1;
            }
            Err(ProposeError::NotLeader { leader }) => {
                hint = leader.filter(|_| !rng.one_in(4));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // It may still come: what comes next must be later.
            Err(_) => version += 1,
        }
        tokio::time::sleep(Duration::from_millis(rng.below(30))).await;
    }
}

async fn read(mut rng: Rng, nodes: Nodes, known: Arc<Knowledge>, bugs: Bugs) {
    while !known.is_done() {
        tokio::time::sleep(Duration::from_millis(rng.below(20))).await;
        let Some((node, group, disk)) = nodes.any(&mut rng, None) else {
            continue;
        };
        let key = rng.below(KEYS.into()) as u16;
        let before = known.key(key);
        if pass(&group, bugs, rng.one_in(2)).await.is_err() {
            continue;
        }
        let version = disk.live.lock().version(key);
        let after = known.key(key);
        if version < before.acked.max(before.seen) {
            known.violated(format!(
                "stale: node {node} shows version {version} of key {key} after {} was acknowledged and {} seen",
                before.acked, before.seen
            ));
        }
        if version > after.started {
            known.violated(format!("version {version} of key {key} was never written"));
        }
        known.note(key, |key| key.seen = key.seen.max(version));
    }
}

/// Whatever a node does before it reads its state.
async fn pass(group: &Group<Ledger>, bugs: Bugs, anywhere: bool) -> Result<(), ReadError> {
    if bugs.reads_without_barrier {
        return match group.status().is_leader {
            true => Ok(()),
            false => Err(ReadError::Unknown),
        };
    }
    if anywhere {
        let index = group.read_index().await?;
        return group.wait_applied(index).await;
    }
    group.read_barrier().await
}

/// At most one leader in each term.
async fn watch_leaders(nodes: Nodes, known: Arc<Knowledge>) {
    while !known.is_done() {
        let statuses: Vec<_> = nodes
            .0
            .lock()
            .iter()
            .map(|(id, group, _)| (*id, group.status()))
            .collect();
        for (id, status) in statuses.into_iter().filter(|(_, status)| status.is_leader) {
            let first = *known.leaders.lock().entry(status.term).or_insert(id);
            if first != id {
                known.violated(format!(
                    "nodes {first} and {id} both lead in term {}",
                    status.term
                ));
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Does things to a deployment.
struct Nemesis {
    rng: Rng,
    bugs: Bugs,
    deployment: Deployment,
    nodes: Nodes,
    images: BTreeMap<NodeId, tempfile::TempDir>,
}

impl Nemesis {
    async fn step(&mut self) -> Result<(), String> {
        let running: Vec<NodeId> = self.deployment.running().map(|(id, _)| id).collect();
        let all: Vec<NodeId> = self.deployment.nodes.keys().copied().collect();
        let victim = *self.rng.pick(&all);
        match self.rng.below(14) {
            0 | 1 if running.len() > 2 => self.crash(victim).await,
            2 => {
                for id in all {
                    self.crash(id).await;
                }
                self.start_all().await?;
            }
            3 => {
                // The leader, back at once: a follower may have what it lost.
                let leader = self
                    .deployment
                    .running()
                    .find(|(_, group)| group.status().is_leader);
                if let Some((leader, _)) = leader {
                    self.crash(leader).await;
                    tokio::time::sleep(Duration::from_millis(self.rng.below(100))).await;
                    self.start(leader).await?;
                }
            }
            4 | 5 => self.start_all().await?,
            6 => self.deployment.net.isolate(victim, all),
            7 => {
                let other = *self.rng.pick(&all);
                self.deployment.net.set(|faults| {
                    faults.cut.insert((victim, other));
                });
            }
            8 | 9 => self.deployment.net.set(|faults| faults.cut.clear()),
            10 => {
                let (lost, delay) = (self.rng.below(2) * 10, self.rng.below(40));
                let twice = self.rng.below(2) * 8;
                self.deployment.net.set(|faults| {
                    faults.lost_one_in = lost;
                    faults.delay_max = delay;
                    faults.twice_one_in = twice;
                });
            }
            11 => self.hand_over(victim).await,
            12 => self.change_members().await,
            _ => {
                if let Some(running) = &self.deployment.nodes[&victim].running {
                    let purge = running.group.purge_applied();
                    let _ = tokio::time::timeout(Duration::from_secs(2), purge).await;
                }
            }
        }
        Ok(())
    }

    async fn crash(&mut self, id: NodeId) {
        self.deployment.crash(id).await;
        self.nodes.refresh(&self.deployment);
        if self.bugs.id_reused {
            let node = self.deployment.nodes.get_mut(&id).unwrap();
            node.folder = tempfile::tempdir().unwrap();
            node.disk = Disk::default();
        }
        if self.bugs.sync_skipped
            && let Some(image) = self.images.remove(&id)
        {
            let node = self.deployment.nodes.get_mut(&id).unwrap();
            node.folder = image;
        }
    }

    async fn start(&mut self, id: NodeId) -> Result<(), String> {
        if self.deployment.nodes[&id].running.is_some() {
            return Ok(());
        }
        let started = self.deployment.start(id).await;
        self.nodes.refresh(&self.deployment);
        started.map_err(|error| format!("node {id} does not start: {error}"))
    }

    async fn start_all(&mut self) -> Result<(), String> {
        for id in 1..=NODES {
            self.start(NodeId(id)).await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, to: NodeId) {
        let leader = self
            .deployment
            .running()
            .find(|(_, group)| group.status().is_leader);
        if let Some((_, group)) = leader {
            // Whether it worked is of no concern.
            let _ = group.transfer_to(to).await;
        }
    }

    /// Lets one of the four out, or in.
    async fn change_members(&mut self) {
        let leader = self
            .deployment
            .running()
            .find(|(_, group)| group.status().is_leader);
        let Some((_, group)) = leader else { return };
        let status = group.status();
        let all = ids(1..=NODES);
        let out: Vec<NodeId> = all.difference(&status.voters).copied().collect();
        let _ = match out.first() {
            Some(node) if status.learners.contains(node) => group.change_voters(&all).await,
            Some(node) => group.add_learner(*node).await,
            None => {
                let leaves = NodeId(1 + self.rng.below(NODES));
                let stay: BTreeSet<NodeId> = all.into_iter().filter(|id| *id != leaves).collect();
                group.change_voters(&stay).await
            }
        };
    }

    /// Keeps what a disk that lies would come back with.
    fn take_images(&mut self) {
        for (id, node) in &self.deployment.nodes {
            if node.running.is_some() && self.rng.one_in(3) {
                let image = tempfile::tempdir().unwrap();
                copy(node.folder.path(), image.path());
                self.images.insert(*id, image);
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        let to = to.join(file.file_name());
        if file.path().is_dir() {
            copy(&file.path(), &to);
        } else {
            // It may be gone meanwhile.
            let _ = std::fs::copy(file.path(), to);
        }
    }
}

/// What was found, if anything.
async fn simulate(seed: u64, bugs: Bugs) -> Result<u64, String> {
    let mut rng = Rng::new(seed);
    let mut deployment = Deployment::new(rng.next());
    deployment.plants = bugs.machine;
    deployment.found(NODES).await;
    let known = Arc::new(Knowledge::default());
    let nodes = Nodes::default();
    nodes.refresh(&deployment);
    let mut clients = tokio::task::JoinSet::new();
    for key in 0..KEYS {
        clients.spawn(write(
            key,
            Rng::new(rng.next()),
            nodes.clone(),
            Arc::clone(&known),
        ));
    }
    for _ in 0..4 {
        clients.spawn(read(
            Rng::new(rng.next()),
            nodes.clone(),
            Arc::clone(&known),
            bugs,
        ));
    }
    clients.spawn(watch_leaders(nodes.clone(), Arc::clone(&known)));
    let mut nemesis = Nemesis {
        rng,
        bugs,
        deployment,
        nodes,
        images: BTreeMap::new(),
    };
    let outcome = torment(&mut nemesis, &known).await;
    known.done.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    let outcome = match known.violation.lock().take() {
        Some(violation) => Err(violation),
        None => outcome,
    };
    for id in 1..=NODES {
        nemesis.crash(NodeId(id)).await;
    }
    outcome.map(|()| known.keys.lock().values().map(|key| key.acked).sum())
}

async fn torment(nemesis: &mut Nemesis, known: &Arc<Knowledge>) -> Result<(), String> {
    for _ in 0..STEPS {
        if nemesis.bugs.sync_skipped {
            nemesis.take_images();
        }
        nemesis.step().await?;
        let pause = Duration::from_millis(nemesis.rng.below(1500));
        tokio::time::sleep(pause).await;
        if known.is_done() {
            return Ok(());
        }
    }
    nemesis.deployment.net.set(|faults| *faults = Default::default());
    nemesis.start_all().await?;
    known.done.store(true, Ordering::Relaxed);
    settle(nemesis).await?;
    if let Some(fault) = nemesis.deployment.faults.lock().first() {
        return Err(format!("a storage fault: {fault}"));
    }
    for (id, _) in nemesis.deployment.running() {
        let state = nemesis.deployment.state(id);
        for (key, known) in known.keys.lock().iter() {
            let version = state.version(*key);
            if version < known.acked {
                return Err(format!(
                    "lost: node {id} has version {version} of key {key}, and {} was acknowledged",
                    known.acked
                ));
            }
        }
    }
    Ok(())
}

/// Brings everybody in, so that all replicas can be compared.
async fn settle(nemesis: &mut Nemesis) -> Result<(), String> {
    for _ in 0..600 {
        let members = nemesis.deployment.running().find_map(|(_, group)| {
            let status = group.status();
            status.is_leader.then_some(status)
        });
        match members {
            Some(status) if status.voters == ids(1..=NODES) && !status.is_joint => {
                return nemesis.deployment.try_converge().await;
            }
            _ => nemesis.change_members().await,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("the members do not come together within a minute".to_owned())
}

fn run(seed: u64, bugs: Bugs) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(simulate(seed, bugs))
}

/// From the environment, or a few.
fn seeds(few: u64) -> u64 {
    let told = std::env::var("SEALDEX_SIM_SEEDS").ok();
    told.map_or(few, |seeds| seeds.parse().expect("SEALDEX_SIM_SEEDS is a number"))
}

#[test]
fn nothing_acknowledged_is_lost_and_replicas_stay_equal() {
    let first = std::env::var("SEALDEX_SIM_FIRST").map_or(1, |seed| seed.parse().unwrap());
    let mut acked = 0;
    let seeds = seeds(6);
    for seed in first..first + seeds {
        match run(seed, Bugs::default()) {
            Ok(count) => acked += count,
            Err(violation) => panic!("SEALDEX_SIM_FIRST={seed} SEALDEX_SIM_SEEDS=1: {violation}"),
        }
    }
    println!("{seeds} seeds, {acked} acknowledged writes");
    assert!(acked > 100 * seeds, "too little happened: {acked}");
}

/// The seed that finds a bug, and how.
fn find(bugs: Bugs, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| Some((seed, run_apart(seed, bugs).err()?)))
}

/// Where a bug has taken from a log what a leader knows to be there, the two may tell each other so for ever, and no simulated time goes by.
fn run_apart(seed: u64, bugs: Bugs) -> Result<u64, String> {
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(run(seed, bugs)));
    match end.recv_timeout(ENDS_WITHIN) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Disconnected) => Err("a panic".to_owned()),
        Err(RecvTimeoutError::Timeout) => Err("it does not come to an end".to_owned()),
    }
}

/// Of real time; a seed takes a second or two.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

#[test]
fn planted_bugs_are_found() {
    let machine = |machine| Bugs {
        machine,
        ..Bugs::default()
    };
    let bugs = [
        (
            "a sync is skipped",
            Bugs {
                sync_skipped: true,
                ..Bugs::default()
            },
        ),
        (
            "a node id is used again",
            Bugs {
                id_reused: true,
                ..Bugs::default()
            },
        ),
        (
            "a deposed leader answers reads",
            Bugs {
                reads_without_barrier: true,
                ..Bugs::default()
            },
        ),
        (
            "the log is purged before the state is flushed",
            machine(Plants {
                lies_about_durable: true,
                ..Plants::default()
            }),
        ),
        (
            "tombstones are missing from snapshots",
            machine(Plants {
                loses_tombstones: true,
                ..Plants::default()
            }),
        ),
    ];
    for (name, bug) in bugs {
        let found = find(bug, 40);
        println!("{name}: {found:?}");
        assert!(found.is_some(), "nothing found although {name}");
    }
}
