//! A deployment of several nodes on loopback: certificates made by `sealdex certs`, a process for each coordinator and shard
//! node, each with its own data directory and log. Nodes are started, stopped, killed, and set up anew on an empty disk.

use crate::http::Http;
use crate::server::{PASSED_ON, binary, free_port};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
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
}

struct Node {
    name: String,
    kind: Kind,
    zone: String,
    rest: u16,
    peer: u16,
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
            variables: Vec::new(),
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

    /// Makes a node's certificate and place; returns its number.
    pub fn add(&mut self, kind: Kind, name: &str) -> usize {
        self.certs(&["node", "--role", kind.word(), "--name", name, "--ip", "127.0.0.1"]);
        self.nodes.push(Node {
            name: name.to_owned(),
            kind,
            zone: format!("zone-{}", self.nodes.len() % 3),
            rest: free_port(),
            peer: free_port(),
            admin: free_port(),
            disk: 0,
            process: None,
        });
        self.nodes.len() - 1
    }

    /// Numbers of all nodes of a kind.
    pub fn all(&self, kind: Kind) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].kind == kind).collect()
    }

    /// Starts all nodes and waits until every coordinator is ready.
    pub async fn start_all(&mut self) {
        for n in 0..self.nodes.len() {
            self.start(n);
        }
        for n in 0..self.nodes.len() {
            self.ready(n).await;
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
        let (data, log, tls) = (self.data(n), self.log(n), self.folder.path().join("certs"));
        let node = &mut self.nodes[n];
        let open = || File::options().create(true).append(true).open(&log);
        let mut command = Command::new(binary());
        command
            .arg(node.kind.word())
            .args(["--name", &node.name])
            .arg("--data-dir")
            .arg(data)
            .args(["--peer-address", &format!("127.0.0.1:{}", node.peer)])
            .args(["--advertise", &format!("127.0.0.1:{}", node.peer)])
            .args(["--admin-address", &format!("127.0.0.1:{}", node.admin)])
            .arg("--tls-dir")
            .arg(tls)
            .args(["--join", &joins.join(",")])
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

    /// Waits until a node says that it is ready.
    pub async fn ready(&mut self, n: usize) {
        let given_up = Instant::now() + READY_TIME_MAX;
        let admin = Http::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.nodes[n].admin)));
        while !admin.get("/readyz").await.is_ok_and(|reply| reply.status == 200) {
            let log = self.log(n);
            let node = &mut self.nodes[n];
            let process = node.process.as_mut().expect("a node that was started");
            if let Some(status) = process.try_wait().expect("a child can be waited for") {
                panic!("{} ended with {status}:\n{}", node.name, tail(&log));
            }
            assert!(Instant::now() < given_up, "{} is not ready:\n{}", node.name, tail(&log));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A client of a coordinator.
    pub fn http(&self, n: usize) -> Arc<Http> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.nodes[n].rest));
        Arc::new(Http::new(address))
    }

    /// A client of a node's admin port.
    pub fn admin(&self, n: usize) -> Http {
        Http::new(SocketAddr::from((Ipv4Addr::LOCALHOST, self.nodes[n].admin)))
    }

    /// Ends a node at once, as a crash would.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.nodes[n].process.take() {
            process.kill().expect("our child can be killed");
            process.wait().expect("our child can be waited for");
        }
    }

    /// Asks a node to end, and waits until it has.
    pub async fn stop(&mut self, n: usize) {
        self.signal(n, "TERM");
        let Some(mut process) = self.nodes[n].process.take() else { return };
        let given_up = Instant::now() + READY_TIME_MAX;
        while process.try_wait().expect("our child can be waited for").is_none() {
            assert!(Instant::now() < given_up, "{} does not end:\n{}", self.nodes[n].name, tail(&self.log(n)));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal to a node: STOP and CONT pause it.
    pub fn signal(&self, n: usize, signal: &str) {
        let Some(process) = &self.nodes[n].process else { return };
        let pid = process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The node's next start finds an empty disk.
    pub fn lose_disk(&mut self, n: usize) {
        assert!(self.nodes[n].process.is_none(), "the disk of a node that runs");
        std::fs::remove_dir_all(self.data(n)).expect("our own folder can be removed");
        self.nodes[n].disk += 1;
    }

    /// A node's data directory.
    pub fn data(&self, n: usize) -> PathBuf {
        let node = &self.nodes[n];
        self.folder.path().join(format!("{}-{}", node.name, node.disk))
    }

    /// A node's log.
    pub fn log(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.nodes[n].name))
    }

    /// Where everything of the deployment is, certificates and logs included.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn certs(&self, args: &[&str]) {
        let made = Command::new(binary())
            .arg("certs")
            .args(args)
            .arg("--dir")
            .arg(self.folder.path().join("certs"))
            .output()
            .expect("the sealdex binary starts");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "sealdex certs {args:?}: {said}");
    }
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
                eprintln!("--- the log of {} ends:\n{}", self.nodes[n].name, tail(&self.log(n)));
            }
        }
    }
}

fn tail(log: &Path) -> String {
    crate::server::tail(log, 0)
}
