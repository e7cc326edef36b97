//! Runs commands of the `sealdex` binary, as an operator would.

use crate::server::binary;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    /// It ended with success.
    pub success: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Runs `sealdex` with these arguments and with these environment variables and no others.
pub async fn sealdex(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    sealdex_reading(arguments, variables, "").await
}

/// The same, with this on standard input.
pub async fn sealdex_reading(arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Said {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command
            .spawn()
            .expect("the sealdex binary starts; `make test` builds it first");
        let mut stdin = child.stdin.take().expect("its input is piped");
        // It may end without having read anything.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("a child can be waited for")
    };
    let output = tokio::task::spawn_blocking(run)
        .await
        .expect("waiting does not panic");
    Said {
        success: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Said {
    /// What a successful command printed; anything else fails the test.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert!(self.success, "{}{}", self.out, self.err);
        &self.out
    }

    /// The same as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}
