//! The door to the `docker` command.

use serde_json::Value;
use std::process::Command;

/// Whether a Docker daemon answers here.
pub fn is_here() -> bool {
    docker(&["info"]).is_ok()
}

/// Runs `docker` with these arguments; returns what it printed.
pub fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .map_err(|error| format!("docker cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!(
        "docker {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// What `docker inspect` says of a container.
pub fn inspect(container: &str) -> Result<Value, String> {
    let said = docker(&["inspect", "--type", "container", container])?;
    let list: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    Ok(list[0].clone())
}
