//! What has to hold, besides that it serves, for a coordinator to be sent requests.

use crate::admin::{Condition, Readiness};
use sealdex_coordinator::adapters::CatalogHandle;
use sealdex_coordinator::domain::deployment::Deployment;
use std::sync::Arc;

/// Requests wait for the leader of the metadata group, and are answered from partitions.
pub(super) fn depend_on_metadata(readiness: &Readiness, catalog: &Arc<CatalogHandle>) {
    let watched = Arc::downgrade(catalog);
    readiness.depend("metadata", move || match watched.upgrade() {
        Some(catalog) => leader(&catalog),
        None => closed(),
    });
    let watched = Arc::downgrade(catalog);
    readiness.depend("partitions", move || match watched.upgrade() {
        Some(catalog) => partitions(catalog.deployment().as_deref()),
        None => closed(),
    });
}

fn leader(catalog: &CatalogHandle) -> Condition {
    if catalog.is_led() {
        Condition::Good
    } else {
        Condition::Bad("no coordinator leads; a majority of them has to be up".to_owned())
    }
}

fn partitions(deployment: Option<&Deployment>) -> Condition {
    let Some(deployment) = deployment else {
        return Condition::Bad("nothing is known of the deployment yet".to_owned());
    };
    let assigned = &deployment.table.partitions;
    let kept = assigned
        .iter()
        .filter(|assignment| !assignment.voters.is_empty())
        .count();
    if kept == usize::from(deployment.partitions) {
        return Condition::Good;
    }
    Condition::Bad(format!(
        "{kept} of {} have been given to shard nodes; {} nodes have to join first",
        deployment.partitions, deployment.settings.expected_shards
    ))
}

fn closed() -> Condition {
    Condition::Bad("closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_coordinator::domain::deployment::{Bootstrap, InstallId, NewNode, Role, Settings};
    use sealdex_core::DeploymentId;

    fn begun_by(role: Role) -> Deployment {
        let node = NewNode {
            name: "first".to_owned(),
            role,
            address: "first:7000".to_owned(),
            zone: String::new(),
            version: "1".to_owned(),
            install: InstallId([1; 16]),
        };
        let bootstrap = Bootstrap {
            deployment: DeploymentId([1; 16]),
            partitions: 4,
            settings: Settings::default(),
            node,
        };
        Deployment::bootstrap(bootstrap).unwrap()
    }

    #[test]
    fn partitions_have_to_be_kept_by_somebody() {
        assert!(matches!(partitions(None), Condition::Bad(_)));
        let alone = begun_by(Role::Coordinator);
        assert!(matches!(partitions(Some(&alone)), Condition::Bad(_)));
        let embedded = begun_by(Role::Embedded);
        assert!(matches!(partitions(Some(&embedded)), Condition::Good));
    }
}
