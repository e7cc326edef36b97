//! Several coordinators and one rotation: whichever are asked, one of them carries it out while the others tell how far it is, and when
//! that one dies another goes on where it was. Of what clients ask meanwhile, only what was sent to the dead one fails.

use super::*;
use sealdex_tests::index::{hits_of, items_of};
use sealdex_tests::ledger::{Ledger, State};
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::users::make_user;
use std::collections::BTreeSet;
use std::time::Instant;

const NAME: &str = "movies";

/// For changes that take seconds on a machine that is not loaded.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(240);

/// A coordinator is lost after ten seconds, an index of a slot is looked for every thirty, and all of its records are gone through in
/// about twenty. A loaded machine is many times slower.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(240);

/// Items that a client writes over and over, and how many of them at a time.
const ITEMS_PER_CLIENT: usize = 100;
const BATCH: usize = 5;

/// Between two rounds of a client: the load is to be steady, not as much as goes.
const PACE: Duration = Duration::from_millis(10);

/// Three coordinators and three shard nodes that seal records again slowly enough to be watched. A coordinator's *place* is its number
/// in these lists.
struct Fellows {
    nodes: Nodes,
    coordinators: Vec<usize>,
    /// As the administrator.
    through: Vec<Arc<Http>>,
    /// Set before the coordinator is killed.
    killed: Vec<Arc<AtomicBool>>,
}

impl Fellows {
    async fn start(nodes: Nodes) -> Self {
        let mut nodes = nodes
            .with_variable("SEALDEX_ROOT_KEY", ROOT)
            .with_variable("SEALDEX_ROTATION_MIB_PER_SECOND", "0.1");
        nodes.start_all().await;
        let coordinators = nodes.all(Kind::Coordinator);
        let fellows = Self {
            through: coordinators.iter().map(|n| nodes.http(*n)).collect(),
            killed: coordinators.iter().map(|_| Arc::default()).collect(),
            nodes,
            coordinators,
        };
        fellows.calm().await;
        fellows
    }

