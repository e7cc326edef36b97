//! The unit tests in `tests/compat`, which are written with the official Python packages, against a server that runs.

use crate::venv::venv;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The versions of the client that applications use, each with an environment of its own.
pub const VERSIONS: [&str; 2] = ["0.17", "0.18"];

/// Runs one file of unit tests with one version of the client against the server at `url`, with that root key if it has one, and with
/// the variables beside. Returns how many tests ran; a test that fails fails the caller.
pub async fn unittests(
    version: &str,
    module: &str,
    url: &str,
    root_key: Option<&str>,
    variables: &[(&str, &str)],
) -> usize {
    let mut python = Command::new(venv(version).join("bin/python"));
    python
        .args(["-B", "-m", "unittest", "-v", module])
        .env("SEALDEX_URL", url)
        .env("SEALDEX_ROOT_KEY", root_key.unwrap_or_default())
        .env("SEALDEX_CLIENT_VERSION", format!("{version}.0"))
        .envs(variables.iter().copied())
        .current_dir(scripts());
    let output = run(python).await;
    let said = said(&output);
    assert!(
        output.status.success(),
        "client {version}, {module}, {url}:\n{said}"
    );
    let line = said
        .lines()
        .find(|line| line.starts_with("Ran "))
        .expect("unittest says how many tests it ran");
    println!("client {version}, {module}: {line}");
    let count = line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    count.expect("unittest says how many tests it ran")
}

/// Runs a command of one of the environments to its end.
pub async fn run(mut command: Command) -> Output {
    let shown = format!("{:?}", command.get_program());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("waiting for a command does not panic");
    output.unwrap_or_else(|error| panic!("{shown}: {error}; `make deps` makes the environments"))
}

/// Everything that a command wrote.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Where the scripts are.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat")
}
