//! What operators ask of a deployment: how it is, and to let go of a node. For whoever administers the server.

use super::deployment_status::{DeploymentStatus, NodePhase, NodeStatus, PartitionStatus, View};
use super::startup::training_of;
use super::{Service, ServiceError};
use crate::adapters::CatalogError;
use crate::auth::Caller;
use crate::domain::deployment::{Command, NodeChange, NodeRecord, Role, Work, WorkState};
use crate::ports::Survey;
use sealdex_core::{ErrorCode, NodeId, PartitionId};
use sealdex_index::dataplane::ShardError;

/// A part of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<T, K> {
    /// What it holds.
    pub items: Vec<T>,
    /// Where the next part begins: behind this one. `None`: there is none.
    pub next: Option<K>,
}

impl Service {
    /// How the deployment is at a glance.
    pub async fn deployment_status(&self, caller: &Caller) -> Result<DeploymentStatus, ServiceError> {
        let survey = self.survey(caller).await?;
        let view = View(&survey);
        Ok(view.whole(view.jobs(self.work(), &self.catalog.all())))
    }

    /// Nodes by id, also those that are gone: at most `limit`, behind `after`.
    pub async fn deployment_nodes(
        &self,
        caller: &Caller,
        after: Option<NodeId>,
        limit: usize,
    ) -> Result<Page<NodeStatus, NodeId>, ServiceError> {
        let survey = self.survey(caller).await?;
        let nodes = survey.deployment.nodes();
        let behind = nodes.filter(|record| after.is_none_or(|after| record.id > after));
        let nodes = behind.map(|record| View(&survey).node(record));
        Ok(page(nodes, limit, |node| node.node.id))
    }

    /// Partitions in order: at most `limit`, behind `after`. None before they are given to nodes.
    pub async fn deployment_partitions(
        &self,
        caller: &Caller,
        after: Option<PartitionId>,
        limit: usize,
    ) -> Result<Page<PartitionStatus, PartitionId>, ServiceError> {
        let survey = self.survey(caller).await?;
        let first = after.map_or(0, |after| after.0.saturating_add(1));
        let partitions = (first..survey.deployment.partitions).map(PartitionId);
        let partitions = partitions.filter_map(|partition| View(&survey).partition(partition));
        Ok(page(partitions, limit, |partition| partition.partition))
    }

    /// Lets a node go for good: its replicas move to other nodes, then it is removed, and its id is never given again. Returns when
    /// that is decided, not when it is done.
    pub async fn decommission(&self, caller: &Caller, name: &str) -> Result<(), ServiceError> {
        self.decide(caller, name, NodeChange::Decommission).await
    }

    /// Keeps a node that was to go, if it is not gone yet.
    pub async fn recommission(&self, caller: &Caller, name: &str) -> Result<(), ServiceError> {
        self.decide(caller, name, NodeChange::Recommission).await
    }

    /// The background work that this process is at.
    pub(crate) fn work(&self) -> Vec<Work> {
        let (current, queued) = (self.trainer.current(), self.trainer.queued());
        let training = |name: &str, state, (done, total)| {
            let record = self.catalog.get(name)?;
            let job = training_of(record.id);
            Some(Work {
                job,
                state,
                done,
                total,
            })
        };
        let current = current.and_then(|(name, items)| match items {
            (0, _) => training(&name, WorkState::Learning, items),
            _ => training(&name, WorkState::Running, items),
        });
        let queued = queued
            .iter()
            .filter_map(|name| training(name, WorkState::Queued, (0, 0)));
        current
            .into_iter()
            .chain(queued)
            .chain(self.rotations.work())
            .collect()
    }

    async fn survey(&self, caller: &Caller) -> Result<Survey, ServiceError> {
        caller.require_admin()?;
        Ok(self.lookout.survey().await.ok_or(ShardError::Busy)?)
    }

    async fn decide(&self, caller: &Caller, name: &str, to: NodeChange) -> Result<(), ServiceError> {
        caller.require_admin()?;
        self.catalog.catch_up().await?;
        let survey = self.survey(caller).await?;
        let node = named(&survey, name)?;
        match self
            .catalog
            .change_deployment(Command::SetNode { node, to })
            .await
        {
            Ok(_) => Ok(()),
            Err(CatalogError::DeploymentRejected(rejection)) => Err(refused(name, &rejection.to_string())),
            Err(CatalogError::ChangeRefused(why)) => Err(refused(name, &why)),
            Err(error) => Err(error.into()),
        }
    }
}

fn refused(name: &str, why: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::Conflict,
        format!("Node '{name}' stays as it is: {why}."),
    )
}

/// The node of that name that belongs to the deployment.
fn named(survey: &Survey, name: &str) -> Result<NodeId, ServiceError> {
    let of_name: Vec<&NodeRecord> = {
        let nodes = survey.deployment.nodes();
        nodes.filter(|record| record.node.name == name).collect()
    };
    let gone = |record| {
        let how = match View(survey).node(record).phase {
            NodePhase::Replaced => "was replaced by a node with an empty disk",
            _ => "was decommissioned",
        };
        let why = format!("Node '{name}' is gone: it {how}. Its process ends by itself, if it runs still.");
        ServiceError::new(ErrorCode::Conflict, why)
    };
    let member = of_name.iter().find(|record| record.is_member());
    match (member, of_name.last()) {
        (Some(record), _) if record.node.role == Role::Embedded => Err(ServiceError::new(
            ErrorCode::Conflict,
            "This deployment is one process, and there is nowhere that its data could go: stop it to end it.",
        )),
        (Some(record), _) => Ok(record.id),
        (None, Some(record)) => Err(gone(record)),
        (None, None) => Err(ServiceError::new(
            ErrorCode::NotFound,
            format!("There is no node '{name}'; `sealdex status` and /v1/cluster/nodes tell their names."),
        )),
    }
}

fn page<T, K>(mut from: impl Iterator<Item = T>, limit: usize, key: impl Fn(&T) -> K) -> Page<T, K> {
    let items: Vec<T> = from.by_ref().take(limit).collect();
    let next = from.next().and(items.last()).map(key);
    Page { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let pages = |limit| {
            let (mut after, mut pages) = (None, Vec::new());
            loop {
                let behind = (1..=5).filter(|n| after.is_none_or(|after| *n > after));
                let Page { items, next } = page(behind, limit, |n: &i32| *n);
                pages.push(items);
                match next {
                    Some(next) => after = Some(next),
                    None => return pages,
                }
            }
        };
        assert_eq!(pages(2), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(pages(5), [vec![1, 2, 3, 4, 5]]);
        assert_eq!(
            page(0..0, 3, |n: &i32| *n),
            Page {
                items: vec![],
                next: None
            }
        );
    }
}
