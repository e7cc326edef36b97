//! A node in a container, of the compose project or of this test's own.

use super::docker::{docker, inspect};
use super::machine::{Done, Machine, Role};
use super::process::says_that_it_is_well;
use serde_json::Value;
use std::net::SocketAddr;

/// A container that runs a node.
pub struct Container {
    id: String,
    name: String,
    role: Role,
    rest: Option<SocketAddr>,
    /// Where nodes reach each other, if there are others.
    peers: Option<Peers>,
    /// How often it had died by itself before the test came.
    deaths: u64,
    /// Removed at the end; those of a compose project are not ours to remove.
    is_ours: bool,
}

/// The network of nodes, and what a node is called there.
struct Peers {
    network: String,
    aliases: Vec<String>,
}

impl Container {
    /// The embedded default in a container of `image`, with nothing on its disk.
    pub fn begin(image: &str, root_key: &str) -> Result<Self, String> {
        let root_key = format!("SEALDEX_ROOT_KEY={root_key}");
        let id = docker(&[
            "run",
            "-d",
            "-p",
            &format!("127.0.0.1:{}:8000", free_port()?),
            "-e",
            &root_key,
            "-e",
            "SEALDEX_FAILED_ATTEMPTS_MAX=0",
            "-e",
            "SEALDEX_HOST=0.0.0.0",
            image,
            "serve",
        ])?;
        let mut container = Self::of(&inspect(&id)?, None)?;
        container.is_ours = true;
        Ok(container)
    }

    /// All nodes of a running compose project. `peers` is the project's network among nodes.
    pub fn of_project(project: &str, peers: &str) -> Result<Vec<Self>, String> {
        let filter = format!("label=com.docker.compose.project={project}");
        let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &filter])?;
        let network = format!("{project}_{peers}");
        ids.lines()
            .map(|id| Self::of(&inspect(id)?, Some(&network)))
            .collect()
    }

    fn of(inspected: &Value, network: Option<&str>) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&inspected["Id"]);
        let command: Vec<String> = inspected["Config"]["Cmd"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        let role = match command.first().map(String::as_str) {
            Some("serve") => Role::Embedded,
            Some("coordinator") => Role::Coordinator,
            Some("shard") => Role::Shard,
            other => return Err(format!("container {id} runs {other:?}, which is no node")),
        };
        let service = text(&inspected["Config"]["Labels"]["com.docker.compose.service"]);
        let peers = network.map(|network| Peers {
            network: network.to_owned(),
            aliases: inspected["NetworkSettings"]["Networks"][network]["Aliases"]
                .as_array()
                .into_iter()
                .flatten()
                .map(text)
                .collect(),
        });
        Ok(Self {
            name: if service.is_empty() {
                text(&inspected["Name"])
            } else {
                service
            },
            rest: published(&inspected["NetworkSettings"]["Ports"]["8000/tcp"]),
            id,
            role,
            peers,
            deaths: deaths(inspected),
            is_ours: false,
        })
    }

    fn peers(&self) -> Result<&Peers, String> {
        self.peers
            .as_ref()
            .ok_or_else(|| format!("{} has no other nodes to be cut off from", self.name))
    }

    fn connect(&self, network: &str) -> Done {
        let mut arguments = vec!["network", "connect"];
        for alias in &self.peers()?.aliases {
            arguments.extend(["--alias", alias]);
        }
        arguments.extend([network, &self.id]);
        docker(&arguments).map(drop)
    }
}

impl Machine for Container {
    fn name(&self) -> &str {
        &self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    fn rest(&self) -> Option<SocketAddr> {
        self.rest
    }

    fn kill(&self) -> Done {
        docker(&["kill", &self.id])?;
        docker(&["wait", &self.id]).map(drop)
    }

    fn stop(&self) -> Done {
        docker(&["stop", "-t", STOP_SECONDS_MAX, &self.id]).map(drop)
    }

    fn start(&self) -> Done {
        docker(&["start", &self.id]).map(drop)
    }

    fn pause(&self) -> Done {
        docker(&["pause", &self.id]).map(drop)
    }

    fn resume(&self) -> Done {
        docker(&["unpause", &self.id]).map(drop)
    }

    fn cut(&self) -> Done {
        let peers = self.peers()?;
        docker(&["network", "disconnect", &peers.network, &self.id])?;
        let island = format!("{}-island", peers.network);
        if docker(&["network", "inspect", &island]).is_err() {
            docker(&["network", "create", "--internal", &island])?;
        }
        self.connect(&island)
    }

    fn mend(&self) -> Done {
        let peers = self.peers()?;
        docker(&[
            "network",
            "disconnect",
            &format!("{}-island", peers.network),
            &self.id,
        ])?;
        self.connect(&peers.network)
    }

    fn wipe(&self) -> Done {
        let mounts = inspect(&self.id)?["Mounts"].clone();
        let data = mounts
            .as_array()
            .into_iter()
            .flatten()
            .find(|mount| mount["Destination"] == "/data");
        let source = data
            .and_then(|mount| mount["Source"].as_str())
            .ok_or("it has no volume at /data")?;
        empty(source).map_err(|error| format!("{source}: {error}"))
    }

    fn is_well(&self) -> bool {
        let Ok(inspected) = inspect(&self.id) else {
            return false;
        };
        let state = &inspected["State"];
        let runs = state["Running"] == true && state["Paused"] == false;
        let is_healthy = state["Health"].is_null() || state["Health"]["Status"] == "healthy";
        let answers = self
            .rest
            .is_none_or(|address| says_that_it_is_well(address).unwrap_or(false));
        runs && is_healthy && answers && deaths(&inspected) <= self.deaths
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.is_ours {
            // If it fails, the container is gone already.
            let _ = docker(&["rm", "-fv", &self.id]);
        }
    }
}

/// How often it ended by itself and was started by Docker since somebody last started it.
fn deaths(inspected: &Value) -> u64 {
    inspected["RestartCount"].as_u64().unwrap_or_default()
}

/// Where a port is reached from outside.
fn published(port: &Value) -> Option<SocketAddr> {
    let text = |field: &str| port[0][field].as_str();
    format!("{}:{}", text("HostIp")?, text("HostPort")?).parse().ok()
}

fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

/// Removes what is in a folder, and leaves the folder with its owner and rights.
fn empty(folder: &str) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Longer than a node takes to drain.
const STOP_SECONDS_MAX: &str = "60";
