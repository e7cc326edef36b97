//! A deployment of containers of its own, started by `deploy/compose/deployment.sh` as `make up` starts one, beside any other that this
//! machine has: another name, another folder for its keys, free ports. Taken away on drop, whatever is in it.

use crate::docker::docker;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The names of its coordinators.
pub const COORDINATORS: [&str; 3] = ["coordinator-1", "coordinator-2", "coordinator-3"];
/// The names of its shard nodes.
pub const SHARDS: [&str; 3] = ["shard-1", "shard-2", "shard-3"];

/// The deployment, running or not.
pub struct Containers {
    folder: TempDir,
    project: String,
    image: String,
    /// Which compose, as the shell calls it.
    compose: String,
    variables: Vec<(String, String)>,
}

/// How compose is called where it is there: version 2 as a part of Docker, version 1 by itself.
pub fn composes() -> Vec<&'static str> {
    let works = |words: &&&str| {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{words} version")]);
        command.output().is_ok_and(|output| output.status.success())
    };
    ["docker compose", "docker-compose"]
        .iter()
        .filter(works)
        .copied()
        .collect()
}

impl Containers {
    /// One of that image; nothing is started yet. `purpose` tells it from others of the same test.
    pub fn of(image: &str, compose: &str, purpose: &str) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            project: format!("sealdex-{purpose}-{}", std::process::id()),
            image: image.to_owned(),
            compose: compose.to_owned(),
            variables: Vec::new(),
        }
    }

    /// The same with one more variable for the compose file.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What compose calls it.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// Where its certificates and keys are while it is there.
    pub fn run_folder(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The credential that opens everything.
    pub fn root_key(&self) -> Result<String, String> {
        let path = self.run_folder().join("root-key");
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Runs `deployment.sh` for it; returns what it printed.
    pub fn command(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(checkout().join("deploy/compose/deployment.sh"));
        command.args(arguments);
        self.run(command)
    }

    /// Runs lines of a shell in the checkout, for which this is the deployment.
    pub fn shell(&self, lines: &str) -> Result<String, String> {
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", lines])
            .current_dir(checkout());
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Result<String, String> {
        command
            .env("SEALDEX_PROJECT", &self.project)
            .env("SEALDEX_RUN_DIR", self.run_folder())
            .env("SEALDEX_IMAGE", &self.image)
            .env("COMPOSE", &self.compose)
            .envs(self.variables.iter().cloned());
        for number in 1..=COORDINATORS.len() {
            // Any that is free.
            command.env(format!("SEALDEX_PORT_{number}"), "0");
        }
        let output = command
            .output()
            .map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{command:?}:\n{}", crate::clients::said(&output)))
    }

    /// Where a coordinator is published on this machine.
    pub fn published(&self, coordinator: &str) -> Result<SocketAddr, String> {
        let said = self.command(&["compose", "port", coordinator, "8000"])?;
        said.trim().parse().map_err(|error| format!("{said:?}: {error}"))
    }

    /// Ids of its containers, networks and volumes, whatever state they are in.
    pub fn traces(&self) -> Result<Vec<String>, String> {
        let label = format!("label=com.docker.compose.project={}", self.project);
        let mut traces = Vec::new();
        for list in [&["ps", "-a"][..], &["network", "ls"], &["volume", "ls"]] {
            let said = docker(&[list, &["-q", "--filter", &label]].concat())?;
            traces.extend(said.lines().map(str::to_owned));
        }
        Ok(traces)
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.command(&["compose", "logs", "--tail", "60"]);
            eprintln!("--- the logs end:\n{}", logs.unwrap_or_else(|error| error));
        }
        if let Err(error) = self.command(&["down"]) {
            eprintln!("not taken away: {error}");
        }
    }
}

fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
