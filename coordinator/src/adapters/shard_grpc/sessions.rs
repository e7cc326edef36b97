//! Zone K: the sessions by which this coordinator uses the leases that it granted to shard nodes of other processes.

use parking_lot::Mutex;
use prost::Message;
use sealdex_core::{DeploymentId, NodeId};
use sealdex_crypto::{
    CALLS_PER_SESSION, CallContext, DataKeys, Direction, LeasePublicKey, SessionKey, random_16,
};
use sealdex_index::dataplane::{ShardError, Target};
use sealdex_peer::payload::{self, MALFORMED};
use sealdex_proto::shard as wire;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long a session is kept after its last use: as long as the node keeps the lease.
pub(super) const TERM: Duration = Duration::from_secs(60);

/// Whose turn it is.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The live sessions, and what leases are sealed to.
pub(super) struct Sessions {
    started: Instant,
    live: Mutex<HashMap<(NodeId, Target), Arc<Session>>>,
    lease_keys: Mutex<HashMap<NodeId, LeasePublicKey>>,
    /// The keys that may be lent for a target, as long as somebody else holds them.
    lendable: Mutex<HashMap<Target, Weak<DataKeys>>>,
    /// Held by whoever grants, so that the others who wait for the same lease find it granted.
    granting: Mutex<HashMap<(NodeId, Target), Turn>>,
}

/// One session: what its calls are sealed with, and how many there were.
pub(super) struct Session {
    id: [u8; 16],
    key: SessionKey,
    calls: AtomicU64,
    /// Milliseconds since the table was made.
    last_used: AtomicU64,
}

/// Where a sealed call goes.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) deployment: DeploymentId,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) method: &'static str,
    pub(super) target: Target,
}

