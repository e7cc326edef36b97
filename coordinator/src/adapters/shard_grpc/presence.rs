//! Which nodes are there. One that cannot be reached is away, and so is one whose answers are late and which does not answer either when
//! it is asked for no more than a sign of life; each until it answers again. Knows nothing of partitions.

use parking_lot::Mutex;
use sealdex_core::NodeId;
use sealdex_peer::wire::shard::shard_client::ShardClient as Wire;
use sealdex_peer::{Channels, Lane};
use sealdex_proto::shard::LeaseKeyRequest;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Code;

/// A node of which nothing was heard for so long, although something was asked, is asked for a sign of life.
const LATE: Duration = Duration::from_millis(200);

/// One that gives none in such a time is away. Together less than an election takes, so that nobody waits for a node longer than for the
/// next leader.
const SIGN_MAX: Duration = Duration::from_millis(200);

/// How long a sign is waited for before it is asked for again: the question may be lost.
const SIGN_LOST: Duration = Duration::from_secs(1);

/// For so long after it went away nothing is asked of a node. Then somebody else leads what it led, unless it is back and nobody here has
/// noticed: connections to an address that was nobody's take their time.
const SHUNNED: Duration = Duration::from_secs(2);

/// Between two questions to one that cannot be reached.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// What is known of nodes. Share it in an `Arc`.
#[derive(Default)]
pub(super) struct Presence {
    nodes: Mutex<HashMap<NodeId, Known>>,
    /// Told when a node went away.
    left: watch::Sender<()>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    heard: Option<Instant>,
    /// Since when it is away.
    away: Option<Instant>,
    /// Somebody asks it for a sign of life until there is one.
    is_looked_for: bool,
}

impl Presence {
    /// Something came from the node: an answer, or a refusal.
    pub(super) fn heard(&self, node: NodeId) {
        let mut nodes = self.nodes.lock();
        let known = nodes.entry(node).or_default();
        known.heard = Some(Instant::now());
        known.away = None;
    }

    /// Whether it is away.
    pub(super) fn is_away(&self, node: NodeId) -> bool {
        self.away_since(node).is_some()
    }

    /// Whether it went away just now, so that nothing is to be asked of it.
    pub(super) fn is_shunned(&self, node: NodeId) -> bool {
        self.away_since(node)
            .is_some_and(|since| since.elapsed() < SHUNNED)
    }

    fn away_since(&self, node: NodeId) -> Option<Instant> {
        self.nodes.lock().get(&node)?.away
    }

    /// Waits until it is away.
    pub(super) async fn away(&self, node: NodeId) {
        let mut left = self.left.subscribe();
        while !self.is_away(node) {
            left.changed().await.expect("the sender is this table's own");
        }
    }

    /// Waits until nothing was heard of the node for too long, of which something is expected since then.
    pub(super) async fn late(&self, node: NodeId, since: Instant) {
        let mut last = since;
        loop {
            sleep_until(last + LATE).await;
            match self.last_heard(node) {
                Some(heard) if heard > last => last = heard,
                _ => return,
            }
        }
    }

    /// Sees to it that somebody asks the node for a sign of life until there is one. `is_away` if it could not be reached just now.
    pub(super) fn look_for(self: &Arc<Self>, channels: &Arc<Channels>, node: NodeId, is_away: bool) {
        // First: whoever looks for it already stops only while it is not away.
        if is_away {
            self.leave(node);
        }
        let was_looked_for = {
            let mut nodes = self.nodes.lock();
            std::mem::replace(&mut nodes.entry(node).or_default().is_looked_for, true)
        };
        if !was_looked_for {
            let (presence, channels) = (Arc::clone(self), Arc::clone(channels));
            tokio::spawn(async move { presence.ask_until_heard(&channels, node).await });
        }
    }