    /// Waits until every coordinator votes and no replica lacks anything: whoever is killed from then on is one of three.
    async fn calm(&self) {
        let given_up = Instant::now() + CHANGE_TIME_MAX;
        loop {
            let told = self.told_by(0).await;
            let (partitions, metadata) = (&told["partitions"], told["metadata"]["replicas"].as_array());
            let voters = metadata.unwrap().iter().filter(|one| one["role"] == "voter");
            let all_vote = voters.count() == self.coordinators.len();
            if all_vote && partitions["healthy"] == partitions["total"] && partitions["replicas_behind"] == 0
            {
                return;
            }
            assert!(Instant::now() < given_up, "not calm: {told:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// How the deployment is, as one coordinator tells.
    async fn told_by(&self, place: usize) -> Value {
        let told = self.through[place].get("/v1/cluster/status").await;
        let told = told.unwrap().ok();
        let jobs = told["jobs"].as_array().unwrap().iter();
        let rotations = jobs.filter(|job| job["kind"] == "rotation");
        assert!(rotations.count() <= 1, "one rotation is told of twice: {told}");
        told
    }

    /// Which coordinators have sealed items again and are at it, as one tells.
    async fn at_work(&self, told_by: usize) -> BTreeSet<usize> {
        let told = self.told_by(told_by).await;
        let jobs = told["jobs"].as_array().unwrap().iter();
        let at_work = jobs.filter(|job| {
            job["kind"] == "rotation" && job["state"] == "running" && job["items_done"].as_u64() > Some(0)
        });
        at_work
            .filter_map(|job| self.place_of(&job["node"]["name"]))
            .collect()
    }

    fn place_of(&self, name: &Value) -> Option<usize> {
        self.coordinators
            .iter()
            .position(|n| *name == self.nodes.name(*n))
    }

    /// Waits until a coordinator seals items again and another one knows of it.
    async fn carrier(&self) -> usize {
        let given_up = Instant::now() + CHANGE_TIME_MAX;
        loop {
            for place in 0..self.coordinators.len() {
                let at_work = self.at_work(place).await;
                assert!(
                    at_work.len() < 2,
                    "coordinators {at_work:?} carry out one rotation"
                );
                if let Some(carrier) = at_work.into_iter().find(|at_work| *at_work != place) {
                    return carrier;
                }
            }
            let now = status(&self.through[0], NAME).await;
            assert_eq!(now["rotating"], true, "too quick to be seen: {now}");
            assert!(Instant::now() < given_up, "nobody is at it: {now}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self, place: usize) {
        self.killed[place].store(true, Ordering::SeqCst);
        self.nodes.kill(self.coordinators[place]);
    }

    /// Starts a coordinator that was killed.
    async fn bring_back(&mut self, place: usize) {
        let n = self.coordinators[place];
        self.nodes.start(n);
        self.nodes.usable(n).await;
    }

    /// Waits until the index is in its second epoch alone and nobody holds its rotation any more, while one coordinator is dead. With a
    /// key, as an owner who goes on using the others: whoever is brought the key may do what waits for it.
    async fn settled_without(&self, dead: usize, key: Option<&str>) {
        let begun = Instant::now();
        let (mut heirs, mut phases) = (BTreeSet::new(), BTreeSet::new());
        loop {
            for place in (0..self.coordinators.len()).filter(|place| *place != dead) {
                let http = &self.through[place];
                if let Some(key) = key {
                    Index::new(http, NAME, key).describe().await;
                }
                heirs.extend(self.at_work(place).await);
                let now = status(http, NAME).await;
                phases.insert(now["phase"].as_str().unwrap().to_owned());
                if now["rotating"] == false {
                    assert_eq!(
                        (&now["epoch"], &now["phase"]),
                        (&json!(2), &json!("none")),
                        "{now}"
                    );
                    heirs.remove(&dead);
                    println!(
                        "coordinator {dead} was killed, {heirs:?} went on, and it was done after {:.1} s: {phases:?}",
                        begun.elapsed().as_secs_f64()
                    );
                    return self.nobody_rotates(place).await;
                }
                assert!(
                    begun.elapsed() < TAKEN_OVER_WITHIN,
                    "coordinator {dead} was killed and {heirs:?} are at it: {now}"
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn nobody_rotates(&self, told_by: usize) {
        let given_up = Instant::now() + CHANGE_TIME_MAX;
        loop {
            let told = self.told_by(told_by).await;
            let mut jobs = told["jobs"].as_array().unwrap().iter();
            if jobs.all(|job| job["kind"] != "rotation") {
                return;
            }
            assert!(Instant::now() < given_up, "not given back: {told:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A user's client of one coordinator, with items of its own, and what it knows of them.
struct Client {
    index: Index,
    place: usize,
    random: Random,
    killed: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    ledger: Ledger,
    rounds: usize,
}

impl Client {
    fn new(fellows: &Fellows, place: usize, token: &str, stop: &Arc<AtomicBool>) -> Self {
        let http = fellows.nodes.http_as(fellows.coordinators[place], token);
        Self {
            index: Index::new(&Arc::new(http), NAME, ""),
            place,
            random: Random::new(100 + place as u64),
            killed: fellows.killed[place].clone(),
            stop: stop.clone(),
            ledger: Ledger::default(),
            rounds: 0,
        }
    }

    /// Upserts, reads, queries and deletes until it is told to stop or its coordinator is dead.
    async fn work(mut self) -> Self {
        while !self.stop.load(Ordering::SeqCst) && self.round().await.is_some() {
            self.rounds += 1;
            tokio::time::sleep(PACE).await;
        }
        self
    }

    async fn round(&mut self) -> Option<()> {
        let written: Vec<Item> = (0..BATCH).map(|n| self.next_version(n)).collect();
        let ids: Vec<String> = written.iter().map(|item| item.id.clone()).collect();
        let sent: Vec<Value> = written.iter().map(Item::to_json).collect();
        let state = |item: &Item| (item.id.clone(), Some(item.clone()));
        let states: Vec<(String, State)> = written.iter().map(state).collect();
        self.write("vectors/upsert", json!({"items": sent}), &states)
            .await?;

        let answer = self.ask("vectors/get", json!({"ids": ids})).await?;
        let read = by_id(items_of(&answer).unwrap());
        for item in &written {
            let same = read.get(&item.id).is_some_and(|read| read.is_same_as(item));
            assert!(same, "{} through coordinator {}: {answer}", item.id, self.place);
        }

        let nearest = json!({"query_vectors": written[0].vector, "top_k": 1, "n_probes": 1_000_000, "include": ["distance"]});
        let answer = self.ask("vectors/query", nearest).await?;
        let hits = hits_of(&answer["results"]).unwrap();
        let found = hits.first().map(|hit| &hit.id);
        assert_eq!(found, Some(&ids[0]), "through coordinator {}", self.place);

        let deleted: [(String, State); 1] = [(ids[0].clone(), None)];
        self.write("vectors/delete", json!({"ids": &ids[..1]}), &deleted)
            .await
    }

    fn next_version(&mut self, n: usize) -> Item {
        let number = (self.rounds * BATCH + n) % ITEMS_PER_CLIENT;
        let id = format!("c{}-{number}", self.place);
        Item::bare(id, self.random.vector(DIMENSION))
            .with_metadata(json!({"round": self.rounds}))
            .with_contents(format!("round {}", self.rounds))
    }

    async fn write(&mut self, route: &str, body: Value, states: &[(String, State)]) -> Option<()> {
        self.ledger.begin(states);
        self.ask(route, body).await?;
        self.ledger.acknowledge(states);
        Some(())
    }

    /// `None` if the coordinator is dead. Any other failure fails the test.
    async fn ask(&self, route: &str, body: Value) -> Option<Value> {
        let failed = match self.index.call(route, body).await {
            Ok(reply) if reply.status == 200 => return Some(reply.json()),
            Ok(reply) => format!("{} {}", reply.status, reply.text()),
            Err(why) => why.0,
        };
        let is_dead = self.killed.load(Ordering::SeqCst);
        assert!(is_dead, "{route} through coordinator {}: {failed}", self.place);
        None
    }

    /// The items that are there for certain, if nothing that was acknowledged is lost and nothing that was deleted is back.
    async fn kept(&mut self, owner: &Index) -> Vec<Item> {
        let found = by_id(owner.get(&self.ledger.ids()).await);
        let violations = self.ledger.violations(&found);
        assert!(
            violations.is_empty(),
            "through coordinator {}: {violations:?}",
            self.place
        );
        self.ledger.adopt(&found);
        self.ledger.items().cloned().collect()
    }
}

/// Asks all coordinators at the same moment for the next key epoch: one of them begins it, and the others say that it is under way.
async fn all_are_asked_at_once(through: &[Arc<Http>]) {
    let asked: Vec<_> = through
        .iter()
        .cloned()
        .map(|http| {
            let body = json!({"index_key": KEY, "epoch": true});
            tokio::spawn(async move { rotate(&http, NAME, body).await })
        })
        .collect();
    let mut begun = 0;
    for answer in asked {
        let (answered, said) = answer.await.unwrap();
        if answered == 200 {
            begun += 1;
            continue;
        }
        assert_eq!(answered, 409, "{said}");
        let detail = said["detail"].as_str().unwrap();
        assert!(
            detail.contains("on its way to a new key epoch already") && detail.contains("/rotation"),
            "{detail}"
        );
    }
    assert_eq!(begun, 1);
}

/// Through every coordinator the index opens with the new key, and not with the one of before.
async fn assert_key_exchanged(through: &[Arc<Http>]) {
    for http in through {
        for (key, expected) in [(NEW_KEY, 200), (KEY, 401)] {
            let index = Index::new(http, NAME, key);
            let reply = index.call("indexes/describe", json!({})).await.unwrap();
            assert_eq!(reply.status, expected, "{}", reply.text());
        }
    }
}

/// Every coordinator tells that the rotation is done, and has these items and no other.
async fn assert_all_have(fellows: &Fellows, index: &Index, kept: &[Item]) {
    let mut ids: Vec<String> = kept.iter().map(|item| item.id.clone()).collect();
    ids.sort();
    for http in &fellows.through {
        assert_eq!(finished(http, NAME).await, 2);
        let index = index.through(http);
        assert_whole(&index, kept).await;
        assert_eq!(index.ids().await, ids);
        for item in kept.iter().step_by(200) {
            let hits = index.query(&item.vector, 1, json!({"n_probes": 1_000_000})).await;
            assert_eq!(hits[0].id, item.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_coordinators_rotates_and_when_it_dies_another_one_does() {
    let mut fellows = Fellows::start(Nodes::new(3, 3)).await;
    let base = items(&mut Random::new(15), BASE_ITEMS);
    let owner = filled(&fellows.through[0], NAME, &base).await;
    owner.train().await;
    let token = make_user(&owner, &["read", "write"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<JoinHandle<Client>> = (0..fellows.coordinators.len())
        .map(|place| tokio::spawn(Client::new(&fellows, place, &token, &stop).work()))
        .collect();

    all_are_asked_at_once(&fellows.through).await;
    let carrier = fellows.carrier().await;
    for http in &fellows.through {
        let now = status(http, NAME).await;
        assert_eq!(
            (&now["epoch"], &now["other_epoch"], &now["phase"], &now["error"]),
            (&json!(2), &json!(1), &json!("resealing"), &Value::Null),
            "{now}"
        );
    }
    // Whoever takes over is brought another index key than the rotation was begun with.
    let body = json!({"index_key": KEY, "new_index_key": NEW_KEY});
    let another = (carrier + 1) % fellows.through.len();
    let (answered, said) = rotate(&fellows.through[another], NAME, body).await;
    assert_eq!(answered, 200, "{said}");
    assert_key_exchanged(&fellows.through).await;
    let owner = Index {
        key: NEW_KEY.to_owned(),
        ..owner
    };

    assert_eq!(status(&fellows.through[another], NAME).await["rotating"], true);
    fellows.kill(carrier);
    fellows.settled_without(carrier, Some(NEW_KEY)).await;
    // In the new epoch alone, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::SeqCst);
    let mut clients = Vec::new();
    for client in load {
        let client = client.await.expect("a request failed");
        let (place, rounds) = (client.place, client.rounds);
        println!("{rounds} rounds through coordinator {place}");
        assert!(rounds > 5 || place == carrier, "{rounds} rounds");
        clients.push(client);
    }

    fellows.bring_back(carrier).await;
    assert_key_exchanged(&fellows.through).await;
    let mut kept = base;
    for client in &mut clients {
        kept.extend(client.kept(&owner).await);
    }
    assert_all_have(&fellows, &owner, &kept).await;
}

/// Nobody brings a key here, and nobody asks for anything but how far it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_whose_key_a_slot_keeps_is_taken_over_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let config = slots_in(folder.path());
    let nodes = Nodes::new(3, 3).with_variable("SEALDEX_CONFIG_FILE", config.to_str().unwrap());
    let mut fellows = Fellows::start(nodes).await;
    let base = items(&mut Random::new(16), BASE_ITEMS);
    filled(&fellows.through[0], NAME, &base).await;
    let begin = json!({"index_key": KEY, "epoch": true, "new_kms_name": "one"});
    let (answered, said) = rotate(&fellows.through[0], NAME, begin).await;
    assert_eq!(answered, 200, "{said}");
    let carrier = fellows.carrier().await;
    fellows.kill(carrier);
    fellows.settled_without(carrier, None).await;
    fellows.bring_back(carrier).await;
    let index = Index::new(&fellows.through[carrier], NAME, "");
    assert_all_have(&fellows, &index, &base).await;
}
