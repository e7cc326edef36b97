//! The house rules that no compiler checks: who may depend on whom, where `unsafe` may stand, how long a file may grow.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may depend directly on a guarded crate, besides crates that are not ours. `aws-lc-rs` also comes as the engine of TLS.
const GUARDED: [(&str, &[&str]); 13] = [
    ("aes-gcm", &["sealdex-crypto", "hpke"]),
    ("ed25519-dalek", &["sealdex-crypto"]),
    ("hpke", &["sealdex-crypto"]),
    (
        "aws-lc-rs",
        &[
            "sealdex-crypto",
            "rustls",
            "rustls-webpki",
            "rcgen",
            "x509-parser",
        ],
    ),
    ("hkdf", &["sealdex-crypto", "hpke"]),
    ("hmac", &["sealdex-crypto", "hkdf"]),
    ("subtle", &["sealdex-crypto"]),
    ("openraft", &["sealdex-consensus"]),
    ("prometheus-client", &["sealdex-telemetry"]),
    ("opentelemetry_sdk", &["sealdex-cli"]),
    (
        "rocksdb",
        &["sealdex-shard", "sealdex-consensus", "sealdex-coordinator"],
    ),
    ("sealdex-shard", &["sealdex-cli"]),
    ("sealdex-coordinator", &["sealdex-cli"]),
];

/// What a crate of ours must not reach, directly or through others.
const UNREACHABLE: [(&str, &[&str]); 5] = [
    (
        "sealdex-index",
        &[
            "tokio",
            "hyper",
            "rocksdb",
            "aes-gcm",
            "aws-lc-rs",
            "sealdex-crypto",
            "tonic",
            "axum",
        ],
    ),
    (
        "sealdex-core",
        &["tokio", "rocksdb", "aes-gcm", "aws-lc-rs", "axum", "tonic"],
    ),
    (
        "sealdex-crypto",
        &["tokio", "rocksdb", "axum", "tonic", "sealdex-index", "tracing"],
    ),
    (
        "sealdex-peer",
        &["rocksdb", "aes-gcm", "sealdex-crypto", "sealdex-consensus"],
    ),
    ("sealdex-proto", &["tokio", "rocksdb", "aes-gcm", "aws-lc-rs"]),
];

/// The only place that may write `unsafe`: the SIMD kernels.
const UNSAFE_ALLOWED: [&str; 1] = ["common/index/src/kernel/"];

/// This file, which must spell what it looks for.
const THIS: &str = "tests/tests/architecture.rs";

const FILE_LINES_MAX: usize = 600;

#[test]
fn guarded_crates_enter_at_their_one_door() {
    let graph = Graph::of_workspace();
    for (guarded, doors) in GUARDED {
        let ours = |name: &str| name.starts_with("sealdex-");
        let others: Vec<&String> = graph
            .dependents(guarded)
            .filter(|name| ours(name) && !doors.contains(&name.as_str()))
            .collect();
        assert!(
            others.is_empty(),
            "{guarded} may enter through {doors:?} alone, not {others:?}"
        );
    }
}

#[test]
fn ciphers_do_not_come_in_through_a_foreign_crate() {
    let graph = Graph::of_workspace();
    for (guarded, doors) in GUARDED
        .iter()
        .filter(|(name, _)| ["aes-gcm", "aws-lc-rs", "ed25519-dalek", "hkdf", "hpke"].contains(name))
    {
        let others: Vec<&String> = graph
            .dependents(guarded)
            .filter(|name| !doors.contains(&name.as_str()))
            .collect();
        assert!(
            others.is_empty(),
            "{guarded} may enter through {doors:?} alone, not {others:?}"
        );
    }
}

#[test]
fn pure_crates_reach_neither_runtime_nor_storage_nor_cipher() {
    let graph = Graph::of_workspace();
    for (name, banned) in UNREACHABLE {
        let reached = graph.reach(name);
        let wrong: Vec<&&str> = banned
            .iter()
            .filter(|banned| reached.contains(**banned))
            .collect();
        assert!(wrong.is_empty(), "{name} reaches {wrong:?}");
    }
}

#[test]
fn the_vocabulary_and_the_formats_depend_on_none_of_ours() {
    let graph = Graph::of_workspace();
    for name in ["sealdex-core", "sealdex-proto"] {
        let ours: Vec<String> = graph
            .reach(name)
            .into_iter()
            .filter(|name| name.starts_with("sealdex-"))
            .collect();
        assert!(ours.is_empty(), "{name} reaches {ours:?}");
    }
}

#[test]
fn the_graph_is_read_right() {
    let graph = Graph::of_workspace();
    assert!(
        graph.dependents("aes-gcm").any(|name| name == "sealdex-crypto"),
        "a known edge is missing"
    );
    assert!(
        graph.reach("sealdex-cli").contains("rocksdb"),
        "a known path is missing"
    );
}

