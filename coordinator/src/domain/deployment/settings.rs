//! What an operator may set for the whole deployment.

use super::Rejection;
use sealdex_core::limits;
use std::time::Duration;

/// Settings of the deployment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Replicas that each partition is to have, where there are as many shard nodes.
    pub replicas: u8,
    /// Shard nodes that must be there before partitions are given to them.
    pub expected_shards: u16,
    /// Seconds without word of a node after which its replicas are built anew elsewhere.
    pub grace_seconds: u32,
    /// Groups whose membership may change at a time.
    pub changes_max: u16,
    /// Whether replicas move, without any being lost, to even out nodes and zones.
    pub balance: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replicas: 3,
            expected_shards: 3,
            grace_seconds: 300,
            changes_max: 4,
            balance: true,
        }
    }
}

impl Settings {
    /// The time after which a lost node's replicas are built anew elsewhere.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.into())
    }

    pub(super) fn check(&self) -> Result<(), Rejection> {
        let fits = (1..=limits::REPLICAS_MAX).contains(&self.replicas)
            && (1..=limits::NODES_MAX).contains(&usize::from(self.expected_shards))
            && self.changes_max >= 1;
        fits.then_some(()).ok_or(Rejection::BadSettings)
    }
}
