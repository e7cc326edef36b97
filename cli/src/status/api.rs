//! The calls of the REST API about the deployment.

use crate::client::{ClientError, Connection, Endpoint, segment};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How the deployment is at a glance; what a table does not show stays as it came.
#[derive(Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) deployment: String,
    pub(crate) current: bool,
    pub(crate) answered_by: Named,
    pub(crate) metadata: Metadata,
    pub(crate) partitions: Partitions,
    pub(crate) leases: u64,
    pub(crate) jobs: Vec<Job>,
    pub(crate) jobs_total: usize,
    #[serde(flatten)]
    rest: Value,
}

/// A node's id and name.
#[derive(Deserialize, Serialize)]
pub(crate) struct Named {
    pub(crate) id: u64,
    pub(crate) name: String,
}

/// The metadata group.
#[derive(Deserialize, Serialize)]
pub(crate) struct Metadata {
    pub(crate) leader: Option<Named>,
    #[serde(flatten)]
    rest: Value,
}

/// How many partitions are how.
#[derive(Deserialize, Serialize)]
pub(crate) struct Partitions {
    pub(crate) total: usize,
    pub(crate) assigned: usize,
    pub(crate) led: usize,
    pub(crate) healthy: usize,
    pub(crate) changing: usize,
    pub(crate) replicas: usize,
    pub(crate) replicas_behind: usize,
    pub(crate) replicas_lost: usize,
}

/// A background job.
#[derive(Deserialize, Serialize)]
pub(crate) struct Job {
    pub(crate) kind: String,
    pub(crate) index_name: String,
    pub(crate) state: String,
    pub(crate) node: Option<Named>,
    pub(crate) items_done: u64,
    pub(crate) items_total: u64,
}

/// A node.
#[derive(Deserialize, Serialize)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) zone: String,
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) state: String,
    pub(crate) lost_since: Option<u64>,
    pub(crate) last_heard_seconds_ago: Option<u64>,
    pub(crate) leads_metadata: bool,
    pub(crate) leads: usize,
    pub(crate) replicas: usize,
    pub(crate) behind_entries: Option<u64>,
    pub(crate) disk: Option<Disk>,
    pub(crate) disk_full: Option<bool>,
    pub(crate) leases: Option<u64>,
}

impl Node {
    /// Whether it belongs to the deployment no more.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "decommissioned" | "replaced")
    }
}

/// Room on a node's disk.
#[derive(Deserialize, Serialize)]
pub(crate) struct Disk {
    pub(crate) free_bytes: u64,
    pub(crate) needed_bytes: u64,
}

/// A partition.
#[derive(Deserialize, Serialize)]
pub(crate) struct Partition {
    pub(crate) partition: u16,
    pub(crate) healthy: bool,
    pub(crate) changing: bool,
    pub(crate) leader: Option<Named>,
    pub(crate) replicas: Vec<Replica>,
}

/// A replica of a partition.
#[derive(Deserialize, Serialize)]
pub(crate) struct Replica {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) lost: bool,
    pub(crate) behind_entries: Option<u64>,
}

/// Calls to one server.
pub(crate) struct Api {
    connection: Connection,
}

impl Api {
    pub(crate) fn new(endpoint: &Endpoint, timeout: Duration) -> Self {
        Self {
            connection: Connection::new(endpoint, timeout),
        }
    }

    /// How the deployment is at a glance.
    pub(crate) async fn status(&mut self) -> Result<Status, ClientError> {
        self.get("/v1/cluster/status").await
    }

    /// All nodes, also those that are gone.
    pub(crate) async fn nodes(&mut self) -> Result<Vec<Node>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            nodes: Vec<Node>,
            next: Option<String>,
        }
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page: Page = self.get(&after("/v1/cluster/nodes", next)).await?;
            all.extend(page.nodes);
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// All partitions that were given to nodes.
    pub(crate) async fn partitions(&mut self) -> Result<Vec<Partition>, ClientError> {
        #[derive(Deserialize)]
        struct Page {
            partitions: Vec<Partition>,
            next: Option<String>,
        }
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page: Page = self.get(&after("/v1/cluster/partitions", next)).await?;
            all.extend(page.partitions);
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Has a node let go.
    pub(crate) async fn decommission(&mut self, node: &str) -> Result<(), ClientError> {
        self.decide(node, "decommission").await
    }

    /// Has a node kept that was to go.
    pub(crate) async fn recommission(&mut self, node: &str) -> Result<(), ClientError> {
        self.decide(node, "recommission").await
    }

    async fn decide(&mut self, node: &str, what: &str) -> Result<(), ClientError> {
        let path = format!("/v1/cluster/nodes/{}/{what}", segment(node));
        self.connection.post(&path, Bytes::new()).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let body = self.connection.get(path).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Reply {
            path: path.into(),
            source,
        })
    }
}

fn after(path: &str, place: Option<String>) -> String {
    match place {
        Some(place) => format!("{path}?after={}", segment(&place)),
        None => path.to_owned(),
    }
}
