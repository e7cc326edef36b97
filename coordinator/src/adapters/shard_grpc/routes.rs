//! Which nodes hold a partition, and which of them most likely leads it. Metadata says the first; answers teach the second.

use parking_lot::RwLock;
use sealdex_core::{NodeId, PartitionId};
use std::collections::{BTreeSet, HashMap};
use tokio::sync::watch;

/// The replicas of every partition. Share it in an `Arc` with whoever follows metadata.
#[derive(Default)]
pub struct Routes {
    table: RwLock<HashMap<PartitionId, Route>>,
    /// Told when a leader was learned.
    learned: watch::Sender<()>,
}

struct Route {
    replicas: Vec<NodeId>,
    leader: Option<NodeId>,
}

impl Routes {
    /// Takes what metadata says now. What was learnt of leaders is kept where they still hold a replica.
    pub fn replace(&self, replicas: impl IntoIterator<Item = (PartitionId, Vec<NodeId>)>) {
        let mut table = self.table.write();
        let route = |(partition, replicas): (PartitionId, Vec<NodeId>)| {
            let before = table.get(&partition).and_then(|route| route.leader);
            let leader = before.filter(|leader| replicas.contains(leader));
            (partition, Route { replicas, leader })
        };
        let replaced = replicas.into_iter().map(route).collect();
        *table = replaced;
    }

    /// The nodes to ask, the most likely leader first.
    pub fn replicas(&self, partition: PartitionId) -> Vec<NodeId> {
        let table = self.table.read();
        let Some(route) = table.get(&partition) else {
            return Vec::new();
        };
        let others = route
            .replicas
            .iter()
            .copied()
            .filter(|node| Some(*node) != route.leader);
        route.leader.into_iter().chain(others).collect()
    }

    /// Every node that holds a replica.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        let table = self.table.read();
        table
            .values()
            .flat_map(|route| route.replicas.iter().copied())
            .collect()
    }

    /// Who most likely leads a partition.
    pub(super) fn leader(&self, partition: PartitionId) -> Option<NodeId> {
        self.table.read().get(&partition)?.leader
    }

    /// Somebody who must know said who leads a partition.
    pub(super) fn note_leader(&self, partition: PartitionId, leader: NodeId) {
        let known = |table: &HashMap<PartitionId, Route>| {
            table
                .get(&partition)
                .is_none_or(|route| route.leader == Some(leader))
        };
        if known(&self.table.read()) {
            return;
        }
        if let Some(route) = self.table.write().get_mut(&partition) {
            route.leader = Some(leader);
        }
        self.learned.send_replace(());
    }

    /// Waits until a node is thought to lead the partition that is none of these.
    pub(super) async fn other_leader(&self, partition: PartitionId, known: [Option<NodeId>; 2]) {
        let mut learned = self.learned.subscribe();
        loop {
            let leader = self.leader(partition);
            if leader.is_some() && !known.contains(&leader) {
                return;
            }
            learned.changed().await.expect("the sender is this table's own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_leader_is_asked_first() {
        let routes = Routes::default();
        let (partition, nodes) = (PartitionId(1), [1, 2, 3].map(NodeId));
        routes.replace([(partition, nodes.to_vec())]);
        assert_eq!(routes.replicas(partition), nodes);
        routes.note_leader(partition, NodeId(3));
        assert_eq!(routes.replicas(partition), [3, 1, 2].map(NodeId));
        routes.replace([(partition, [2, 3, 4].map(NodeId).to_vec())]);
        assert_eq!(routes.replicas(partition), [3, 2, 4].map(NodeId));
        routes.replace([(partition, [2, 4].map(NodeId).to_vec())]);
        assert_eq!(routes.replicas(partition), [2, 4].map(NodeId));
        assert_eq!(routes.nodes(), BTreeSet::from([2, 4].map(NodeId)));
        assert!(routes.replicas(PartitionId(2)).is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_for_another_leader_is_told() {
        let routes = Routes::default();
        let (one, other) = (PartitionId(1), PartitionId(2));
        routes.replace([one, other].map(|partition| (partition, [1, 2].map(NodeId).to_vec())));
        routes.note_leader(one, NodeId(1));
        let learn = async {
            routes.note_leader(other, NodeId(2));
            tokio::task::yield_now().await;
            routes.note_leader(one, NodeId(2));
        };
        let [first, second] = [1, 2].map(|node| Some(NodeId(node)));
        tokio::join!(routes.other_leader(one, [first, None]), learn);
        assert_eq!(routes.leader(one), second);
        routes.other_leader(one, [first, None]).await;
        routes.other_leader(one, [None, None]).await;
        let told = tokio::time::timeout(
            std::time::Duration::from_millis(10),
            routes.other_leader(one, [first, second]),
        );
        assert!(told.await.is_err(), "it is known");
    }
}
