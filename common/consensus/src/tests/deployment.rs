//! Nodes that start, crash and come back, each with one group.

use super::ledger::{Disk, Ledger, Plants, State};
use super::net::Net;
use crate::keeper::Upkeep;
use crate::{Group, GroupId, Host, HostError, HostOptions, NodeId, Space, StorageFault, Timing};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const GROUP: GroupId = GroupId(1);

/// Little, so that logs are purged all the time.
const UPKEEP: Upkeep = Upkeep {
    look: 1500,
    unflushed_max: 6000,
    kept: 3000,
};

pub(super) struct Deployment {
    pub(super) net: Arc<Net>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) plants: Plants,
    pub(super) timing: Timing,
    pub(super) upkeep: Upkeep,
    pub(super) faults: Arc<Mutex<Vec<String>>>,
}

pub(super) struct Node {
    pub(super) folder: tempfile::TempDir,
    pub(super) disk: Disk,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    pub(super) host: Arc<Host>,
    pub(super) group: Group<Ledger>,
}

pub(super) fn ids(nodes: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    nodes.into_iter().map(NodeId).collect()
}

impl Deployment {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            net: Net::new(seed),
            nodes: BTreeMap::new(),
            plants: Plants::default(),
            timing: Timing {
                patience: Duration::from_secs(5),
                ..Timing::default()
            },
            upkeep: UPKEEP,
            faults: Arc::default(),
        }
    }

    /// A group of so many voters, founded and led.
    pub(super) async fn founded(seed: u64, voters: u64) -> Self {
        let mut deployment = Self::new(seed);
        deployment.found(voters).await;
        deployment
    }

    pub(super) async fn found(&mut self, voters: u64) {
        for node in 1..=voters {
            self.start(NodeId(node)).await.unwrap();
        }
        self.group(1).initialize(&ids(1..=voters)).await.unwrap();
        self.leader().await;
    }

    /// Starts a node, on an empty disk if it is new.
    pub(super) async fn start(&mut self, id: NodeId) -> Result<(), HostError> {
        let node = self.nodes.entry(id).or_insert_with(|| Node {
            folder: tempfile::tempdir().unwrap(),
            disk: Disk::default(),
            running: None,
        });
        assert!(node.running.is_none());
        let options = || HostOptions {
            path: node.folder.path().to_owned(),
            node: id,
            space: Arc::new(Space::open(node.folder.path(), Some(0)).unwrap()),
            timing: self.timing,
            peers: self.net.peers(id),
        };
        let seen = Arc::clone(&self.faults);
        let on_fault = Arc::new(move |fault: &StorageFault| seen.lock().push(fault.reason.clone()));
        let host = open(options, self.upkeep, on_fault).await?;
        // A leader may send its snapshot as soon as the group is there.
        self.net.connect(&host);
        let group = host.start(GROUP, Ledger::open(&node.disk, self.plants)).await;
        match group {
            Ok(group) => {
                node.running = Some(Running { host, group });
                Ok(())
            }
            Err(error) => {
                self.net.disconnect(id);
                host.abandon().await;
                Err(error)
            }
        }
    }

    /// Ends a node without a warning. What was not synced or flushed is lost.
    pub(super) async fn crash(&mut self, id: NodeId) {
        self.net.disconnect(id);
        if let Some(running) = self.nodes.get_mut(&id).unwrap().running.take() {
            running.host.abandon().await;
        }
    }

    pub(super) async fn stop(&mut self, id: NodeId) {
        if let Some(running) = self.nodes.get_mut(&id).unwrap().running.take() {
            running.host.stop().await;
        }
        self.net.disconnect(id);
    }

    pub(super) fn group(&self, node: u64) -> &Group<Ledger> {
        &self.nodes[&NodeId(node)].running.as_ref().unwrap().group
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (NodeId, &Group<Ledger>)> {
        self.nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, &node.running.as_ref()?.group)))
    }

    pub(super) fn state(&self, node: NodeId) -> State {
        self.nodes[&node].disk.live.lock().clone()
    }

    /// Who leads, in the latest term that anybody knows of; waits for one.
    pub(super) async fn leader(&self) -> NodeId {
        for _ in 0..2000 {
            let leaders = self.running().filter(|(_, group)| group.status().is_leader);
            if let Some((id, _)) = leaders.max_by_key(|(_, group)| group.status().term) {
                return id;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no leader within 20 seconds");
    }

    /// Waits until all that run have applied the same, and compares their states byte by byte.
    pub(super) async fn converge(&self) {
        self.try_converge().await.unwrap();
    }

    pub(super) async fn try_converge(&self) -> Result<(), String> {
        let mut statuses = Vec::new();
        for _ in 0..6000 {
            statuses = self
                .running()
                .map(|(_, group)| group.status())
                .collect::<Vec<_>>();
            let last: BTreeSet<_> = statuses.iter().flat_map(|s| [s.last_log, s.applied]).collect();
            if last.len() == 1 && statuses.iter().any(|status| status.is_leader) {
                let states: BTreeSet<_> = self.running().map(|(id, _)| self.state(id).bytes()).collect();
                return match states.len() {
                    1 => Ok(()),
                    _ => Err("replicas differ".to_owned()),
                };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("replicas do not converge within a minute: {statuses:#?}"))
    }
}

/// A crashed node lets go of its files when the last thread has noticed.
async fn open(
    options: impl Fn() -> HostOptions,
    upkeep: Upkeep,
    on_fault: crate::log::OnFault,
) -> Result<Arc<Host>, HostError> {
    for _ in 0..2_000 {
        match Host::open_with(options(), upkeep, Arc::clone(&on_fault)) {
            Err(HostError::Storage(reason)) if reason.contains("lock") => {
                // Threads of its own take real time, tasks that wait for somebody take time that passes when all wait.
                std::thread::sleep(Duration::from_millis(2));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
    panic!("a crashed node never lets go of its files");
}
