//! Which deployment is put under stress for how long, as environment variables say.

use super::container::Container;
use super::guest::Guest;
use super::machine::{Machine, Role};
use super::process::Process;
use super::schedule::Fault;
use sealdex_tests::containers::{Containers, composes};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a run is made of.
pub(crate) struct Settings {
    /// The nodes.
    pub(crate) machines: Vec<Arc<dyn Machine>>,
    /// A node that may join them.
    pub(crate) guest: Option<Arc<Guest>>,
    /// Taken away when the run is over.
    _containers: Option<Containers>,
    /// What opens everything to clients.
    pub(crate) root_key: String,
    /// How long faults go on.
    pub(crate) time: Duration,
    /// Which faults; if it is empty, all.
    pub(crate) only: Vec<Fault>,
    /// How many writes must be acknowledged for the run to say anything.
    pub(crate) acknowledged_min: usize,
    /// Where a history goes that shows a violation.
    pub(crate) histories: PathBuf,
}

impl Settings {
    /// Starts or finds the nodes. `SEALDEX_CHAOS_DEPLOYMENT` is one of
    /// - `process` (the default): `sealdex serve` on loopback,
    /// - `container`: the same in a container of the image `SEALDEX_IMAGE`,
    /// - `compose`: three coordinators and three shard nodes in containers of the same image, and a shard node that comes and goes.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let given = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let number = |name: &str, default: &str| {
            let text = given(name, default);
            text.parse::<usize>()
                .map_err(|_| format!("{name} is {text}; it must be a number"))
        };
        let image = given("SEALDEX_IMAGE", "sealdex:latest");
        let (mut guest, mut containers) = (None, None);
        let mut root_key = "the root key of this test".to_owned();
        let machines = match given("SEALDEX_CHAOS_DEPLOYMENT", "process").as_str() {
            "process" => vec![shared(Process::begin(&root_key)?)],
            "container" => vec![shared(Container::begin(&image, &root_key)?)],
            "compose" => {
                let nodes = containers.insert(deployment(&image)?);
                root_key = nodes.root_key()?;
                nodes.command(&["certificate", "shard", GUEST])?;
                let nodes = Container::of_project(nodes.project(), "clients", "peers")?;
                if let Some(shard) = nodes.iter().find(|node| node.role() == Role::Shard) {
                    guest = Some(Arc::new(Guest::like(shard, GUEST)?));
                }
                nodes.into_iter().map(shared).collect()
            }
            other => {
                return Err(format!(
                    "SEALDEX_CHAOS_DEPLOYMENT is {other}; it is process, container or compose"
                ));
            }
        };
        let only = given("SEALDEX_CHAOS_FAULTS", "");
        let only = only.split(',').filter(|name| !name.is_empty()).map(str::parse);
        Ok(Self {
            machines,
            guest,
            _containers: containers,
            root_key,
            time: Duration::from_secs(number("SEALDEX_CHAOS_SECONDS", "20")? as u64),
            only: only.collect::<Result<_, _>>()?,
            acknowledged_min: number("SEALDEX_CHAOS_WRITES_MIN", "500")?,
            histories: given("SEALDEX_CHAOS_HISTORIES", &std::env::temp_dir().to_string_lossy()).into(),
        })
    }
}

/// Starts one, and waits until it is ready.
fn deployment(image: &str) -> Result<Containers, String> {
    let compose = composes();
    let compose = compose.first().ok_or("there is no compose: make deps-deploy")?;
    let containers = Containers::of(image, compose, "chaos")
        // Revoked users go on trying, from one address.
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
        // Nodes that are gone for good are given up sooner.
        .with_variable("SEALDEX_GRACE_SECONDS", "15");
    containers.command(&["up"])?;
    Ok(containers)
}

fn shared(machine: impl Machine + 'static) -> Arc<dyn Machine> {
    Arc::new(machine)
}

/// The shard node that comes and goes.
const GUEST: &str = "shard-4";
