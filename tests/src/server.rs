//! Starts, stops and kills the real `sealdex` binary.

use crate::http::Http;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A place for one deployment: its data directory and the log of every server that ran on it. Removed on drop.
pub struct Home {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// A running server; killed on drop.
pub struct Server {
    child: Child,
    /// A client of it, to be shared.
    pub http: Arc<Http>,
    log: PathBuf,
}

/// A server that ended before it answered.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said since it was started.
    pub said: String,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty place.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("sealdex-test-")
            .tempdir()
            .expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join("data")).expect("the new folder is writable");
        Self {
            folder,
            variables: Vec::new(),
        }
    }

    /// The same place, whose servers run with this environment variable.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where servers are started.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What all servers of this place wrote to their outputs.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Starts a server and waits until it is healthy.
    pub async fn start(&self) -> Server {
        match self.try_start().await {
            Ok(server) => server,
            Err(refused) => panic!(
                "the server ended with {} before it answered:\n{}",
                refused.status, refused.said
            ),
        }
    }

    /// Starts a server and waits until it is healthy or has ended.
    pub async fn try_start(&self) -> Result<Server, Refused> {
        loop {
            match self.launch().await {
                // Someone else took the port between its choice and its use.
                Err(refused) if refused.said.to_lowercase().contains("address already in use") => continue,
                outcome => return outcome,
            }
        }
    }

    async fn launch(&self) -> Result<Server, Refused> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the log can be opened");
        let said_before = log.metadata().expect("the log has a length").len();
        let child = Command::new(binary())
            .args([
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                &address.port().to_string(),
                "--data-dir",
            ])
            .arg(self.data())
            // Its configuration would be looked for there.
            .current_dir(self.folder.path())
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| PASSED_ON.contains(&name.as_str())))
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .spawn()
            .expect("the sealdex binary starts; `make test` builds it first");
        let mut server = Server {
            child,
            http: Arc::new(Http::new(address)),
            log: self.log(),
        };
        let given_up = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(status) = server.child.try_wait().expect("a child can be waited for") {
                return Err(Refused {
                    status,
                    said: tail(&self.log(), said_before),
                });
            }
            if server
                .http
                .get("/v1/health")
                .await
                .is_ok_and(|reply| reply.status == 200)
            {
                return Ok(server);
            }
            assert!(
                Instant::now() < given_up,
                "no health within {START_TIME_MAX:?}:\n{}",
                tail(&self.log(), said_before)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Server {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process at once, as a crash would, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("our child can be killed");
        self.child.wait().expect("our child can be waited for");
    }

    /// Asks the process to end (SIGTERM) without waiting.
    pub fn terminate(&self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Asks the process to end and waits for it; fails the test if it does not end in time or ends with an error.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.ended().await;
        assert!(status.success(), "the server ended with {status}");
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let given_up = Instant::now() + STOP_TIME_MAX;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child can be waited for") {
                return status;
            }
            assert!(
                Instant::now() < given_up,
                "still running {STOP_TIME_MAX:?} after it was asked to end"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Fails the test if the process has ended.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("our child can be waited for");
        assert!(
            ended.is_none(),
            "the server died: {ended:?}\n{}",
            tail(&self.log, 0)
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log ends:\n{}", tail(&self.log, 0));
        }
    }
}

/// The binary under test: `SEALDEX_BIN`, or the one beside this test in the target folder.
pub fn binary() -> PathBuf {
    if let Ok(given) = std::env::var("SEALDEX_BIN") {
        return given.into();
    }
    let test = std::env::current_exe().expect("a running test knows its own path");
    test.ancestors()
        .map(|folder| folder.join("sealdex"))
        .find(|candidate| candidate.is_file())
        .expect("no sealdex binary beside the tests: run `cargo build --release --bin sealdex`, or set SEALDEX_BIN")
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a bound listener has an address")
        .port()
}

/// The last part of a log, at most a screen or two, nothing before byte `from`, and no line that only tells of a request.
pub(crate) fn tail(log: &Path, from: u64) -> String {
    let log = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(log.get(from as usize..).unwrap_or_default());
    let mut lines: Vec<&str> = text
        .lines()
        .rev()
        .filter(|line| !line.contains("sealdex::request"))
        .take(TAIL_LINES)
        .collect();
    lines.reverse();
    lines.join("\n")
}

const TAIL_LINES: usize = 40;

/// A server sees nothing of the tester's environment but what any program needs.
pub(crate) const PASSED_ON: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// Opening a data directory takes well under a second; a loaded machine may be many times slower.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Draining is bounded by the server itself at less than this.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
