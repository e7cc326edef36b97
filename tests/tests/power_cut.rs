//! The power fails for a whole deployment at once: three coordinators and three shard nodes under load, all of whose disks stop at one
//! instant. What is started on these disks has everything that was acknowledged before that instant.
//!
//! One image is cut per round, and the next round goes on from it. `SEALDEX_CUT_ROUNDS` says how many.
#![allow(clippy::unwrap_used)]

use sealdex_tests::crash_disk::{self, CrashDisk};
use sealdex_tests::http::{Http, Reply, Unanswered};
use sealdex_tests::index::{Index, by_id, items_of};
use sealdex_tests::item::Item;
use sealdex_tests::ledger::{Ledger, State};
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::random::{Random, clumped};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const ROOT: &str = "the root key of this test";
const DISK_MIB: u64 = 3 << 10;
const DIMENSION: usize = 16;
const BASE_ITEMS: usize = 600;
const WRITERS: usize = 6;
const IDS_PER_WRITER: usize = 100;
/// Six nodes are enough for a machine at a time.
static ALONE: Mutex<()> = Mutex::const_new(());
/// A loaded machine takes its time to elect.
const SERVES_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_power_fails_everywhere() {
    if let Err(why) = crash_disk::is_possible() {
        println!("NOT TESTED: {why}");
        return;
    }
    let _alone = ALONE.lock().await;
    let rounds: usize = std::env::var("SEALDEX_CUT_ROUNDS").map_or(3, |given| given.parse().unwrap());
    let mut random = Random::from_clock("power cuts of all nodes", "SEALDEX_CUT_SEED");
    let disk = CrashDisk::new(DISK_MIB);
    let mut deployment = Deployment::start(&disk, &[], &mut random).await;
    let begun = Instant::now();
    for round in 0..rounds {
        deployment.write_until_the_power_fails(&disk, &mut random).await;
        disk.restore();
        let judged = deployment.come_back(round).await;
        judged.unwrap_or_else(|why| panic!("after power cut {round}: {why}"));
    }
    let acknowledged = deployment.acknowledged();
    println!(
        "{rounds} power cuts of all nodes in {:?}; {acknowledged} acknowledged writes, none lost",
        begun.elapsed()
    );
    assert!(
        acknowledged > rounds * 20,
        "too little was written for the cuts to mean anything"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_syncs_nothing_is_found_out() {
    if let Err(why) = crash_disk::is_possible() {
        println!("NOT TESTED: {why}");
        return;
    }
    let _alone = ALONE.lock().await;
    let library = Unsynced::compile();
    let mut random = Random::new(71);
    let disk = CrashDisk::new(DISK_MIB);
    let preloaded = ("LD_PRELOAD", library.path());
    let mut deployment = Deployment::start(&disk, &[preloaded], &mut random).await;
    for _ in 0..ROUNDS_TO_FIND_OUT {
        deployment.write_until_the_power_fails(&disk, &mut random).await;
        disk.restore();
        if let Err(why) = deployment.come_back(0).await {
            println!("found out: {}", why.lines().next_back().unwrap_or_default());
            return;
        }
    }
    panic!("nothing was synced, and yet nothing is missing: the cut does not cut");
}

/// Journals are committed now and then without being asked.
const ROUNDS_TO_FIND_OUT: usize = 3;

/// The nodes, and what was written to them.
struct Deployment {
    nodes: Nodes,
    index: Index,
    /// Never touched again.
    base: BTreeMap<String, Item>,
    writers: Vec<Writer>,
    indexes: IndexMaker,
}

impl Deployment {
    /// On an empty disk, with a trained index.
    async fn start(disk: &CrashDisk, variables: &[(&str, String)], random: &mut Random) -> Self {
        let mut nodes = Nodes::new(3, 3)
            .with_disks_in(disk.path())
            .with_variable("SEALDEX_ROOT_KEY", ROOT);
        for (name, value) in variables {
            nodes = nodes.with_variable(name, value);
        }
        nodes.start_all().await;
        let http = nodes.http(0);
        let index = Index::create(&http, "cut", &random.hex(32), json!({"dimension": DIMENSION})).await;
        let base = clumped(random, BASE_ITEMS, 20, DIMENSION).into_iter().enumerate();
        let base = by_id(
            base.map(|(n, vector)| Item::bare(format!("base{n}"), vector))
                .collect(),
        );
        index
            .upsert_binary(&base.values().cloned().collect::<Vec<_>>())
            .await;
        index.train().await;
        let writers = (0..WRITERS).map(|number| Writer::new(number, random.word()));
        Self {
            index,
            base,
            writers: writers.collect(),
            indexes: IndexMaker::default(),
            nodes,
        }
    }

    /// Lets everybody write through every coordinator, and takes the disks down at some moment.
    async fn write_until_the_power_fails(&mut self, disk: &CrashDisk, random: &mut Random) {
        let is_over = Arc::new(AtomicBool::new(false));
        let coordinators = self.nodes.all(Kind::Coordinator);
        let mut writing = JoinSet::new();
        for (n, writer) in self.writers.drain(..).enumerate() {
            let http = self.nodes.http(coordinators[n % coordinators.len()]);
            writing.spawn(writer.write(self.index.through(&http), is_over.clone()));
        }
        let maker = std::mem::take(&mut self.indexes);
        let making = tokio::spawn(maker.work(self.nodes.http(coordinators[0]), is_over.clone()));
        tokio::time::sleep(Duration::from_millis(300 + random.below(1_200) as u64)).await;
        // What is acknowledged from here on may be on the disks or not.
        is_over.store(true, Ordering::SeqCst);
        disk.cut();
        for kind in [Kind::Coordinator, Kind::Shard] {
            self.nodes.all(kind).into_iter().for_each(|n| self.nodes.kill(n));
        }
        self.writers = writing.join_all().await;
        self.indexes = making.await.expect("the maker of indexes found a fault");
    }

    /// Starts all nodes on what is on the disks, and looks at everything.
    async fn come_back(&mut self, round: usize) -> Result<(), String> {
        let coordinators = self.nodes.all(Kind::Coordinator);
        for n in coordinators.iter().copied().chain(self.nodes.all(Kind::Shard)) {
            self.nodes.start(n);
        }
        let reader = coordinators[round % coordinators.len()];
        self.index = self.index.through(&self.nodes.http(reader));
        let mut expected: BTreeSet<String> = self.base.keys().cloned().collect();
        let mut writers = std::mem::take(&mut self.writers);
        for writer in &mut writers {
            let found = self.read(writer.ledger.ids()).await?;
            writer.judge(&found)?;
            expected.extend(found.into_keys());
        }
        self.writers = writers;
        let base = self.read(self.base.keys().cloned().collect()).await?;
        let is_there = |item: &Item| base.get(&item.id).is_some_and(|read| read.is_same_as(item));
        if !self.base.values().all(is_there) {
            return Err("items that nobody touched are gone or changed".to_owned());
        }
        for n in coordinators {
            self.index = self.index.through(&self.nodes.http(n));
            let listed = self.ask("vectors/list_ids", json!({})).await?;
            let listed = listed["ids"].as_array().cloned().unwrap_or_default();
            let listed: BTreeSet<String> = listed
                .iter()
                .filter_map(|id| id.as_str().map(str::to_owned))
                .collect();
            if listed != expected {
                return Err(format!(
                    "coordinator {n} lists {} ids of {}",
                    listed.len(),
                    expected.len()
                ));
            }
            self.find_some().await?;
        }
        let names = self.ask_for_names().await?;
        self.indexes.judge(&names)
    }

    /// Each writer's item is found by its own vector.
    async fn find_some(&mut self) -> Result<(), String> {
        let known: Vec<Item> = self
            .writers
            .iter()
            .filter_map(|writer| writer.ledger.items().next().cloned())
            .collect();
        for item in known {
            let body = json!({"query_vectors": item.vector, "top_k": 1, "n_probes": 1_000_000});
            let answer = self.ask("vectors/query", body).await?;
            if answer["results"][0]["id"] != json!(item.id) {
                return Err(format!("{} is not found by its own vector: {answer}", item.id));
            }
        }
        Ok(())
    }

    async fn read(&mut self, ids: Vec<String>) -> Result<BTreeMap<String, Item>, String> {
        let answer = self.ask("vectors/get", json!({"ids": ids})).await?;
        items_of(&answer)
            .map(by_id)
            .ok_or_else(|| format!("not items: {answer}"))
    }

    async fn ask_for_names(&mut self) -> Result<Vec<String>, String> {
        let http = self.index.http.clone();
        let answer = self
            .until_served("indexes/list", || http.get("/v1/indexes/list"))
            .await?;
        let names = answer["indexes"].as_array().ok_or("no list of indexes")?;
        Ok(names
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect())
    }

    async fn ask(&mut self, route: &str, body: Value) -> Result<Value, String> {
        let index = self.index.clone();
        self.until_served(route, || index.call(route, body.clone())).await
    }

    /// Asks until it is answered; an error is an answer that waiting does not mend, or a node that has fallen.
    async fn until_served<A>(&mut self, what: &str, ask: impl Fn() -> A) -> Result<Value, String>
    where
        A: Future<Output = Result<Reply, Unanswered>>,
    {
        let given_up = Instant::now() + SERVES_WITHIN;
        loop {
            let why = match ask().await {
                Ok(reply) if reply.status == 200 => return Ok(reply.json()),
                Ok(reply) if reply.status < 500 => {
                    return Err(format!("{what}: {} {}", reply.status, reply.text()));
                }
                Ok(reply) => reply.text(),
                Err(why) => why.0,
            };
            if let Some(fallen) = self.nodes.fallen() {
                return Err(fallen);
            }
            if Instant::now() > given_up {
                return Err(format!("{what} is not served after {SERVES_WITHIN:?}: {why}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn acknowledged(&self) -> usize {
        let items: usize = self.writers.iter().map(|writer| writer.acknowledged).sum();
        items + self.indexes.acknowledged
    }
}

/// One client, which writes items of its own.
struct Writer {
    ids: Vec<String>,
    ledger: Ledger,
    acknowledged: usize,
    version: u64,
    random: Random,
}

impl Writer {
    fn new(number: usize, seed: u64) -> Self {
        Self {
            ids: (0..IDS_PER_WRITER).map(|n| format!("w{number}-{n}")).collect(),
            ledger: Ledger::default(),
            acknowledged: 0,
            version: 0,
            random: Random::new(seed),
        }
    }

    async fn write(mut self, index: Index, is_over: Arc<AtomicBool>) -> Self {
        // Whether these were written is not known, and they may be yet.
        let mut open = BTreeSet::new();
        while !is_over.load(Ordering::SeqCst) {
            let writes = self.some_writes(&open);
            if writes.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            let items: Vec<Value> = writes
                .iter()
                .filter_map(|(_, state)| state.as_ref())
                .map(Item::to_json)
                .collect();
            let ids: Vec<&String> = writes.iter().map(|(id, _)| id).collect();
            let (route, body) = match items.is_empty() {
                true => ("vectors/delete", json!({"ids": ids})),
                false => ("vectors/upsert", json!({"items": items})),
            };
            self.ledger.begin(&writes);
            let answer = index.call(route, body).await;
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            if answer.is_ok_and(|reply| reply.status == 200) {
                self.ledger.acknowledge(&writes);
                self.acknowledged += writes.len();
            } else {
                open.extend(writes.into_iter().map(|(id, _)| id));
            }
        }
        self
    }

    /// New versions of some items, or deletions of some.
    fn some_writes(&mut self, open: &BTreeSet<String>) -> Vec<(String, State)> {
        let is_deletion = self.random.chance(25);
        let (count, first) = (1 + self.random.below(8), self.random.below(self.ids.len()));
        let ids = (0..count).map(|n| self.ids[(first + 7 * n) % self.ids.len()].clone());
        let ids: Vec<String> = ids.filter(|id| !open.contains(id)).collect();
        let state = |id: String| {
            let version = (!is_deletion).then(|| self.version_of(&id));
            (id, version)
        };
        ids.into_iter().map(state).collect()
    }

    fn version_of(&mut self, id: &str) -> Item {
        self.version += 1;
        let contents = format!(
            "{id} version {} {}",
            self.version,
            "x".repeat(self.random.below(2_000))
        );
        Item::bare(id, self.random.vector(DIMENSION))
            .with_metadata(json!({"version": self.version}))
            .with_contents(contents)
    }

    fn judge(&mut self, found: &BTreeMap<String, Item>) -> Result<(), String> {
        let violations = self.ledger.violations(found);
        if let Some(first) = violations.first() {
            return Err(format!("{} faults, as: {first}", violations.len()));
        }
        self.ledger.adopt(found);
        Ok(())
    }
}

/// One client, which makes and deletes indexes: what coordinators keep.
#[derive(Default)]
struct IndexMaker {
    /// An index is an item of its name alone.
    ledger: Ledger,
    acknowledged: usize,
    made: u64,
}

impl IndexMaker {
    async fn work(mut self, http: Arc<Http>, is_over: Arc<AtomicBool>) -> Self {
        while !is_over.load(Ordering::SeqCst) {
            self.made += 1;
            let index = Index::new(&http, &format!("made-{}", self.made), &"17".repeat(32));
            if !self.change(&index, true, &is_over).await {
                continue;
            }
            if self.made.is_multiple_of(2) {
                self.change(&index, false, &is_over).await;
            }
        }
        self
    }

    async fn change(&mut self, index: &Index, is_there: bool, is_over: &AtomicBool) -> bool {
        let route = if is_there {
            "indexes/create"
        } else {
            "indexes/delete"
        };
        let writes = [(index.name.clone(), is_there.then(|| named(&index.name)))];
        self.ledger.begin(&writes);
        let is_done = index
            .call(route, json!({}))
            .await
            .is_ok_and(|reply| reply.status == 200);
        if is_done && !is_over.load(Ordering::SeqCst) {
            self.ledger.acknowledge(&writes);
            self.acknowledged += 1;
        }
        is_done
    }

    fn judge(&mut self, names: &[String]) -> Result<(), String> {
        let found = names.iter().filter(|name| self.ledger.knows(name));
        let found = by_id(found.map(|name| named(name)).collect());
        if let Some(first) = self.ledger.violations(&found).first() {
            return Err(format!("an index: {first}"));
        }
        self.ledger.adopt(&found);
        Ok(())
    }
}

fn named(name: &str) -> Item {
    Item::bare(name, Vec::new())
}

/// A library that takes its meaning from every sync.
struct Unsynced(TempDir);

impl Unsynced {
    fn compile() -> Self {
        let library = Self(tempfile::tempdir().unwrap());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power/unsynced.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .args([Path::new(&library.path()), &source])
            .status();
        assert!(compiled.expect("a C compiler is installed").success());
        library
    }

    fn path(&self) -> String {
        self.0.path().join("unsynced.so").to_str().unwrap().to_owned()
    }
}
