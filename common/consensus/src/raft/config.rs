//! The one place that makes openraft's settings. Two of them keep acknowledged writes safe and may not change: a leader that
//! comes back does not go on in its old term, and a node asks whether it could win before it disturbs anybody.

use openraft::{Config, SnapshotPolicy};
use std::sync::Arc;
use std::time::Duration;

/// Entries in one message. Its bytes are bounded where the log is read.
const ENTRIES_PER_MESSAGE: u64 = 1024;

/// Entries in one append to the log.
const ENTRIES_PER_APPEND: u64 = 1024;

/// Behind by more than so many entries, a follower is sent a snapshot even if the log still has them.
const LAG_MAX: u64 = 1_000_000;

/// How fast a group is. A failed leader is replaced after `election_max` and one election's time-out more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// Between two signs of life of a leader.
    pub heartbeat: Duration,
    /// Without a sign of life for the maximum and a random time between the two, a follower stands for election.
    pub election_min: Duration,
    /// See `election_min`.
    pub election_max: Duration,
    /// How long a proposal or a membership change may take before its outcome is called unknown.
    pub patience: Duration,
    /// How long a read waits for the majority to confirm that this is the leader.
    pub confirmation: Duration,
    /// How long a snapshot's transfer may make no progress.
    pub snapshot_idle: Duration,
}

impl Default for Timing {
    /// Of nodes within one site: some 1.2 seconds without writes when a leader is lost.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(120),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(600),
            patience: Duration::from_secs(10),
            confirmation: Duration::from_millis(400),
            snapshot_idle: Duration::from_secs(30),
        }
    }
}

impl Timing {
    /// Of groups with one replica, all in this process: there is nobody to wait for.
    pub fn alone() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            election_min: Duration::from_secs(3),
            election_max: Duration::from_secs(4),
            ..Self::default()
        }
    }
}

/// The settings of every group.
pub(crate) fn config(timing: &Timing) -> Result<Arc<Config>, openraft::ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "sealdex".to_owned(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        install_snapshot_timeout: millis(timing.snapshot_idle),
        max_payload_entries: ENTRIES_PER_MESSAGE,
        max_append_entries: Some(ENTRIES_PER_APPEND),
        replication_lag_threshold: LAG_MAX,
        snapshot_policy: SnapshotPolicy::Never,
        // What may be purged is told in so many words.
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        ..Config::default()
    };
    config.validate().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_acknowledged_writes_safe_is_set() {
        for timing in [Timing::default(), Timing::alone()] {
            let config = config(&timing).unwrap();
            assert_eq!(config.enable_leader_restore, Some(false));
            assert_eq!(config.enable_pre_vote, Some(true));
            assert_eq!(config.allow_log_reversion, Some(false));
            assert_eq!(config.snapshot_policy, SnapshotPolicy::Never);
        }
    }
}