    async fn ask_until_heard(&self, channels: &Channels, node: NodeId) {
        loop {
            let asked = Instant::now();
            let sign = timeout(SIGN_LOST, sign_of_life(channels, node));
            tokio::pin!(sign);
            let answer = tokio::select! {
                answer = &mut sign => answer,
                () = sleep(SIGN_MAX) => {
                    if self.last_heard(node).is_none_or(|heard| heard < asked) {
                        self.leave(node);
                    }
                    sign.await
                }
            };
            match answer {
                Ok(Sign::Given) => self.heard(node),
                Ok(Sign::Unreachable) => {
                    self.leave(node);
                    sleep(ASK_EVERY).await;
                }
                // It is not part of the deployment any more; who asks it for something is told so.
                Ok(Sign::Unknown) => {
                    self.nodes.lock().remove(&node);
                    return;
                }
                Err(_) => {}
            }
            if self.is_found(node, asked) {
                return;
            }
        }
    }

    /// Whether the node is there, and was heard since it was asked. Then nobody looks for it any more: whoever takes it for away from
    /// here on has it looked for anew.
    fn is_found(&self, node: NodeId, asked: Instant) -> bool {
        let mut nodes = self.nodes.lock();
        let known = nodes.entry(node).or_default();
        let is_found = known.away.is_none() && known.heard.is_some_and(|heard| heard >= asked);
        known.is_looked_for &= !is_found;
        is_found
    }

    fn leave(&self, node: NodeId) {
        let was_away = {
            let mut nodes = self.nodes.lock();
            let away = &mut nodes.entry(node).or_default().away;
            away.replace(away.unwrap_or_else(Instant::now)).is_some()
        };
        if !was_away {
            tracing::info!(%node, "a shard node says nothing");
            self.left.send_replace(());
        }
    }

    fn last_heard(&self, node: NodeId) -> Option<Instant> {
        self.nodes.lock().get(&node)?.heard
    }
}

enum Sign {
    /// An answer, whichever.
    Given,
    Unreachable,
    /// There is no such node, as far as metadata says here.
    Unknown,
}

/// Asks what takes a node no time, concerns no partition, and passes no queue.
async fn sign_of_life(channels: &Channels, node: NodeId) -> Sign {
    let Ok(channel) = channels.to(node, Lane::Data) else {
        return Sign::Unknown;
    };
    match Wire::new(channel).lease_key(LeaseKeyRequest {}).await {
        Err(status) if status.code() == Code::Unavailable => Sign::Unreachable,
        _ => Sign::Given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    #[tokio::test(start_paused = true)]
    async fn a_node_is_late_when_nothing_was_heard_for_too_long() {
        let presence = Presence::default();
        let asked = Instant::now();
        let answers = async {
            for _ in 0..3 {
                sleep(LATE / 2).await;
                presence.heard(NODE);
            }
        };
        let late = async {
            presence.late(NODE, asked).await;
            asked.elapsed()
        };
        let ((), late) = tokio::join!(answers, late);
        assert!(late >= 3 * (LATE / 2) + LATE, "{late:?}");
        presence.late(NodeId(2), Instant::now()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_told_that_a_node_is_away_and_an_answer_brings_it_back() {
        let presence = Arc::new(Presence::default());
        let waiting = tokio::spawn({
            let presence = presence.clone();
            async move { presence.away(NODE).await }
        });
        sleep(LATE).await;
        presence.leave(NodeId(2));
        assert!(!waiting.is_finished());
        presence.leave(NODE);
        waiting.await.unwrap();
        assert!(presence.is_away(NODE) && presence.is_shunned(NODE));
        sleep(SHUNNED / 2).await;
        presence.leave(NODE);
        sleep(SHUNNED / 2).await;
        assert!(
            presence.is_away(NODE) && !presence.is_shunned(NODE),
            "but not for ever"
        );
        presence.heard(NODE);
        assert!(!presence.is_away(NODE));
        assert!(presence.is_away(NodeId(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_went_away_after_it_was_heard_is_looked_for_on() {
        let presence = Presence::default();
        presence.nodes.lock().entry(NODE).or_default().is_looked_for = true;
        let asked = Instant::now();
        presence.heard(NODE);
        presence.leave(NODE);
        assert!(!presence.is_found(NODE, asked));
        assert!(presence.nodes.lock()[&NODE].is_looked_for);
        presence.heard(NODE);
        assert!(presence.is_found(NODE, asked));
        assert!(!presence.nodes.lock()[&NODE].is_looked_for);
        sleep(LATE).await;
        assert!(
            !presence.is_found(NODE, Instant::now()),
            "that was before it was asked"
        );
    }
}
