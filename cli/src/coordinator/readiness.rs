//! What has to hold, besides that it serves, for a coordinator to be sent requests.

use crate::admin::{Condition, Readiness};
use sealdex_coordinator::adapters::CatalogHandle;
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
        Some(catalog) => partitions(&catalog),
        None => closed(),
    });
}

fn leader(catalog: &CatalogHandle) -> Condition {
    match catalog.status().leader {
        Some(_) => Condition::Good,
        None => Condition::Bad("no coordinator is known to lead; a majority of them has to be up".to_owned()),
    }
}

fn partitions(catalog: &CatalogHandle) -> Condition {
    let Some(deployment) = catalog.deployment() else {
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
