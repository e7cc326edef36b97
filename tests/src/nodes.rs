//! A deployment of several nodes on loopback: certificates made by `sealdex certs`, a process for each coordinator and shard
//! node, each with its own data directory and log. Nodes are started, stopped, killed, and set up anew on an empty disk.

use crate::http::Http;
use crate::server::{PASSED_ON, binary};
use serde_json::json;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A loaded machine takes its time to elect and to place.
const READY_TIME_MAX: Duration = Duration::from_secs(120);

const JOIN_TOKEN: &str = "the join token of this test, 32 bytes or more";

/// What a node is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Serves REST.
    Coordinator,
    /// Keeps partitions.
    Shard,
}

/// Nodes that may run, and those that do. Killed and removed on drop.
pub struct Nodes {
    folder: TempDir,
    nodes: Vec<Node>,
    variables: Vec<(String, String)>,
    /// Where the data directories are, if not in the folder.
    disks: Option<PathBuf>,
}

struct Node {
    name: String,
    kind: Kind,
    zone: String,
    rest: u16,
    peer: u16,
    /// Where peers are told to find it.
    advertised: u16,
    admin: u16,
    /// Grows when the node is set up anew.
    disk: u32,
    process: Option<Child>,
}

impl Nodes {
    /// So many of each; none runs yet.
    pub fn new(coordinators: usize, shards: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("sealdex-nodes-").tempdir();
        let mut nodes = Self {
            folder: folder.expect("a temporary folder can be made"),
            nodes: Vec::new(),
            variables: vec![("SEALDEX_EXPECTED_SHARDS".to_owned(), shards.max(1).to_string())],
            disks: None,
        };
        std::fs::write(nodes.token(), JOIN_TOKEN).expect("the new folder is writable");
        nodes.certs(&["init"]);
        for n in 1..=coordinators {
            nodes.add(Kind::Coordinator, &format!("coordinator-{n}"));
        }
        for n in 1..=shards {
            nodes.add(Kind::Shard, &format!("shard-{n}"));
        }
        nodes
    }

    /// The same, whose processes run with this environment variable.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, whose nodes keep their data in folders of this one.
    pub fn with_disks_in(mut self, folder: PathBuf) -> Self {
        self.disks = Some(folder);
        self
    }

    /// Makes a node's certificate and place; returns its number.
    pub fn add(&mut self, kind: Kind, name: &str) -> usize {
        self.certs(&["node", "--role", kind.word(), "--name", name, "--ip", "127.0.0.1"]);
        self.place(kind, name, 0)
    }

    /// A place for another node that says it is `n`, with the same certificate: on another disk and other ports.
    pub fn add_namesake(&mut self, n: usize) -> usize {
        let (kind, name) = (self.nodes[n].kind, self.nodes[n].name.clone());
        self.place(kind, &name, 100)
    }

    fn place(&mut self, kind: Kind, name: &str, disk: u32) -> usize {
        let peer = lasting_port();
        self.nodes.push(Node {
            name: name.to_owned(),
            kind,
            zone: format!("zone-{}", self.nodes.len() % 3),
            rest: lasting_port(),
            peer,
            advertised: peer,
            admin: lasting_port(),
            disk,
            process: None,
        });
        self.nodes.len() - 1
    }

    /// What a node is called.
    pub fn name(&self, n: usize) -> &str {
        &self.nodes[n].name
    }

    /// Where a node listens for its peers.
    pub fn peer_port(&self, n: usize) -> u16 {
        self.nodes[n].peer
    }

    /// Lets a node that is not started yet tell its peers another port than it listens at; returns it.
    pub fn advertise_elsewhere(&mut self, n: usize) -> u16 {
        self.nodes[n].advertised = lasting_port();
        self.nodes[n].advertised
    }

