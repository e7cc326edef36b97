//! Whoever looks after the deployment from outside: asks it how it is, and tells it that a node is to go.

use super::machine::Done;
use hyper::Method;
use sealdex_tests::http::Http;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// An operator with the root key. For threads that may block.
pub(crate) struct Overseer {
    coordinators: Vec<Http>,
    runtime: Handle,
}

impl Overseer {
    /// Of the deployment of these coordinators. Call it where a runtime is.
    pub(crate) fn of(coordinators: &[SocketAddr], root_key: &str) -> Self {
        let coordinators = coordinators.iter();
        Self {
            coordinators: coordinators
                .map(|address| Http::new(*address).with_header("x-api-key", root_key))
                .collect(),
            runtime: Handle::current(),
        }
    }

    /// Waits until every partition has all its replicas, and none lacks anything: before that, a second fault may be one too many.
    pub(crate) fn wait_until_whole(&self) -> Done {
        self.wait("every partition has all its replicas", || {
            let status = self.ask(Method::GET, "status")?;
            let partitions = &status["partitions"];
            let is_whole = status["current"] == true && partitions["healthy"] == partitions["total"];
            is_whole.then_some(()).ok_or(partitions.to_string())
        })
    }

    /// Has a node's replicas moved elsewhere, and waits until it is let go.
    pub(crate) fn decommission(&self, node: &str) -> Done {
        self.wait("the deployment lets go of a node", || {
            self.ask(Method::POST, &format!("nodes/{node}/decommission"))
                .map(drop)
        })?;
        self.wait("a node has nothing left", || {
            let states = self.states_of(node)?;
            let is_gone = states
                .iter()
                .all(|state| state == "decommissioned" || state == "replaced");
            is_gone.then_some(()).ok_or(format!("{node}: {states:?}"))
        })
    }

    /// Waits until a node that is gone without a word is taken for lost: until then everything looks whole.
    pub(crate) fn wait_until_missed(&self, node: &str) -> Done {
        self.wait("a node that is gone is missed", || {
            let states = self.states_of(node)?;
            let is_missed = states
                .iter()
                .all(|state| ["lost", "replaced", "decommissioned"].contains(&state.as_str()));
            is_missed.then_some(()).ok_or(format!("{node}: {states:?}"))
        })
    }

    /// The states of all nodes that ever had this name.
    fn states_of(&self, node: &str) -> Result<Vec<String>, String> {
        let answer = self.ask(Method::GET, "nodes?limit=256")?;
        let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
        let own = nodes.iter().filter(|own| own["name"] == node);
        Ok(own
            .map(|own| own["state"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    /// The answer of the first coordinator that gives one.
    fn ask(&self, method: Method, what: &str) -> Result<Value, String> {
        let mut told = "there is no coordinator".to_owned();
        for http in &self.coordinators {
            let path = format!("/v1/cluster/{what}");
            let sent = http.send_within(PATIENCE, method.clone(), &path, Vec::new().into());
            match self.runtime.block_on(sent) {
                Ok(reply) if (200..300).contains(&reply.status) => return Ok(reply.json()),
                Ok(reply) => told = format!("{path}: {} {}", reply.status, reply.text()),
                Err(why) => told = why.0,
            }
        }
        Err(told)
    }

    fn wait(&self, until: &str, look: impl Fn() -> Result<(), String>) -> Done {
        let given_up = Instant::now() + WHOLE_WITHIN;
        loop {
            let Err(why) = look() else {
                return Ok(());
            };
            if Instant::now() > given_up {
                return Err(format!("{WHOLE_WITHIN:?} are not enough until {until}: {why}"));
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

/// A loaded machine copies slowly.
const WHOLE_WITHIN: Duration = Duration::from_secs(300);
