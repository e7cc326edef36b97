//! A node in a container, of the compose project or of this test's own.

use super::machine::{Done, Machine, Role};
use super::process::answers;
use sealdex_tests::docker::{docker, inspect};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A container that runs a node.
pub(crate) struct Container {
    id: String,
    name: String,
    role: Role,
    /// The network that clients are on, and where the node was first seen on it.
    clients: Option<(String, SocketAddr)>,
    /// Where nodes reach each other, if there are others.
    peers: Option<Peers>,
    /// How often it had died by itself before the test came.
    deaths: u64,
    /// Removed at the end with its network; those of a compose project are not ours to remove.
    is_ours: bool,
}

/// The network of nodes, and what a node is called there.
struct Peers {
    network: String,
    aliases: Vec<String>,
}

impl Peers {
    /// Where those are who are cut off together.
    fn island(&self) -> String {
        format!("{}-island", self.network)
    }
}

impl Container {
    /// The embedded default in a container of `image`, on a network of its own, with nothing on its disk.
    pub(crate) fn begin(image: &str, root_key: &str) -> Result<Self, String> {
        let network = format!("sealdex-chaos-{}", std::process::id());
        docker(&["network", "create", &network])?;
        let root_key = format!("SEALDEX_ROOT_KEY={root_key}");
        let options = [
            "-e",
            "SEALDEX_FAILED_ATTEMPTS_MAX=0",
            "-e",
            "SEALDEX_HOST=0.0.0.0",
        ];
        let begin = [
            "run",
            "-d",
            "--pull",
            "never",
            "--network",
            &network,
            "-e",
            &root_key,
        ];
        let id = docker(&[&begin[..], &options, &[image, "serve"]].concat()).inspect_err(|_| {
            // Nothing is on it, so nothing keeps Docker from taking it away.
            let _ = docker(&["network", "rm", &network]);
        })?;
        let mut container = Self::of(&inspect(&id)?, &network, None)?;
        container.is_ours = true;
        Ok(container)
    }

    /// All nodes of a running compose project, by name. `clients` and `peers` are the project's networks of clients and among nodes.
    pub(crate) fn of_project(project: &str, clients: &str, peers: &str) -> Result<Vec<Self>, String> {
        let filter = format!("label=com.docker.compose.project={project}");
        let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &filter])?;
        let (clients, peers) = (format!("{project}_{clients}"), format!("{project}_{peers}"));
        let nodes = ids
            .lines()
            .map(|id| Self::of(&inspect(id)?, &clients, Some(&peers)));
        let mut nodes = nodes.collect::<Result<Vec<_>, String>>()?;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// A node that clients do not reach.
    pub(crate) fn of_peers(inspected: &Value, peers: &str) -> Result<Self, String> {
        Self::of(inspected, "", Some(peers))
    }

    /// What Docker calls it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The network on which nodes reach each other.
    pub(crate) fn network_of_peers(&self) -> Result<&str, String> {
        Ok(&self.peers()?.network)
    }

    fn of(inspected: &Value, clients: &str, peers: Option<&str>) -> Result<Self, String> {
        let id = text(&inspected["Id"]);
        let role = match inspected["Config"]["Cmd"][0].as_str() {
            Some("serve") => Role::Embedded,
            Some("coordinator") => Role::Coordinator,
            Some("shard") => Role::Shard,
            other => return Err(format!("container {id} runs {other:?}, which is no node")),
        };
        let service = inspected["Config"]["Labels"]["com.docker.compose.service"].as_str();
        let aliases = |network: &str| inspected["NetworkSettings"]["Networks"][network]["Aliases"].clone();
        let peers = peers.map(|network| Peers {
            network: network.to_owned(),
            aliases: aliases(network)
                .as_array()
                .into_iter()
                .flatten()
                .map(text)
                .collect(),
        });
        Ok(Self {
            name: service.unwrap_or("serve").to_owned(),
            clients: address(inspected, clients, REST_PORT).map(|address| (clients.to_owned(), address)),
            deaths: deaths(inspected),
            id,
            role,
            peers,
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
        self.clients.as_ref().map(|(_, address)| *address)
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
        let island = peers.island();
        if docker(&["network", "inspect", &island]).is_err() {
            let labels = inspect(&self.id)?["Config"]["Labels"].clone();
            let project = format!("{PROJECT}={}", text(&labels[PROJECT]));
            docker(&["network", "create", "--internal", "--label", &project, &island])?;
        }
        self.connect(&island)
    }

    fn mend(&self) -> Done {
        let peers = self.peers()?;
        let island = peers.island();
        docker(&["network", "disconnect", &island, &self.id])?;
        // Docker refuses while others are on it; the last one to leave takes it away.
        let _ = docker(&["network", "rm", &island]);
        self.connect(&peers.network)
    }

    fn disk(&self) -> Result<PathBuf, String> {
        let mounts = inspect(&self.id)?["Mounts"].clone();
        let data = mounts
            .as_array()
            .into_iter()
            .flatten()
            .find(|mount| mount["Destination"] == "/data");
        let source = data
            .and_then(|mount| mount["Source"].as_str())
            .ok_or("it has no volume at /data")?;
        Ok(source.into())
    }

    fn wipe(&self) -> Done {
        let disk = self.disk()?;
        empty(&disk).map_err(|error| format!("{}: {error}", disk.display()))
    }

    fn is_well(&self) -> bool {
        let Ok(inspected) = inspect(&self.id) else {
            return false;
        };
        let state = &inspected["State"];
        let runs = state["Running"] == true && state["Paused"] == false;
        let says = |network: &str, port: u16, path: &str| {
            address(&inspected, network, port).is_some_and(|address| answers(address, path))
        };
        let serves = self
            .clients
            .as_ref()
            .is_none_or(|(network, _)| says(network, REST_PORT, "/v1/health"));
        let peers = self.peers.as_ref();
        let is_ready = peers.is_none_or(|peers| says(&peers.network, ADMIN_PORT, "/readyz"));
        runs && serves && is_ready && deaths(&inspected) <= self.deaths
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.is_ours {
            // Each fails only if it is gone already.
            let _ = docker(&["rm", "-fv", &self.id]);
            if let Some((network, _)) = &self.clients {
                let _ = docker(&["network", "rm", network]);
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Where a running container is reached on a network. Not through a published port, where Docker takes connections that nobody serves.
/// A container that is started again takes the address that it or a like one had.
fn address(inspected: &Value, network: &str, port: u16) -> Option<SocketAddr> {
    let ip = inspected["NetworkSettings"]["Networks"][network]["IPAddress"].as_str()?;
    Some(SocketAddr::new(ip.parse().ok()?, port))
}

/// How often it ended by itself and was started by Docker since somebody last started it.
fn deaths(inspected: &Value) -> u64 {
    inspected["RestartCount"].as_u64().unwrap_or_default()
}

/// Removes what is in a folder, and leaves the folder with its owner and rights.
fn empty(folder: &Path) -> std::io::Result<()> {
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

/// What has this label goes with the project.
const PROJECT: &str = "com.docker.compose.project";

/// Longer than a node takes to drain.
const STOP_SECONDS_MAX: &str = "60";

/// Where a node in a container listens.
const REST_PORT: u16 = 8000;
/// Where one of several answers probes.
const ADMIN_PORT: u16 = 9000;
