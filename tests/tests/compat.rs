//! Existing clients against the built server: the official Python packages in their own virtual environments, and a schema fuzzer. The
//! scripts are in `tests/compat`; `make deps` makes the environments.
#![allow(clippy::unwrap_used)]

use sealdex_tests::aws;
use sealdex_tests::clients::{VERSIONS, run, said, scripts, unittests};
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::random::Random;
use sealdex_tests::server::Home;
use sealdex_tests::venv::venv;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_0_17_works() {
    run_unittests("0.17", "test_client", 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_0_18_works() {
    run_unittests("0.18", "test_client", 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_langchain_store_of_0_17_works() {
    run_unittests("0.17", "test_langchain", 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_langchain_store_of_0_18_works() {
    run_unittests("0.18", "test_langchain", 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_work_with_the_official_clients() {
    for version in VERSIONS {
        run_unittests(version, "test_users", 5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_of_every_kind_of_slot_work_with_the_official_clients() {
    for version in VERSIONS {
        run_unittests(version, "test_kms", 4).await;
    }
}

/// What a server prints when it is up can be pasted as it stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_snippets_work() {
    let home = Home::new();
    let _server = home.start().await;
    let card = std::fs::read_to_string(home.log()).unwrap();
    // Whoever tries them again has made what they make.
    for _ in 0..2 {
        let python = snippet(&card, "  Python ");
        let mut command = Command::new(venv("0.18").join("bin/python"));
        command.args(["-B", "-c", &python]);
        let output = run(command).await;
        assert!(
            output.status.success() && said(&output).contains("'id': 'a'"),
            "{python}\n{}",
            said(&output)
        );
        let curl = snippet(&card, "  curl");
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &curl]);
        let output = run(command).await;
        assert!(
            output.status.success() && said(&output).contains(r#"{"results":[{"id":"a","distance":"#),
            "{curl}\n{}",
            said(&output)
        );
    }
}

/// The indented lines under a heading of the card.
fn snippet(card: &str, heading: &str) -> String {
    let lines: Vec<&str> = card
        .lines()
        .skip_while(|line| !line.starts_with(heading))
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .map(|line| &line[4..])
        .collect();
    assert!(lines.len() >= 4, "no snippet under {heading:?} in {card}");
    lines.join("\n")
}

/// Whatever the published schema allows or forbids, no answer is a 5xx, and the server lives on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schema_fuzzing_finds_no_server_error() {
    let home = Home::new();
    let mut server = home.start().await;
    let mut random = Random::new(31);
    let key = random.hex(32);
    let index = Index::create(&server.http, "fuzzed", &key, json!({"dimension": 3})).await;
    let items: Vec<Item> = (0..30)
        .map(|i| Item::bare(format!("i{i}"), random.vector(3)))
        .collect();
    index.upsert(&items).await;
    let examples = std::env::var("SEALDEX_FUZZ_EXAMPLES").unwrap_or_else(|_| "40".to_owned());
    let mut schemathesis = Command::new(venv("fuzz").join("bin/schemathesis"));
    schemathesis
        .args([
            "run",
            &format!("http://{}/v1/openapi.json", server.http.address()),
        ])
        .args([
            "--checks",
            "not_a_server_error",
            "--phases",
            "examples,coverage,fuzzing",
            "--continue-on-failure",
        ])
        .args([
            "--max-examples",
            &examples,
            "--seed",
            "20",
            "--generation-database",
            "none",
        ])
        .args([
            "--suppress-health-check",
            "all",
            "--request-timeout",
            "60",
            "--no-color",
        ])
        .env("SCHEMATHESIS_HOOKS", "fuzz_hooks")
        .env("PYTHONPATH", scripts())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SEALDEX_FUZZ_INDEX", "fuzzed")
        .env("SEALDEX_FUZZ_KEY", &key)
        .current_dir(home.log().parent().unwrap());
    let output = run(schemathesis).await;
    let said = said(&output);
    assert!(output.status.success(), "schemathesis found a fault:\n{said}");
    let count = said
        .lines()
        .find(|line| line.contains(" generated, "))
        .expect("schemathesis says how many requests it made");
    println!("schemathesis: {}", count.trim());
    server.assert_alive();
    index.describe().await;
}

/// Runs one file of unit tests with one version of the client. `at_least` so many tests must have run.
async fn run_unittests(version: &str, module: &str, at_least: usize) {
    let root_key = ["test_users", "test_kms"]
        .contains(&module)
        .then_some("the root key of this test");
    let mut home = match root_key {
        Some(root_key) => Home::new().with_variable("SEALDEX_ROOT_KEY", root_key),
        None => Home::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    if module == "test_kms" {
        home = with_slots(home, folder.path()).await;
    }
    let mut server = home.start().await;
    let url = format!("http://{}", server.http.address());
    let slots = [("SEALDEX_SLOTS", "kms secret tenant local")];
    let count = unittests(version, module, &url, root_key, &slots).await;
    assert!(count >= at_least, "only {count} tests ran");
    server.assert_alive();
}

/// The same place, whose servers have a key registry with a slot of every kind.
async fn with_slots(mut home: Home, folder: &Path) -> Home {
    const ROLE: &str = "arn:aws:iam::111122223333:role/tenant";
    let (own, theirs) = (aws::kms_key().await, aws::kms_key_behind(ROLE).await);
    let secret = format!("secret-{}", folder.file_name().unwrap().to_string_lossy());
    aws::secret(&secret, &[7; 32]).await;
    let file = folder.join("local.key");
    std::fs::write(&file, [9; 32]).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let registry = json!({
        "kms": {"provider": "aws-kms", "key_id": own, "region": aws::REGION},
        "secret": {"provider": "aws", "key_id": secret, "region": aws::REGION},
        "tenant": {"provider": "aws-kms", "key_id": theirs, "region": aws::REGION, "role_arn": ROLE, "external_id": "tenant-7"},
        "local": {"provider": "local", "key_file": file},
    });
    // JSON is YAML.
    let config = folder.join("sealdex.yaml");
    std::fs::write(&config, json!({"kms": {"registry": registry}}).to_string()).unwrap();
    for (name, value) in aws::environment(&format!("http://{}", aws::imitation())) {
        home = home.with_variable(name, &value);
    }
    home.with_variable("SEALDEX_CONFIG_FILE", config.to_str().unwrap())
}
