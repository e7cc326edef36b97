//! Which deployment is put under stress for how long, as environment variables say.

use super::container::Container;
use super::guest::Guest;
use super::machine::{Machine, Role};
use super::process::Process;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a run is made of.
pub(crate) struct Settings {
    /// The nodes.
    pub(crate) machines: Vec<Arc<dyn Machine>>,
    /// A node that may join them.
    pub(crate) guest: Option<Arc<Guest>>,
    /// What opens everything to clients.
    pub(crate) root_key: String,
    /// How long faults go on.
    pub(crate) time: Duration,
    /// How many writes must be acknowledged for the run to say anything.
    pub(crate) acknowledged_min: usize,
    /// Where a history goes that shows a violation.
    pub(crate) histories: PathBuf,
}

impl Settings {
    /// Starts or finds the nodes. `SEALDEX_CHAOS_DEPLOYMENT` is one of
    /// - `process` (the default): `sealdex serve` on loopback,
    /// - `container`: the same in a container of the image `SEALDEX_IMAGE`,
    /// - `compose`: the running compose project `SEALDEX_CHAOS_PROJECT`, whose root key is in the file `SEALDEX_CHAOS_ROOT_KEY`. A node
    ///   named `SEALDEX_CHAOS_GUEST` joins it now and then if there is a certificate for it.
    pub(crate) fn from_environment() -> Result<Self, String> {
        let given = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let number = |name: &str, default: &str| {
            let text = given(name, default);
            text.parse::<usize>()
                .map_err(|_| format!("{name} is {text}; it must be a number"))
        };
        let mut guest = None;
        let mut root_key = "the root key of this test".to_owned();
        let machines = match given("SEALDEX_CHAOS_DEPLOYMENT", "process").as_str() {
            "process" => vec![shared(Process::begin(&root_key)?)],
            "container" => vec![shared(Container::begin(
                &given("SEALDEX_IMAGE", "sealdex:latest"),
                &root_key,
            )?)],
            "compose" => {
                let path = given(
                    "SEALDEX_CHAOS_ROOT_KEY",
                    concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/compose/run/root-key"),
                );
                let read = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
                root_key = read.trim().to_owned();
                let nodes =
                    Container::of_project(&given("SEALDEX_CHAOS_PROJECT", "sealdex"), "clients", "peers")?;
                if let Some(shard) = nodes.iter().find(|node| node.role() == Role::Shard) {
                    guest = Guest::like(shard, &given("SEALDEX_CHAOS_GUEST", "shard-4"))?.map(Arc::new);
                }
                nodes.into_iter().map(shared).collect()
            }
            other => {
                return Err(format!(
                    "SEALDEX_CHAOS_DEPLOYMENT is {other}; it is process, container or compose"
                ));
            }
        };
        if machines.is_empty() {
            return Err("the deployment has no nodes: start it first".to_owned());
        }
        Ok(Self {
            machines,
            guest,
            root_key,
            time: Duration::from_secs(number("SEALDEX_CHAOS_SECONDS", "20")? as u64),
            acknowledged_min: number("SEALDEX_CHAOS_WRITES_MIN", "500")?,
            histories: given("SEALDEX_CHAOS_HISTORIES", &std::env::temp_dir().to_string_lossy()).into(),
        })
    }
}

fn shared(machine: impl Machine + 'static) -> Arc<dyn Machine> {
    Arc::new(machine)
}
