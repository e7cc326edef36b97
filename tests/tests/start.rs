//! Starts that cannot succeed: the server ends at once and says what to do.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::Index;
use sealdex_tests::nodes::Nodes;
use sealdex_tests::scanner::files_under;
use sealdex_tests::server::Home;
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::Path;

/// One line says which folder is in use, by which process where the system tells, and what to do.
#[track_caller]
fn tells_who_has_the_data(said: &str, data: &Path, pid: u32) {
    let data = data.display().to_string();
    let words = [
        data.as_str(),
        "is in use by another sealdex process",
        "stop it",
        "another --data-dir",
    ];
    let mut lines = said.lines();
    let line = lines.find(|line| words.iter().all(|word| line.contains(word)));
    let line = line.unwrap_or_else(|| panic!("no line with {words:?} in\n{said}"));
    let named = line.contains(&format!("(pid {pid})"));
    assert!(named || !line.contains("(pid"), "{line}");
    assert!(!said.contains("LOCK"), "{said}");
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_told_what_to_do() {
    let home = Home::new();
    let first = home.start().await;
    let refused = home.try_start().await.err().expect("the data is in use");
    assert!(!refused.status.success());
    tells_who_has_the_data(&refused.said, &home.data(), first.pid());
    assert_eq!(first.http.get("/v1/health").await.unwrap().status, 200);
    first.kill();
    home.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_on_the_same_data_is_told_what_to_do() {
    let mut nodes = Nodes::new(1, 1).with_variable("SEALDEX_EXPECTED_SHARDS", "1");
    nodes.start_all().await;
    let (coordinator, shard) = (0, 1);
    for n in [coordinator, shard] {
        let second = nodes.add_namesake(n);
        symlink(nodes.data(n), nodes.data(second)).unwrap();
        let (status, said) = nodes.run(second);
        assert!(!status.success(), "{said}");
        tells_who_has_the_data(&said, &nodes.data(second), nodes.process_id(n));
    }
    nodes.ready(shard).await;
    // Whoever was killed is in nobody's way.
    for n in [coordinator, shard] {
        nodes.kill(n);
        nodes.start(n);
    }
    nodes.ready(shard).await;
    nodes.usable(coordinator).await;
}

/// Nobody serves everybody by accident.
#[test]
fn an_open_server_does_not_listen_beyond_this_machine() {
    for (host, root) in [("0.0.0.0", None), ("::", None), ("0.0.0.0", Some(""))] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new(sealdex_tests::server::binary());
        command.args(["serve", "--host", host, "--port", "0", "--data-dir"]);
        command.arg(folder.path()).current_dir(folder.path()).env_clear();
        if let Some(key) = root {
            command.env("SEALDEX_ROOT_KEY", key);
        }
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success(), "{host}: {said}");
        assert!(said.contains("SEALDEX_ROOT_KEY"), "{host}: {said}");
        if root.is_none() {
            assert!(said.contains("--open-to-network"), "{host}: {said}");
        }
        assert!(
            files_under(folder.path()).unwrap().is_empty(),
            "nothing was begun"
        );
    }
}

/// RocksDB's reader once spun for ever on such a record: the start neither ended nor said anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_a_record_of_a_type_that_was_never_written_is_refused() {
    let logs = [
        ("catalog", "MANIFEST-"),
        ("shard", "MANIFEST-"),
        ("log", "MANIFEST-"),
        ("log", ".log"),
    ];
    for (part, kind) in logs {
        let home = Home::new();
        let server = home.start().await;
        for name in ["a", "b"] {
            let key = "07".repeat(32);
            Index::create(&server.http, name, &key, json!({"dimension": 2})).await;
        }
        server.kill();
        let logs = files_under(&home.data().join(part)).unwrap();
        let flipped = logs
            .iter()
            .filter(|path| path.file_name().unwrap().to_string_lossy().contains(kind))
            .filter(|path| flip_the_type_of_the_second_record(path))
            .count();
        assert!(flipped > 0, "{part}: no {kind} has two records");
        let refused = home.try_start().await.err().expect("the log is damaged");
        assert!(!refused.status.success());
        for words in ["is damaged", "restore", kind] {
            assert!(refused.said.contains(words), "{part}, {kind}: {}", refused.said);
        }
    }
}

/// A record begins with a checksum of four bytes, its length in two, and its type.
fn flip_the_type_of_the_second_record(path: &Path) -> bool {
    let mut bytes = std::fs::read(path).unwrap();
    let Some(&[low, high]) = bytes.get(4..6) else {
        return false;
    };
    let second = 7 + usize::from(u16::from_le_bytes([low, high]));
    let Some(kind) = bytes.get_mut(second + 6) else {
        return false;
    };
    *kind ^= 4;
    std::fs::write(path, bytes).unwrap();
    true
}
