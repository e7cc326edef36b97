//! How a deployment is, as its operator is told: `sealdex status`, `sealdex nodes` and the routes they ask, against one process and against
//! three coordinators and three shard nodes of which some die or go for good.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::command::{Said, sealdex};
use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use sealdex_tests::server::Home;
use sealdex_tests::users::{ROOT, caller, make_user, with_users};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Nodes are taken for lost after ten seconds, and replicas move one step at a time, on a machine that may be loaded.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(240);

/// A command about the deployment, with the root key.
async fn asked(http: &Http, arguments: &[&str]) -> Said {
    let url = format!("http://{}", http.address());
    let all = [arguments, &["--url", &url]].concat();
    sealdex(&all, &[("SEALDEX_ROOT_KEY", ROOT)]).await
}

/// What `sealdex status` tells programs.
async fn told(http: &Http) -> Value {
    asked(http, &["status", "-o", "json"]).await.json()
}

/// Asks again until what is told is as it should be; fails the test with the last of it.
async fn until(http: &Http, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let given_up = Instant::now() + CHANGE_TIME_MAX;
    loop {
        let told = told(http).await;
        if is_so(&told) {
            return told;
        }
        assert!(Instant::now() < given_up, "not {what}: {told:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn list<'a>(told: &'a Value, name: &str) -> &'a [Value] {
    told[name].as_array().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The member of that name.
fn node<'a>(told: &'a Value, name: &str) -> Option<&'a Value> {
    let mut nodes = list(told, "nodes").iter();
    nodes.find(|node| node["name"] == name && !is_gone(node))
}

fn is_gone(node: &Value) -> bool {
    node["state"] == "decommissioned" || node["state"] == "replaced"
}

fn is_healthy(told: &Value) -> bool {
    let counts = &told["status"]["partitions"];
    counts["healthy"] == counts["total"] && number(&counts["replicas_behind"]) == 0
}

/// Healthy, and nobody lacks a single entry.
fn is_calm(told: &Value) -> bool {
    is_healthy(told) && list(told, "nodes").iter().all(|node| node["behind_entries"] == 0)
}

fn items(prefix: &str, n: u32) -> Vec<Item> {
    let item = |n: u32| Item::bare(format!("{prefix}{n}"), vec![n as f32, (n * n % 97) as f32, 1.0]);
    (0..n).map(item).collect()
}

async fn status_of(http: &Http, method: Method, path: &str) -> u16 {
    http.send(method, path, "".into()).await.unwrap().status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_alone_is_a_deployment_of_one_node() {
    let home = with_users(Home::new());
    let server = home.start().await;
    let root = caller(&server, ROOT);
    let index = Index::create(&root, "alone", KEY, json!({"dimension": 3})).await;
    index.upsert(&items("i", 20)).await;
    index.query(&[1.0, 1.0, 1.0], 3, json!({})).await;

    let told = told(&root).await;
    let status = &told["status"];
    assert_eq!(status["current"], true);
    assert_eq!(status["deployment"].as_str().unwrap().len(), 32);
    assert_eq!(status["metadata"]["leader"], json!({"id": 1, "name": "embedded"}));
    let nodes = list(&told, "nodes");
    assert_eq!(nodes.len(), 1);
    for (field, value) in [
        ("id", json!(1)),
        ("name", json!("embedded")),
        ("role", json!("embedded")),
        ("state", json!("joined")),
        ("leads_metadata", json!(true)),
        ("leads", json!(4)),
        ("replicas", json!(4)),
        ("behind_entries", json!(0)),
        ("disk_full", json!(false)),
        ("last_heard_seconds_ago", json!(0)),
        ("lost_since", Value::Null),
    ] {
        assert_eq!(nodes[0][field], value, "{field}");
    }
    assert!(number(&nodes[0]["disk"]["free_bytes"]) > 0);
    assert!(number(&status["disk_free_bytes_min"]) > 0);
    assert!(number(&status["leases"]) > 0 && status["leases"] == nodes[0]["leases"]);
    assert_eq!(
        (list(status, "jobs").len(), &status["jobs_total"]),
        (0, &json!(0))
    );
    assert!(is_healthy(&told), "{told:#}");
    assert_eq!(list(&told, "partitions").len(), 4);

    let screen = asked(&root, &["status"]).await;
    for part in [
        "metadata led by embedded",
        "NODE",
        "4 of 4 in good health",
        "Jobs: none.",
    ] {
        assert!(screen.ok().contains(part), "{}", screen.out);
    }
    let refused = asked(&root, &["nodes", "decommission", "embedded"]).await;
    assert!(
        !refused.success && refused.err.contains("stop it to end it"),
        "{}",
        refused.err
    );
    let unknown = asked(&root, &["nodes", "decommission", "nobody"]).await;
    assert!(
        !unknown.success && unknown.err.contains("no node 'nobody'"),
        "{}",
        unknown.err
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_and_bad_pages_are_refused() {
    let home = with_users(Home::new()).with_variable("SEALDEX_PARTITIONS", "7");
    let server = home.start().await;
    let root = caller(&server, ROOT);
    let (mut path, mut pages) = ("/v1/cluster/partitions?limit=3".to_owned(), Vec::new());
    loop {
        let page = root.get(&path).await.unwrap().ok();
        let of_page = list(&page, "partitions").iter().map(|p| number(&p["partition"]));
        pages.push(of_page.collect::<Vec<_>>());
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/cluster/partitions?limit=3&after={next}"),
            None => break,
        }
    }
    assert_eq!(pages, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    let whole = root.get("/v1/cluster/partitions?limit=7").await.unwrap().ok();
    assert_eq!(
        (list(&whole, "partitions").len(), &whole["next"]),
        (7, &Value::Null)
    );

    for query in [
        "limit=0",
        "limit=257",
        "limit=x",
        "after=",
        "after=n1",
        "limit=1&limit=2",
    ] {
        let reply = root
            .get(&format!("/v1/cluster/partitions?{query}"))
            .await
            .unwrap();
        assert_eq!(reply.status, 400, "{query}: {}", reply.text());
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("limit") || detail.contains("next"),
            "{query}: {detail}"
        );
    }
    let beyond = root.get("/v1/cluster/nodes?after=nff").await.unwrap().ok();
    assert_eq!(beyond, json!({"nodes": [], "next": null}));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_an_index_are_told_nothing_and_who_cannot_ask_is_told_the_cure() {
    let home = with_users(Home::new());
    let server = home.start().await;
    let root = caller(&server, ROOT);
    let index = Index::create(&root, "mine", KEY, json!({"dimension": 3})).await;
    let token = make_user(&index, &["read", "write"]).await;
    let url = format!("http://{}", root.address());
    for (key, status) in [(token.as_str(), "403"), ("wrong", "401"), ("", "401")] {
        for command in [
            &["status"][..],
            &["nodes", "list"],
            &["nodes", "decommission", "embedded"],
        ] {
            let all = [command, &["--url", &url]].concat();
            let said = sealdex(&all, &[("SEALDEX_ROOT_KEY", key)]).await;
            assert!(!said.success && said.out.is_empty(), "{command:?}: {said:?}");
            assert!(
                said.err.contains(status) && said.err.contains("--root-key-file"),
                "{}",
                said.err
            );
            assert!(key.is_empty() || !said.err.contains(key), "{}", said.err);
        }
    }
    server.stop().await;
    let said = sealdex(&["status", "--url", &url], &[("SEALDEX_ROOT_KEY", ROOT)]).await;
    assert!(!said.success && said.out.is_empty());
    assert!(
        said.err.contains("no server answers") && said.err.contains("--url"),
        "{}",
        said.err
    );
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);

    let open = Home::new().start().await;
    let url = format!("http://{}", open.http.address());
    sealdex(&["status", "--url", &url], &[]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn background_jobs_are_told_with_how_far_they_are() {
    let home = with_users(Home::new()).with_variable("SEALDEX_ROTATION_MIB_PER_SECOND", "0.0001");
    let server = home.start().await;
    let root = caller(&server, ROOT);
    let index = Index::create(&root, "turning", KEY, json!({"dimension": 3})).await;
    index.upsert(&items("i", 300)).await;
    let body = json!({"index_key": KEY, "epoch": true});
    root.post("/v1/indexes/turning/rotate", &body).await.unwrap().ok();
    let seen = until(&root, "rotating", |told| {
        told["status"]["jobs"][0]["state"] == "running"
    })
    .await;
    let job = &seen["status"]["jobs"][0];
    assert_eq!(
        (&job["kind"], &job["index_name"], &job["node"]["name"]),
        (&json!("rotation"), &json!("turning"), &json!("embedded"))
    );
    assert_eq!(job["items_total"], 300, "{job}");
    assert!(asked(&root, &["status"]).await.ok().contains(" of 300"));
    server.kill();

    let server = home.start().await;
    let root = caller(&server, ROOT);
    let halted = told(&root).await;
    let job = &halted["status"]["jobs"][0];
    assert_eq!(
        (&job["state"], &job["node"]),
        (&json!("waiting_for_key"), &Value::Null)
    );
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_coordinator_tells_which_nodes_are_there_and_which_died() {
    let mut nodes = Nodes::new(3, 3).with_variable("SEALDEX_ROOT_KEY", ROOT);
    nodes.start_all().await;
    let (coordinators, shards) = (nodes.all(Kind::Coordinator), nodes.all(Kind::Shard));
    let through: Vec<Arc<Http>> = coordinators.iter().map(|n| nodes.http(*n)).collect();
    let mut leaders = BTreeSet::new();
    for (n, http) in through.iter().enumerate() {
        let told = until(http, "calm", is_calm).await;
        assert_eq!(
            told["status"]["answered_by"]["name"],
            format!("coordinator-{}", n + 1)
        );
        leaders.insert(
            told["status"]["metadata"]["leader"]["name"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        assert_eq!(told["status"]["nodes"]["joined"], 6, "{told:#}");
        assert_eq!(list(&told, "partitions").len(), 16);
        let of_shards = list(&told, "nodes").iter().filter(|node| node["role"] == "shard");
        let of_shards: Vec<&Value> = of_shards.collect();
        assert_eq!(
            of_shards.iter().map(|node| number(&node["leads"])).sum::<u64>(),
            16
        );
        for node in of_shards {
            assert_eq!(
                (&node["replicas"], &node["behind_entries"]),
                (&json!(16), &json!(0)),
                "{node}"
            );
            assert!(node["leases"].is_u64() && node["zone"].as_str().unwrap().starts_with("zone-"));
        }
        for node in list(&told, "nodes") {
            assert!(number(&node["disk"]["free_bytes"]) > 0 && number(&node["last_heard_seconds_ago"]) < 10);
        }
    }
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    pages_of_nodes(&through[1]).await;
    nobody_may_go(&through[2]).await;
    who_is_no_administrator_is_refused(&nodes, &through[0]).await;

    let index = Index::create(&through[0], "kept", KEY, json!({"dimension": 3})).await;
    nodes.kill(shards[0]);
    // What it led is led by others within seconds, and it is taken for lost after ten.
    let lost = until(&through[1], "lost, and led by others", |told| {
        let (dead, status) = (node(told, "shard-1").unwrap(), &told["status"]);
        dead["state"] == "lost"
            && dead["leads"] == 0
            && status["nodes"]["lost"] == 1
            && status["partitions"]["led"] == 16
    })
    .await;
    let dead = node(&lost, "shard-1").unwrap();
    assert!(
        dead["lost_since"].is_u64()
            && dead["disk"].is_null()
            && number(&dead["last_heard_seconds_ago"]) >= 10
    );
    assert_eq!(lost["status"]["partitions"]["replicas_lost"], 16);
    assert_eq!(lost["status"]["partitions"]["healthy"], 0);
    let screen = asked(&through[2], &["status"]).await;
    assert!(screen.ok().contains("shard-1 (lost"), "{}", screen.out);

    for batch in 0..100 {
        taken(&index, &items(&format!("b{batch}-"), 64)).await;
    }
    let behind = until(&through[0], "behind", |told| {
        number(&told["status"]["partitions"]["replicas_behind"]) > 0
    });
    let behind = behind.await;
    assert!(
        number(&node(&behind, "shard-1").unwrap()["behind_entries"]) > 64,
        "{behind:#}"
    );
    nodes.start(shards[0]);
    until(&through[2], "healthy again", is_healthy).await;
    metadata_moves_on(&mut nodes, &coordinators, &through).await;
}

/// Two nodes at a time, and all of them in the end.
async fn pages_of_nodes(http: &Http) {
    let (mut path, mut ids) = ("/v1/cluster/nodes?limit=2".to_owned(), Vec::new());
    loop {
        let page = http.get(&path).await.unwrap().ok();
        ids.extend(list(&page, "nodes").iter().map(|node| number(&node["id"])));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/cluster/nodes?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
}

/// Three shard nodes are needed for three replicas.
async fn nobody_may_go(http: &Http) {
    let refused = asked(http, &["nodes", "decommission", "shard-2"]).await;
    assert!(!refused.success && refused.out.is_empty(), "{refused:?}");
    assert!(
        refused.err.contains("409") && refused.err.contains("let another one join first"),
        "{}",
        refused.err
    );
    let told = told(http).await;
    assert_eq!(node(&told, "shard-2").unwrap()["state"], "joined");
}

async fn who_is_no_administrator_is_refused(nodes: &Nodes, root: &Arc<Http>) {
    let index = Index::create(root, "of-a-user", KEY, json!({"dimension": 3})).await;
    let token = make_user(&index, &["read", "write"]).await;
    for n in nodes.all(Kind::Coordinator) {
        for (credential, status) in [(token.as_str(), 403), ("wrong", 401)] {
            let http = nodes.http_as(n, credential);
            for path in ["status", "nodes", "partitions"] {
                assert_eq!(
                    status_of(&http, Method::GET, &format!("/v1/cluster/{path}")).await,
                    status
                );
            }
            for verb in ["decommission", "recommission"] {
                let path = format!("/v1/cluster/nodes/coordinator-3/{verb}");
                assert_eq!(status_of(&http, Method::POST, &path).await, status);
            }
        }
    }
}

/// Whoever leads the metadata dies; then so many that nobody leads.
async fn metadata_moves_on(nodes: &mut Nodes, coordinators: &[usize], through: &[Arc<Http>]) {
    let first = told(&through[0]).await["status"]["metadata"]["leader"]["name"].clone();
    let named = |n: usize| json!(format!("coordinator-{}", n + 1));
    let leads = (0..3).find(|n| named(*n) == first).unwrap();
    let [one, other] = [(leads + 1) % 3, (leads + 2) % 3];
    nodes.kill(coordinators[leads]);
    let moved = until(&through[one], "led by another", |told| {
        let leader = &told["status"]["metadata"]["leader"]["name"];
        told["status"]["current"] == true && leader.is_string() && *leader != first
    });
    let moved = moved.await;
    let name = format!("coordinator-{}", leads + 1);
    until(&through[other], "lost", |told| {
        node(told, &name).unwrap()["state"] == "lost"
    })
    .await;
    assert!(node(&moved, &name).is_some());

    nodes.kill(coordinators[other]);
    let alone = until(&through[one], "alone", |told| told["status"]["current"] == false).await;
    let unready = || async {
        nodes
            .admin(coordinators[one])
            .get("/readyz")
            .await
            .unwrap()
            .status
            == 503
    };
    let given_up = Instant::now() + Duration::from_secs(30);
    while !unready().await {
        assert!(
            Instant::now() < given_up,
            "a coordinator without a majority says that it is ready"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(alone["status"]["metadata"]["leader"], Value::Null);
    assert_eq!(list(&alone, "nodes").len(), 6);
    let screen = asked(&through[one], &["status"]).await;
    assert!(screen.ok().contains("cannot be asked"), "{}", screen.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_for_good_while_requests_go_on() {
    let mut nodes = Nodes::new(3, 3).with_variable("SEALDEX_ROOT_KEY", ROOT);
    let added = nodes.add(Kind::Shard, "shard-4");
    nodes.start_all().await;
    let (coordinators, shards) = (nodes.all(Kind::Coordinator), nodes.all(Kind::Shard));
    let through: Vec<Arc<Http>> = coordinators.iter().map(|n| nodes.http(*n)).collect();
    until(&through[0], "joined", |told| {
        told["status"]["nodes"]["joined"] == 7 && is_healthy(told)
    })
    .await;
    let index = Index::create(&through[0], "kept", KEY, json!({"dimension": 3})).await;
    index.upsert(&items("before", 500)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write_until(index.through(&through[1]), stop.clone()));

    let before = told(&through[2]).await;
    let gone_id = node(&before, "shard-2").unwrap()["id"].clone();
    let went = asked(
        &through[2],
        &["nodes", "decommission", "shard-2", "--wait", "-o", "json"],
    )
    .await;
    assert_eq!(
        went.json(),
        json!({"decommissioned": "shard-2", "id": gone_id, "gone": true})
    );
    let after = until(&through[1], "healthy", is_healthy).await;
    stop.store(true, Ordering::Relaxed);
    let (written, refused) = writing.await.unwrap();
    println!("{written} items were written meanwhile, {refused} times one was to be sent again");
    assert!(written > 20, "{written}");
    assert_eq!(index.count().await, 500 + written);
    assert!(node(&after, "shard-2").is_none());
    for name in ["shard-1", "shard-3", "shard-4"] {
        assert_eq!(node(&after, name).unwrap()["replicas"], 16, "{after:#}");
    }
    let listed = asked(&through[0], &["nodes", "list", "-o", "json"]).await.json();
    let gone = list(&listed, "nodes")
        .iter()
        .find(|node| node["id"] == gone_id)
        .unwrap();
    assert_eq!(gone["state"], "decommissioned");
    let again = asked(&through[0], &["nodes", "decommission", "shard-2"]).await;
    assert!(
        !again.success && again.err.contains("was decommissioned"),
        "{}",
        again.err
    );

    is_gone_for_good(&mut nodes, shards[1]);
    nodes.lose_disk(shards[1]);
    nodes.start(shards[1]);
    let back = until(&through[0], "back", |told| {
        node(told, "shard-2").is_some_and(|node| node["state"] == "joined") && is_healthy(told)
    });
    let back = back.await;
    let highest = list(&before, "nodes")
        .iter()
        .map(|node| number(&node["id"]))
        .max()
        .unwrap();
    assert!(number(&node(&back, "shard-2").unwrap()["id"]) > highest);
    assert!(nodes.all(Kind::Shard).contains(&added));
    a_coordinator_goes_too(&through).await;
    is_gone_for_good(&mut nodes, coordinators[2]);
}

/// The process of a node that was removed ends by itself, and says why. Its disk is of no use any more, whatever starts it again.
#[track_caller]
fn is_gone_for_good(nodes: &mut Nodes, n: usize) {
    let (status, said) = nodes.ends(n);
    assert!(status.success(), "{status}\n{said}");
    let why = "this node was removed from the deployment: it finishes what is under way and ends";
    assert_eq!(said.matches(why).count(), 1, "{said}");
    let (status, said) = nodes.run(n);
    assert!(!status.success(), "{said}");
    let cure = said.lines().last().unwrap();
    assert!(
        cure.contains("not part of this deployment") && cure.contains("empty data directory"),
        "{said}"
    );
}

/// Writes one item after another through one coordinator, and tells how many, and how often one was to be sent again.
async fn write_until(index: Index, stop: Arc<AtomicBool>) -> (u64, u64) {
    let (mut written, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let item = Item::bare(format!("during{written}"), vec![written as f32, 0.5, 1.0]);
        refused += taken(&index, &[item]).await;
        written += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (written, refused)
}

/// Writes items, again and again as long as the answer is 503: a group may be electing. Tells how often that was.
async fn taken(index: &Index, items: &[Item]) -> u64 {
    let given_up = Instant::now() + CHANGE_TIME_MAX;
    let items: Vec<Value> = items.iter().map(Item::to_json).collect();
    let mut refused = 0;
    loop {
        let reply = index
            .call("vectors/upsert", json!({"items": items}))
            .await
            .unwrap();
        match reply.status {
            200 => return refused,
            503 if Instant::now() < given_up => refused += 1,
            status => panic!("{status}: {}", reply.text()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Kept after all, then let go; the other two lead on.
async fn a_coordinator_goes_too(through: &[Arc<Http>]) {
    asked(&through[0], &["nodes", "recommission", "coordinator-3"])
        .await
        .ok();
    asked(&through[1], &["nodes", "decommission", "coordinator-3", "--wait"])
        .await
        .ok();
    for http in &through[..2] {
        let told = until(http, "without it", |told| {
            node(told, "coordinator-3").is_none() && list(&told["status"]["metadata"], "replicas").len() == 2
        });
        let told = told.await;
        assert_eq!(
            (&told["status"]["current"], &told["status"]["nodes"]["joined"]),
            (&json!(true), &json!(6))
        );
    }
}
