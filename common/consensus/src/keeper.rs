//! Keeps a group's log short. What the state machine has made durable may go from the log, up to what followers may still
//! ask for; when too much is not durable, the state machine is told to flush.

use crate::machine::{Machine, Progress};
use crate::raft::types::{Metrics, Raft};
use openraft::async_runtime::WatchReceiver;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// Between two attempts to purge: openraft does not purge what it is sending.
const ATTEMPT: Duration = Duration::from_millis(50);

/// How much log there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upkeep {
    /// After so many bytes that were applied, it is looked at.
    pub(crate) look: u64,
    /// Bytes that may have to be applied again after a crash.
    pub(crate) unflushed_max: u64,
    /// Bytes kept for followers that were away for a while. Who was away for longer is sent a snapshot.
    pub(crate) kept: u64,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            look: 8 * MIB,
            unflushed_max: 64 * MIB,
            kept: 64 * MIB,
        }
    }
}

pub(crate) struct Keeper {
    pub(crate) raft: Raft,
    pub(crate) machine: Machine,
    pub(crate) progress: Arc<Progress>,
    pub(crate) upkeep: Upkeep,
}

impl Keeper {
    /// Ends with an error when the group is closed.
    pub(crate) async fn run(self) -> io::Result<()> {
        let (mut looked_at, mut flushed_at) = (0, 0);
        // What index the log had at which number of bytes.
        let mut milestones = VecDeque::from([(self.applied(), 0)]);
        loop {
            self.progress.grown.notified().await;
            let bytes = self.progress.bytes.load(Ordering::Relaxed);
            if bytes - looked_at < self.upkeep.look {
                continue;
            }
            looked_at = bytes;
            milestones.push_back((self.applied(), bytes));
            while milestones
                .get(1)
                .is_some_and(|(_, then)| bytes - then >= self.upkeep.kept)
            {
                milestones.pop_front();
            }
            if bytes - flushed_at >= self.upkeep.unflushed_max {
                self.machine.call(|machine| machine.flush()).await?;
                flushed_at = bytes;
            }
            let upto = match milestones.front() {
                _ if self.is_alone() => u64::MAX,
                Some((index, then)) if bytes - then >= self.upkeep.kept => *index,
                _ => continue,
            };
            self.purge(upto).await?;
        }
    }

    /// Lets openraft purge what is durable, up to an index.
    async fn purge(&self, upto: u64) -> io::Result<()> {
        self.raft.trigger().snapshot().await.map_err(io::Error::other)?;
        let durable = self.machine.call(|machine| machine.durable()).await?;
        let Some(durable) = durable.and_then(|mark| mark.last()) else {
            return Ok(());
        };
        // What was built meanwhile may be a little less: then a little more stays for the next time.
        self.raft
            .trigger()
            .purge_log(durable.index.min(upto))
            .await
            .map_err(io::Error::other)
    }

    fn applied(&self) -> u64 {
        self.progress.applied.borrow().saturating_sub(1)
    }

    fn is_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().membership_config.nodes().count() <= 1
    }
}

/// Makes everything that is applied durable, and purges it from the log. Gives up when the future is dropped.
pub(crate) async fn purge_applied(raft: &Raft, machine: &Machine) -> io::Result<()> {
    let durable = machine
        .call(|machine| {
            machine.flush()?;
            machine.durable()
        })
        .await?;
    let Some(last) = durable.and_then(|mark| mark.last()) else {
        return Ok(());
    };
    let reached = |at: fn(&Metrics) -> Option<u64>| {
        let metrics = raft.metrics();
        let at = at(&metrics.borrow_watched());
        at >= Some(last.index)
    };
    while !reached(|metrics| metrics.snapshot.map(|id| id.index)) {
        raft.trigger().snapshot().await.map_err(io::Error::other)?;
        tokio::time::sleep(ATTEMPT).await;
    }
    while !reached(|metrics| metrics.purged.map(|id| id.index)) {
        raft.trigger()
            .purge_log(last.index)
            .await
            .map_err(io::Error::other)?;
        tokio::time::sleep(ATTEMPT).await;
    }
    Ok(())
}
