//! What `make up` starts: three coordinators and three shard nodes in containers, which existing clients use through any coordinator, which
//! the runbooks' commands fit, and of which `make down` leaves nothing. `make test` runs this where a Docker daemon answers,
//! but the runbooks' commands, which take minutes and run in `make chaos`: they ask for `SEALDEX_RUNBOOKS`.
#![allow(clippy::unwrap_used)]

use sealdex_tests::clients::{VERSIONS, unittests};
use sealdex_tests::containers::{COORDINATORS, Containers, SHARDS, composes};
use sealdex_tests::docker::{self, docker, inspect};
use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::binary;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Six nodes are enough for a machine at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The image of the binary that is tested; removed on drop.
struct Image(String);

impl Image {
    fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("image");
        let laid_out = Command::new(deploy("docker/context.sh"))
            .arg(binary())
            .arg(&context)
            .status();
        assert!(laid_out.unwrap().success());
        let image = Self(format!("sealdex-containers-{}", std::process::id()));
        docker(&["build", "-q", "-t", &image.0, context.to_str().unwrap()]).unwrap();
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Fails only if it is gone already.
        let _ = docker(&["rmi", &self.0]);
    }
}

fn deploy(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_clients_are_served_by_any_coordinator_and_nothing_is_left_behind() {
    if !docker::is_here() {
        println!("no Docker daemon answers: nothing was started");
        return;
    }
    let _alone = ALONE.lock().await;
    let image = Image::build();
    let composes = composes();
    assert!(
        !composes.is_empty(),
        "there is Docker, but no compose: make deps-deploy"
    );
    for compose in composes {
        let containers = Containers::of(&image.0, compose, "test");
        println!("{}", containers.command(&["up"]).unwrap());
        are_shut_in_and_well(&containers);
        let root_key = containers.root_key().unwrap();
        for coordinator in COORDINATORS {
            let url = format!("http://{}", containers.published(coordinator).unwrap());
            for version in VERSIONS {
                for (module, at_least) in [("test_client", 20), ("test_users", 5)] {
                    let count = unittests(version, module, &url, Some(&root_key), &[]).await;
                    assert!(count >= at_least, "only {count} tests ran");
                }
            }
        }
        is_whole(&containers, COORDINATORS.len() + SHARDS.len()).await;
        let told = containers.command(&["status"]).unwrap();
        println!("{told}");
        for name in COORDINATORS.iter().chain(&SHARDS) {
            assert!(told.contains(name), "{told}");
        }
        containers.command(&["down"]).unwrap();
        assert_eq!(containers.traces().unwrap(), [""; 0], "{compose}");
        let left = std::fs::read_dir(containers.run_folder().parent().unwrap()).unwrap();
        assert_eq!(left.count(), 0, "files are left");
    }
}

/// Waits until every coordinator says that so many nodes have joined, and that all replicas are there and have caught up.
async fn is_whole(containers: &Containers, nodes: usize) {
    for coordinator in COORDINATORS {
        let http = client(containers, coordinator);
        let given_up = Instant::now() + WHOLE_WITHIN;
        loop {
            let told = http.get("/v1/cluster/status").await.unwrap().json();
            let partitions = &told["partitions"];
            let has_all = partitions["healthy"] == partitions["total"] && told["nodes"]["joined"] == nodes;
            if has_all && told["current"] == true {
                break;
            }
            assert!(Instant::now() < given_up, "{coordinator}: {told:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A loaded machine copies slowly.
const WHOLE_WITHIN: Duration = Duration::from_secs(240);

/// As the compose file says, and none has died on the way.
fn are_shut_in_and_well(containers: &Containers) {
    let filter = format!("label=com.docker.compose.project={}", containers.project());
    let ids = docker(&["ps", "-q", "--filter", &filter]).unwrap();
    assert_eq!(ids.lines().count(), COORDINATORS.len() + SHARDS.len());
    for id in ids.lines() {
        let inspected = inspect(id).unwrap();
        let name = &inspected["Config"]["Labels"]["com.docker.compose.service"];
        assert_eq!(inspected["State"]["Health"]["Status"], "healthy", "{name}");
        assert_eq!(inspected["RestartCount"], 0, "{name}");
        assert_eq!(inspected["HostConfig"]["ReadonlyRootfs"], true, "{name}");
        assert_eq!(inspected["HostConfig"]["CapDrop"], json!(["ALL"]), "{name}");
        let user = inspected["Config"]["User"].as_str().unwrap();
        assert!(user.ends_with(":0") && !user.starts_with("0:"), "{name}: {user}");
    }
}

/// Each block of commands in the runbooks that is about containers, as it is printed there, against a deployment with data in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_runbooks_do_what_they_say() {
    if !docker::is_here() || std::env::var_os("SEALDEX_RUNBOOKS").is_none() {
        println!("no Docker daemon answers, or SEALDEX_RUNBOOKS is not set: no command was run");
        return;
    }
    let _alone = ALONE.lock().await;
    let image = Image::build();
    let composes = composes();
    let containers = Containers::of(&image.0, composes[0], "runbooks");
    containers.command(&["up"]).unwrap();
    let items: Vec<Item> = (0..200)
        .map(|n| Item::bare(format!("i{n}"), vec![n as f32, 1.0]).with_contents(format!("contents of {n}")))
        .collect();
    let index = Index::create(
        &client(&containers, COORDINATORS[0]),
        "kept",
        KEY,
        json!({"dimension": 2}),
    )
    .await;
    index.upsert(&items).await;
    let mut blocks = 0;
    for path in std::fs::read_dir(deploy("runbooks")).unwrap() {
        let path = path.unwrap().path();
        for block in blocks_of(&std::fs::read_to_string(&path).unwrap()) {
            println!("{}:\n{block}", path.file_name().unwrap().to_string_lossy());
            containers.shell(&block).unwrap();
            containers.command(&["up"]).unwrap();
            is_whole(&containers, COORDINATORS.len() + SHARDS.len()).await;
            for coordinator in COORDINATORS {
                let index = index.through(&client(&containers, coordinator));
                assert_eq!(index.count().await, items.len() as u64, "{coordinator}");
                let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
                let read = index.get(&ids).await;
                assert!(
                    read.iter()
                        .zip(&items)
                        .all(|(read, written)| read.is_same_as(written))
                );
            }
            blocks += 1;
        }
    }
    assert!(blocks >= 4, "only {blocks} blocks are about containers");
}

fn client(containers: &Containers, coordinator: &str) -> Arc<Http> {
    let http = Http::new(containers.published(coordinator).unwrap());
    Arc::new(http.with_header("x-api-key", containers.root_key().unwrap().trim()))
}

/// The fenced blocks that call `deployment.sh`.
fn blocks_of(runbook: &str) -> Vec<String> {
    let parts = runbook.split("```").skip(1).step_by(2);
    let about_containers = parts.filter(|block| block.contains("deploy/compose/deployment.sh"));
    about_containers.map(|block| block.trim().to_owned()).collect()
}
