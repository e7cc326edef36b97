//! The replicas of partitions that a node has: taken up, led, handed over, given up.

use super::Node;
use crate::partition::{Partition, clear as clear_partition};
use crate::pool::Crew;
use crate::replica::{Origin, Replica, group_of};
use crate::storage::{Dropped, Family, partition_key};
use futures_util::future::join_all;
use sealdex_consensus::{ChangeError, Group, GroupStatus};
use sealdex_core::{NodeId, PartitionId};
use sealdex_index::dataplane::ShardError;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Node {
    /// Takes up a replica of a partition; returns when what is on disk of it can be read. One that is there already stays
    /// as it is.
    pub async fn host_partition(&self, id: PartitionId, origin: &Origin) -> Result<(), ShardError> {
        if self.replica(id).is_ok() {
            return Ok(());
        }
        let replica = Replica::start(&self.host, &self.database, id, origin).await?;
        self.replicas.write().insert(id, Arc::new(replica));
        Ok(())
    }

    /// Waits until some node leads a partition that is here.
    pub async fn led(&self, id: PartitionId) {
        if let Ok(replica) = self.replica(id) {
            replica.led().await;
        }
    }

    /// Refuses, and names who leads, if this node does not lead a partition as far as it knows. To ask the leader is cheapest; whether a
    /// read sees all that it must is found out by the read.
    pub(crate) fn check_leads(&self, id: PartitionId) -> Result<(), ShardError> {
        let leader = self.replica(id)?.leader();
        if leader == Some(self.host.node()) {
            Ok(())
        } else {
            Err(ShardError::NotLeader { leader })
        }
    }

    /// Who leads a partition, as far as this node knows.
    pub(crate) fn leader(&self, id: PartitionId) -> Option<NodeId> {
        self.replica(id).ok()?.leader()
    }

    /// The partitions that are here and of which this node knows no leader.
    pub fn leaderless(&self) -> Vec<PartitionId> {
        let replicas = self.replicas.read();
        let leaderless = replicas.iter().filter(|(_, replica)| !replica.is_led());
        leaderless.map(|(id, _)| *id).collect()
    }

    /// What this node knows of a partition's group, if it leads it at a moment after this was called.
    pub(crate) async fn led_here(&self, id: PartitionId) -> Result<GroupStatus, ShardError> {
        self.replica(id)?.led_here().await
    }

    pub(crate) async fn add_learner(&self, id: PartitionId, node: NodeId) -> Result<(), ChangeError> {
        let replica = self.replica(id);
        let replica = replica.map_err(|_| ChangeError::NotLeader { leader: None })?;
        replica.add_learner(node).await
    }

    pub(crate) async fn remove_learner(&self, id: PartitionId, node: NodeId) -> Result<(), ChangeError> {
        self.group(id)?.remove_learner(node).await
    }

    pub(crate) async fn change_voters(
        &self,
        id: PartitionId,
        voters: &BTreeSet<NodeId>,
    ) -> Result<(), ChangeError> {
        self.group(id)?.change_voters(voters).await
    }

    pub(crate) async fn transfer_to(&self, id: PartitionId, node: NodeId) -> Result<(), ChangeError> {
        self.group(id)?.transfer_to(node).await
    }

    /// Hands every group that this node leads over to another one, all at once: before a planned stop.
    pub async fn relinquish(&self) {
        let partitions = self.hosted();
        join_all(
            partitions
                .into_iter()
                .map(|partition| self.relinquish_one(partition)),
        )
        .await;
    }

    /// Whoever waits here for what other nodes would have to tell this one is sent to another: before the port is closed by which they do.
    pub fn leave(&self) {
        for partition in self.hosted() {
            if let Ok(group) = self.group(partition) {
                group.leave();
            }
        }
    }

    async fn relinquish_one(&self, partition: PartitionId) {
        if let Ok(group) = self.group(partition)
            && let Err(error) = group.relinquish().await
        {
            tracing::warn!(%partition, %error, "a partition was not handed over; it elects another leader");
        }
    }

    fn group(&self, id: PartitionId) -> Result<Group<Partition>, ChangeError> {
        let replica = self.replica(id);
        let replica = replica.map_err(|_| ChangeError::NotLeader { leader: None })?;
        Ok(replica.group().clone())
    }

    /// Gives up the replica of a partition that has left the node: its log and its records are deleted.
    pub async fn drop_partition(&self, id: PartitionId) -> Result<(), ShardError> {
        let Some(replica) = self.replicas.write().remove(&id) else {
            return Ok(());
        };
        replica.stop().await;
        replica.directory().begin_replacing();
        let forgotten = self.host.forget(group_of(id)).await;
        forgotten.map_err(|error| ShardError::Storage(error.to_string()))?;
        let database = Arc::clone(&self.database);
        let clear =
            move |_: &Crew| clear_partition(&database, id).map_err(|fault| ShardError::Storage(fault.reason));
        self.pool.run(clear).await?;
        if let Some(housekeeper) = &*self.housekeeper.lock() {
            housekeeper.reclaim(Dropped {
                families: &Family::ALL,
                prefix: partition_key(id).to_vec(),
            });
        }
        Ok(())
    }

    /// The partitions that are here.
    pub fn hosted(&self) -> Vec<PartitionId> {
        self.replicas.read().keys().copied().collect()
    }

    /// What this node knows of the groups of the partitions that are here.
    pub fn statuses(&self) -> Vec<(PartitionId, GroupStatus)> {
        let replicas = self.replicas.read();
        let status = |(id, replica): (&PartitionId, &Arc<Replica>)| (*id, replica.group().status());
        replicas.iter().map(status).collect()
    }
}