impl Route {
    fn context(&self, call: u64) -> CallContext<'static> {
        CallContext {
            deployment: self.deployment,
            from: self.from,
            to: self.to,
            method: self.method,
            index: self.target.index,
            epoch: self.target.epoch,
            partition: self.target.partition,
            call,
        }
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            live: Mutex::default(),
            lease_keys: Mutex::default(),
            lendable: Mutex::default(),
            granting: Mutex::default(),
        }
    }

    /// The session of a lease, if one was granted and has calls left.
    pub(super) fn get(&self, node: NodeId, target: Target) -> Option<Arc<Session>> {
        let live = self.live.lock();
        let session = live.get(&(node, target))?;
        session.last_used.fetch_max(self.now(), Ordering::Relaxed);
        let spent = session.calls.load(Ordering::Relaxed) >= CALLS_PER_SESSION;
        (!spent).then(|| session.clone())
    }

    /// A lease was granted. Sessions that nobody used for long are dropped.
    pub(super) fn insert(&self, node: NodeId, target: Target, session: Session) -> Arc<Session> {
        let now = self.now();
        session.last_used.store(now, Ordering::Relaxed);
        let session = Arc::new(session);
        let mut live = self.live.lock();
        let term = TERM.as_millis() as u64;
        live.retain(|_, session| now.saturating_sub(session.last_used.load(Ordering::Relaxed)) < term);
        live.insert((node, target), session.clone());
        session
    }

    /// The node knows this session no more.
    pub(super) fn forget(&self, node: NodeId, target: Target, session: &Session) {
        let mut live = self.live.lock();
        if live
            .get(&(node, target))
            .is_some_and(|live| live.id == session.id)
        {
            live.remove(&(node, target));
        }
    }

    /// The right to grant this lease. Nobody waits for a grant to another node, which may be silent.
    pub(super) async fn granting(&self, node: NodeId, target: Target) -> tokio::sync::OwnedMutexGuard<()> {
        let place = {
            let mut granting = self.granting.lock();
            granting.retain(|_, place| Arc::strong_count(place) > 1);
            Arc::clone(granting.entry((node, target)).or_default())
        };
        place.lock_owned().await
    }

    pub(super) fn lease_key(&self, node: NodeId) -> Option<LeasePublicKey> {
        self.lease_keys.lock().get(&node).copied()
    }

    pub(super) fn set_lease_key(&self, node: NodeId, key: Option<LeasePublicKey>) {
        let mut keys = self.lease_keys.lock();
        match key {
            Some(key) => keys.insert(node, key),
            None => keys.remove(&node),
        };
    }

    /// These keys may be lent, to whichever nodes need them for calls, until whoever holds them lets go.
    pub(super) fn lend(&self, target: Target, keys: &Arc<DataKeys>) {
        let mut lendable = self.lendable.lock();
        lendable.retain(|_, keys| keys.strong_count() > 0);
        lendable.insert(target, Arc::downgrade(keys));
    }

    /// The keys that may be lent for a target.
    pub(super) fn lendable(&self, target: Target) -> Option<Arc<DataKeys>> {
        self.lendable.lock().get(&target)?.upgrade()
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

impl Session {
    /// A fresh one.
    pub(super) fn generate() -> Self {
        Self {
            id: random_16(),
            key: SessionKey::generate(),
            calls: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    pub(super) fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// For the lease that hands it over.
    pub(super) fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Seals a call under a number of its own.
    pub(super) fn seal(&self, route: &Route, message: &impl Message) -> wire::SealedCall {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let write = |out: &mut Vec<u8>| message.encode(out).expect("a vector grows");
        let context = route.context(call);
        let sealed = self
            .key
            .seal(Direction::Call, &context, message.encoded_len(), write);
        wire::SealedCall {
            target: Some(payload::target(&route.target)),
            session: self.id.to_vec().into(),
            call,
            sealed: sealed.into(),
        }
    }

    /// Opens the answer to call number `call`.
    pub(super) fn open<A: Message + Default>(
        &self,
        route: &Route,
        call: u64,
        reply: &wire::SealedReply,
    ) -> Result<A, ShardError> {
        let opened = self
            .key
            .open(Direction::Reply, &route.context(call), &reply.sealed);
        let opened = opened.map_err(|_| MALFORMED)?;
        A::decode(bytes::Bytes::from(opened)).map_err(|_| MALFORMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_core::{IndexId, KeyEpoch, PartitionId};
    use sealdex_crypto::Bundle;

    const TARGET: Target = Target {
        index: IndexId(1),
        epoch: KeyEpoch(1),
        other: None,
        partition: PartitionId(1),
    };

    #[test]
    fn a_session_is_one_nodes_and_one_targets() {
        let sessions = Sessions::new();
        sessions.insert(NodeId(1), TARGET, Session::generate());
        let session = sessions.get(NodeId(1), TARGET).unwrap();
        assert!(sessions.get(NodeId(2), TARGET).is_none());
        let elsewhere = Target {
            epoch: KeyEpoch(2),
            ..TARGET
        };
        assert!(sessions.get(NodeId(1), elsewhere).is_none());
        sessions.insert(NodeId(1), TARGET, Session::generate());
        sessions.forget(NodeId(1), TARGET, &session);
        let renewed = sessions.get(NodeId(1), TARGET).unwrap();
        assert_ne!(renewed.id, session.id, "what was renewed meanwhile stays");
        sessions.forget(NodeId(1), TARGET, &renewed);
        assert!(sessions.get(NodeId(1), TARGET).is_none());
    }

    #[tokio::test]
    async fn one_grants_a_lease_and_nobody_waits_for_another_nodes() {
        let sessions = Sessions::new();
        let first = sessions.granting(NodeId(1), TARGET).await;
        let elsewhere: Vec<_> = (2..1000).map(NodeId).collect();
        for node in elsewhere {
            drop(sessions.granting(node, TARGET).await);
        }
        let again = tokio::time::timeout(Duration::from_millis(10), sessions.granting(NodeId(1), TARGET));
        assert!(again.await.is_err());
        drop(first);
        sessions.granting(NodeId(1), TARGET).await;
    }

    #[test]
    fn keys_may_be_lent_as_long_as_somebody_holds_them() {
        let sessions = Sessions::new();
        let keys = Bundle::generate().partition_keys(TARGET.index, TARGET.epoch, TARGET.partition);
        let keys = Arc::new(keys);
        assert!(sessions.lendable(TARGET).is_none());
        sessions.lend(TARGET, &keys);
        assert!(sessions.lendable(TARGET).is_some());
        drop(keys);
        assert!(sessions.lendable(TARGET).is_none());
    }

    #[test]
    fn a_session_ends_before_its_nonces_could_meet() {
        let sessions = Sessions::new();
        let session = Session::generate();
        session.calls.store(CALLS_PER_SESSION, Ordering::Relaxed);
        sessions.insert(NodeId(1), TARGET, session);
        assert!(sessions.get(NodeId(1), TARGET).is_none());
    }
}