    /// Numbers of all nodes of a kind.
    pub fn all(&self, kind: Kind) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|n| self.nodes[*n].kind == kind)
            .collect()
    }

    /// Starts all nodes and waits until an index can be made and deleted through every coordinator.
    pub async fn start_all(&mut self) {
        for n in 0..self.nodes.len() {
            self.start(n);
        }
        for n in self.all(Kind::Coordinator) {
            self.usable(n).await;
        }
    }

    /// Starts a node, and does not wait for it.
    pub fn start(&mut self, n: usize) {
        let joins: Vec<String> = self
            .all(Kind::Coordinator)
            .into_iter()
            .map(|n| format!("127.0.0.1:{}", self.nodes[n].peer))
            .collect();
        let first = self.all(Kind::Coordinator).first() == Some(&n);
        let (data, log, tls) = (self.data(n), self.log(n), self.tls());
        let node = &mut self.nodes[n];
        let open = || File::options().create(true).append(true).open(&log);
        let mut command = Command::new(binary());
        command
            .arg(node.kind.word())
            .args(["--name", &node.name])
            .arg("--data-dir")
            .arg(data)
            .args(["--peer-address", &format!("127.0.0.1:{}", node.peer)])
            .args(["--advertise", &format!("127.0.0.1:{}", node.advertised)])
            .arg("--tls-dir")
            .arg(tls)
            .args(["--join", &joins.join(",")])
            .args(["--admin-address", &format!("127.0.0.1:{}", node.admin)])
            .arg("--join-token-file")
            .arg(self.folder.path().join("token"));
        match node.kind {
            Kind::Coordinator => {
                command.args(["--host", "127.0.0.1", "--port", &node.rest.to_string()]);
                if first {
                    command.arg("--bootstrap");
                }
            }
            Kind::Shard => {
                command.args(["--zone", &node.zone]);
            }
        }
        let child = command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| PASSED_ON.contains(&name.as_str())))
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(open().expect("the log can be opened"))
            .stderr(open().expect("the log can be opened"))
            .spawn()
            .expect("the sealdex binary starts; `make test` builds it first");
        node.process = Some(child);
    }

    /// Waits until an index can be made and deleted through a coordinator.
    pub async fn usable(&mut self, n: usize) {
        let given_up = Instant::now() + READY_TIME_MAX;
        let http = self.http(n);
        let key = "17".repeat(32);
        let body = json!({"index_name": format!("probe-of-{}", self.nodes[n].name), "index_key": key});
        loop {
            let made = http.post("/v1/indexes/create", &body).await;
            let made = made.is_ok_and(|reply| reply.status == 200 || reply.status == 409);
            if made
                && http
                    .post("/v1/indexes/delete", &body)
                    .await
                    .is_ok_and(|reply| reply.status == 200)
            {
                return;
            }
            if let Some(fallen) = self.fallen() {
                panic!("{fallen}");
            }
            assert!(Instant::now() < given_up, "{} cannot be used", self.nodes[n].name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A node that has ended by itself, and what it said last.
    pub fn fallen(&mut self) -> Option<String> {
        let has_ended = |node: &mut Node| {
            let process = node.process.as_mut();
            process.is_some_and(|process| process.try_wait().expect("a child can be waited for").is_some())
        };
        let n = self.nodes.iter_mut().position(has_ended)?;
        Some(format!(
            "{} has ended:\n{}",
            self.nodes[n].name,
            tail(&self.log(n))
        ))
    }

    /// A client of a coordinator, with the root key if the nodes have one.
    pub fn http(&self, n: usize) -> Arc<Http> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.nodes[n].rest));
        let root = self.variables.iter().find(|(name, _)| name == "SEALDEX_ROOT_KEY");
        let http = Http::new(address);
        Arc::new(match root {
            Some((_, key)) => http.with_header("x-api-key", key),
            None => http,
        })
    }

    /// A client of a coordinator that shows this credential.
    pub fn http_as(&self, n: usize, credential: &str) -> Http {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.nodes[n].rest));
        Http::new(address).with_header("x-api-key", credential)
    }

    /// A client of a node's admin port.
    pub fn admin(&self, n: usize) -> Http {
        Http::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.nodes[n].admin)))
    }

    /// Waits until a node says that it is ready.
    pub async fn ready(&self, n: usize) {
        let (given_up, admin) = (Instant::now() + READY_TIME_MAX, self.admin(n));
        loop {
            let said = match admin.get("/readyz").await {
                Ok(reply) if reply.status == 200 => return,
                Ok(reply) => reply.text(),
                Err(why) => why.0,
            };
            assert!(
                Instant::now() < given_up,
                "{} does not get ready: {said}",
                self.nodes[n].name
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a node's log has `words` at least so many times.
    pub async fn says(&self, n: usize, words: &str, times: usize) {
        let given_up = Instant::now() + READY_TIME_MAX;
        loop {
            let log = std::fs::read_to_string(self.log(n)).unwrap_or_default();
            if log.matches(words).count() >= times {
                return;
            }
            assert!(
                Instant::now() < given_up,
                "{} does not say '{words}' {times} times:\n{}",
                self.nodes[n].name,
                tail(&self.log(n))
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a node until it ends by itself, and tells how and what it said.
    pub fn run(&mut self, n: usize) -> (std::process::ExitStatus, String) {
        self.start(n);
        self.ends(n)
    }

    /// Waits until a node that was started has ended, and tells how and what it said.
    pub fn ends(&mut self, n: usize) -> (std::process::ExitStatus, String) {
        let mut process = self.nodes[n].process.take().expect("a node that was started");
        let given_up = Instant::now() + READY_TIME_MAX;
        loop {
            if let Some(status) = process.try_wait().expect("our child can be waited for") {
                return (status, tail(&self.log(n)));
            }
            if Instant::now() > given_up {
                let _ = process.kill();
                let _ = process.wait();
                panic!("{} does not end:\n{}", self.nodes[n].name, tail(&self.log(n)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Gives a node what is not its own: another token file, another role's certificate.
    pub fn with_token(&self, token: &str) {
        std::fs::write(self.token(), token).expect("our own folder is writable");
    }

    /// Ends a node at once, as a crash would.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.nodes[n].process.take() {
            process.kill().expect("our child can be killed");
            process.wait().expect("our child can be waited for");
        }
    }

    /// Asks a node to end, and waits until it has; fails the test if it ends with an error.
    pub async fn stop(&mut self, n: usize) {
        self.signal(n, "TERM");
        let Some(mut process) = self.nodes[n].process.take() else {
            return;
        };
        let given_up = Instant::now() + READY_TIME_MAX;
        loop {
            let ended = process.try_wait().expect("our child can be waited for");
            let name = &self.nodes[n].name;
            if let Some(status) = ended {
                assert!(
                    status.success(),
                    "{name} ended with {status}:\n{}",
                    tail(&self.log(n))
                );
                return;
            }
            assert!(
                Instant::now() < given_up,
                "{name} does not end:\n{}",
                tail(&self.log(n))
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal to a node: STOP and CONT pause it.
    pub fn signal(&self, n: usize, signal: &str) {
        let Some(process) = &self.nodes[n].process else {
            return;
        };
        let pid = process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The process of a node that runs.
    pub fn process_id(&self, n: usize) -> u32 {
        let process = self.nodes[n].process.as_ref();
        process.expect("a node that was started").id()
    }

    /// The node's next start finds an empty disk.
    pub fn lose_disk(&mut self, n: usize) {
        assert!(self.nodes[n].process.is_none(), "the disk of a node that runs");
        std::fs::remove_dir_all(self.data(n)).expect("our own folder can be removed");
        self.nodes[n].disk += 1;
    }

    /// Where other nodes reach a node.
    pub fn peer_address(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.nodes[n].peer)
    }

    /// A node's data directory.
    pub fn data(&self, n: usize) -> PathBuf {
        let node = &self.nodes[n];
        let disks = self.disks.as_deref().unwrap_or(self.folder.path());
        disks.join(format!("{}-{}", node.name, node.disk))
    }

    /// A node's log.
    pub fn log(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.nodes[n].name))
    }

    /// Where everything of the deployment is, certificates and logs included.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the certificates are that nodes read.
    pub fn tls(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// Whether the node's disk belongs to a deployment.
    pub fn has_joined(&self, n: usize) -> bool {
        let written = std::fs::read_to_string(self.data(n).join("node.json")).unwrap_or_default();
        let written: serde_json::Value = serde_json::from_str(&written).unwrap_or_default();
        !written["joined"].is_null()
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn certs(&self, args: &[&str]) {
        certs(&self.tls(), args);
    }
}

/// Runs `sealdex certs` on a folder.
pub fn certs(folder: &Path, args: &[&str]) {
    let made = Command::new(binary())
        .arg("certs")
        .args(args)
        .arg("--dir")
        .arg(folder)
        .output()
        .expect("the sealdex binary starts");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "sealdex certs {args:?}: {said}");
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Coordinator => "coordinator",
            Kind::Shard => "shard",
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for n in 0..self.nodes.len() {
            self.kill(n);
            if std::thread::panicking() {
                eprintln!(
                    "--- the log of {} ends:\n{}",
                    self.nodes[n].name,
                    tail(&self.log(n))
                );
            }
        }
    }
}

/// A port below those that the system gives to outgoing connections: nobody else has it when a node is started again.
fn lasting_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Other tests run beside this one, and begin elsewhere.
    let first = std::process::id();
    loop {
        let next = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + u16::try_from(next).expect("it is below 20,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn tail(log: &Path) -> String {
    crate::server::tail(log, 0)
}