/// Else the tests' libraries would turn on features in what is tested that nobody runs.
#[test]
fn what_is_tested_is_built_like_what_is_run() {
    let builds = |edges: &str| -> BTreeSet<String> {
        let arguments = [
            "tree",
            "--workspace",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "-f",
            "{p} {f}",
            "-e",
        ];
        let printed = cargo(&[&arguments[..], &[edges]].concat());
        let lines = printed
            .lines()
            .map(|line| line.trim_end_matches(" (*)").to_owned());
        lines.collect()
    };
    let (run, tested) = (builds("normal,build"), builds("normal,build,dev"));
    let differ: Vec<_> = run.difference(&tested).collect();
    assert!(
        differ.is_empty() && !run.is_empty(),
        "built with other features under test: {differ:?}"
    );
}

#[test]
fn unsafe_stands_only_in_kernels_and_memory_locking() {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| path != THIS && !UNSAFE_ALLOWED.iter().any(|allowed| path.starts_with(allowed)))
        .filter(|(_, text)| says_unsafe(text))
        .map(|(path, _)| path)
        .collect();
    assert!(
        wrong.is_empty(),
        "unsafe outside kernels and memory locking: {wrong:?}"
    );
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for (path, text) in sources()
        .iter()
        .filter(|(path, text)| !path.starts_with("tests/") && says_unsafe(text))
    {
        let blocks = text
            .lines()
            .filter(|line| code(line).contains("unsafe {"))
            .count();
        let reasons = text.matches("SAFETY:").count();
        assert!(
            blocks == 0 || reasons > 0,
            "{path} has {blocks} unsafe blocks and not one SAFETY comment"
        );
    }
}

#[test]
fn files_stay_short_and_open_with_what_they_are_for() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{path} has {lines} lines; split it by responsibility"
        );
        assert!(
            text.starts_with("//!"),
            "{path} does not open with a line that says what it is for"
        );
    }
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    for (path, text) in sources().iter().filter(|(path, _)| path != THIS) {
        for marker in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"] {
            assert!(
                !text.lines().any(|line| code(line).contains(marker)),
                "{path} holds {marker}"
            );
        }
    }
}

#[test]
fn the_reader_of_sources_sees_unsafe_and_is_not_fooled_by_words() {
    assert!(says_unsafe("let x = unsafe { *p };"));
    assert!(says_unsafe("pub unsafe fn f() {}"));
    assert!(!says_unsafe("// unsafe would be wrong here"));
    assert!(!says_unsafe("#![forbid(unsafe_code)]"));
    assert!(!says_unsafe("let text = \"unsafe\";"));
}

/// The crates of the build and their normal and build dependencies, by name.
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    fn of_workspace() -> Self {
        // Of this platform alone: what others would need is not on a machine that only ever built for itself.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let printed = cargo(&[
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            &platform,
        ]);
        let metadata: Value = serde_json::from_str(&printed).expect("cargo metadata prints JSON");
        let mut names = BTreeMap::new();
        for package in metadata["packages"].as_array().unwrap() {
            names.insert(
                package["id"].as_str().unwrap(),
                package["name"].as_str().unwrap().to_owned(),
            );
        }
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().unwrap() {
            let used = node["deps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| is_shipped(dependency));
            let used = used.map(|dependency| names[dependency["pkg"].as_str().unwrap()].clone());
            graph
                .entry(names[node["id"].as_str().unwrap()].clone())
                .or_default()
                .extend(used);
        }
        Self(graph)
    }

    fn dependents<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        self.0
            .iter()
            .filter(move |(_, used)| used.contains(name))
            .map(|(dependent, _)| dependent)
    }

    /// Everything that `name` depends on, however far.
    fn reach(&self, name: &str) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = self.0[name].iter().collect();
        while let Some(found) = next.pop() {
            if reached.insert(found.clone()) {
                next.extend(&self.0[found]);
            }
        }
        reached
    }
}

fn is_shipped(dependency: &Value) -> bool {
    dependency["dep_kinds"]
        .as_array()
        .unwrap()
        .iter()
        .any(|kind| kind["kind"] != "dev")
}

/// What cargo prints.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints text")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Every Rust file of the workspace: its path from the workspace's root, and its text.
fn sources() -> Vec<(String, String)> {
    let root = workspace();
    let mut sources = Vec::new();
    for member in ["proto", "common", "coordinator", "shard", "cli", "tests"] {
        for file in sealdex_tests::scanner::files_under(&root.join(member)).unwrap() {
            let path = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            // Inputs of compile-fail tests are wrong on purpose.
            if path.ends_with(".rs") && !path.contains("/compile_fail/") {
                sources.push((path, std::fs::read_to_string(&file).unwrap()));
            }
        }
    }
    assert!(
        sources.len() > 20,
        "the workspace has more sources than {}",
        sources.len()
    );
    sources
}

fn says_unsafe(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.lines().any(|line| {
        code(line)
            .split(|c: char| !is_word(c))
            .any(|word| word == "unsafe")
    })
}

/// A line without its comment and its strings, roughly: enough for the words looked for here.
fn code(line: &str) -> String {
    let outside_strings: String = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    outside_strings.split("//").next().unwrap_or_default().to_owned()
}
