//! A server for one proof: this very binary on a scratch directory, with its log at its most talkative. Gone with its directory when
//! the proof ends, however that ends.

use super::canaries::Random;
use super::error::ProveError;
use super::planted::scratch_folder;
use crate::client::Endpoint;
use sealdex_core::SecretText;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Opening an empty directory takes well under a second; a loaded machine may be many times slower.
const START_TIME_MAX: Duration = Duration::from_secs(120);

/// Draining is bounded by the server itself at less than this.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of the log that an error tells.
const SAID_BYTES: usize = 2_000;

pub(super) struct OwnServer {
    folder: PathBuf,
    root_key: SecretText,
    running: Option<Running>,
}

struct Running {
    child: Child,
    url: String,
}

impl OwnServer {
    pub(super) fn start() -> Result<Self, ProveError> {
        let folder = scratch_folder("sealdex-prove")?;
        let mut server = Self {
            folder,
            root_key: SecretText::new(Random.text()?),
            running: None,
        };
        std::fs::create_dir(server.data())?;
        server.start_again()?;
        Ok(server)
    }

    /// Starts on what is there, and waits until it says where it listens.
    pub(super) fn start_again(&mut self) -> Result<(), ProveError> {
        let mut log = File::options().create(true).append(true).open(self.log())?;
        writeln!(log, "--- the server of a proof starts")?;
        let begins_at = log.metadata()?.len() as usize;
        let child = Command::new(std::env::current_exe()?)
            .args([
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--log",
                "trace",
                "--data-dir",
            ])
            .arg(self.data())
            // Whatever is configured for this machine's own server is not for this one.
            .current_dir(&self.folder)
            .env_clear()
            .envs(
                std::env::vars_os()
                    .filter(|(name, _)| ["PATH", "HOME", "TMPDIR"].iter().any(|kept| name == *kept)),
            )
            .env("SEALDEX_ROOT_KEY", self.root_key.expose())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let running = self.running.insert(Running {
            child,
            url: String::new(),
        });
        let given_up = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(status) = running.child.try_wait()? {
                return Err(self.failed(format!("ended with {status}")));
            }
            let log = std::fs::read(self.folder.join(LOG))?;
            let said = String::from_utf8_lossy(log.get(begins_at..).unwrap_or_default());
            if let Some(url) = announced(&said) {
                running.url = url;
                return Ok(());
            }
            if Instant::now() > given_up {
                return Err(self.failed(format!("was not up within {START_TIME_MAX:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A client's way to it.
    pub(super) fn endpoint(&self) -> Result<Endpoint, ProveError> {
        let url = self.running.as_ref().map_or("", |running| &running.url);
        Ok(Endpoint::new(url, Some(self.root_key.expose()))?)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    pub(super) fn root_key(&self) -> &str {
        self.root_key.expose()
    }

    /// Ends it as a crash would.
    pub(super) fn kill(&mut self) -> Result<(), ProveError> {
        if let Some(mut running) = self.running.take() {
            running.child.kill()?;
            running.child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, and waits.
    pub(super) fn stop(&mut self) -> Result<(), ProveError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        if let Some(pid) = rustix::process::Pid::from_raw(running.child.id() as i32) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(std::io::Error::from)?;
        }
        let given_up = Instant::now() + STOP_TIME_MAX;
        while running.child.try_wait()?.is_none() {
            if Instant::now() > given_up {
                return Err(self.failed(format!("was not down within {STOP_TIME_MAX:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.running = None;
        Ok(())
    }

    fn failed(&self, what: String) -> ProveError {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let end = log.len().saturating_sub(SAID_BYTES);
        ProveError::Server {
            what,
            said: String::from_utf8_lossy(&log[end..]).into_owned(),
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // Both fail only if what they are to remove is gone already.
        let _ = self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The address in what a server prints when it is up.
fn announced(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.trim_start().starts_with("REST "))?;
    let url = line.split_whitespace().nth(1)?;
    Some(url.strip_suffix("/v1")?.to_owned())
}

const LOG: &str = "server.log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_what_is_printed() {
        let said = "noise\n  Sealdex 1 is up\n    REST     http://127.0.0.1:4711/v1\n    docs     x\n";
        assert_eq!(announced(said).as_deref(), Some("http://127.0.0.1:4711"));
        assert_eq!(announced("nothing yet"), None);
    }
}
