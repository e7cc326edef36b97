//! Zone K: the leases by which this node may open records, and their end. Keys are held here and nowhere else for
//! longer than a request; they are zeroised when the last request that uses them is done. So are those of the sessions
//! by which coordinators of other processes use a lease.

use crate::session::{Session, SessionId};
use parking_lot::RwLock;
use sealdex_core::{IndexId, NodeId};
use sealdex_crypto::DataKeys;
use sealdex_index::dataplane::{ShardError, Target};
use sealdex_telemetry::metrics;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long a lease lives after it was last used.
const TERM: Duration = Duration::from_secs(60);

/// How often expired leases are looked for: a key outlives its lease by this much at most.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The leases of a node.
pub(crate) struct Leases {
    table: Arc<Table>,
    /// Ends the sweeper when it is dropped.
    _stop_sweeping: mpsc::Sender<()>,
}

impl Leases {
    /// An empty table, and a thread that drops what expires.
    pub(crate) fn new() -> std::io::Result<Self> {
        let table = Arc::new(Table {
            started: Instant::now(),
            leases: RwLock::default(),
        });
        metrics().at_scrape(&table, |table| metrics().leases.hold(table.leases.read().len()));
        let (stop, stopped) = mpsc::channel();
        std::thread::Builder::new().name("leases".to_owned()).spawn({
            let table = Arc::clone(&table);
            move || {
                while stopped.recv_timeout(SWEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
                    table.sweep(Instant::now());
                }
            }
        })?;
        Ok(Self {
            table,
            _stop_sweeping: stop,
        })
    }

    /// Grants a lease, or renews it with other keys.
    pub(crate) fn grant(&self, target: Target, keys: Arc<DataKeys>) {
        metrics().leases.granted();
        self.table.grant(target, keys, TERM, None, Instant::now());
    }

    /// The same for a coordinator of another process, which will use it by `session`. The lease ends at its term after its
    /// last use, or sooner.
    pub(crate) fn grant_by_session(
        &self,
        target: Target,
        keys: Arc<DataKeys>,
        term: Duration,
        session: (NodeId, Arc<Session>),
    ) {
        metrics().leases.granted();
        let term = term.min(TERM);
        self.table
            .grant(target, keys, term, Some(session), Instant::now());
    }

    /// The session by which a coordinator uses the lease for `target`. That alone does not renew the lease.
    pub(crate) fn session(
        &self,
        target: Target,
        holder: NodeId,
        id: &SessionId,
    ) -> Result<Arc<Session>, ShardError> {
        let session = self.table.session(target, holder, Instant::now());
        session.filter(|session| session.id() == id).ok_or_else(required)
    }

    /// The keys for `target`, whose lease is renewed by this.
    pub(crate) fn keys(&self, target: Target) -> Result<Arc<DataKeys>, ShardError> {
        self.table.keys(target, Instant::now()).ok_or_else(required)
    }

    /// How many there are.
    pub(crate) fn held(&self) -> usize {
        self.table.leases.read().len()
    }

    /// Ends all leases of an index at once.
    pub(crate) fn revoke(&self, index: IndexId) {
        let revoked = end(&mut self.table.leases.write(), |target, _| target.index == index);
        metrics().leases.revoked(revoked);
    }
}

/// There is no live lease for a call.
fn required() -> ShardError {
    metrics().leases.required();
    ShardError::LeaseRequired
}

struct Table {
    started: Instant,
    leases: RwLock<HashMap<Target, Lease>>,
}

/// Whether a lease for `earlier` ends when one for `later` is granted: the index has gone on between its key epochs. A
/// request that is still at the earlier one asks for its lease again.
fn precedes(earlier: &Target, later: &Target) -> bool {
    // From one epoch alone, to the next one readable, to it sealed under, to it alone.
    let stage = |target: &Target| {
        let both = target.other.map_or(target.epoch, |other| other.max(target.epoch));
        (both, target.epoch, target.other.is_none())
    };
    (earlier.index, earlier.partition) == (later.index, later.partition) && stage(earlier) < stage(later)
}

/// Ends the leases that `which` tells; returns how many.
fn end(leases: &mut HashMap<Target, Lease>, which: impl Fn(&Target, &Lease) -> bool) -> usize {
    let before = leases.len();
    leases.retain(|target, lease| !which(target, lease));
    before - leases.len()
}

struct Lease {
    keys: Arc<DataKeys>,
    /// How long it lives after it was last used.
    term: Duration,
    /// Milliseconds since the table was made. Atomic, so that use needs no exclusive lock.
    last_used: AtomicU64,
    /// One for each coordinator of another process.
    sessions: HashMap<NodeId, Arc<Session>>,
}

impl Table {
    fn grant(
        &self,
        target: Target,
        keys: Arc<DataKeys>,
        term: Duration,
        session: Option<(NodeId, Arc<Session>)>,
        now: Instant,
    ) {
        let now = self.millis(now);
        let mut leases = self.leases.write();
        let revoked = end(&mut leases, |other, _| precedes(other, &target));
        metrics().leases.revoked(revoked);
        // Other coordinators go on using theirs, unless it has ended.
        let before = leases.remove(&target).filter(|lease| !lease.is_expired(now));
        let mut sessions = before.map(|lease| lease.sessions).unwrap_or_default();
        sessions.extend(session);
        let lease = Lease {
            keys,
            term,
            last_used: AtomicU64::new(now),
            sessions,
        };
        leases.insert(target, lease);
    }

    fn session(&self, target: Target, holder: NodeId, now: Instant) -> Option<Arc<Session>> {
        let leases = self.leases.read();
        let lease = leases.get(&target)?;
        let live = !lease.is_expired(self.millis(now));
        live.then(|| lease.sessions.get(&holder).cloned()).flatten()
    }

    fn keys(&self, target: Target, now: Instant) -> Option<Arc<DataKeys>> {
        let leases = self.leases.read();
        let lease = leases.get(&target)?;
        let now = self.millis(now);
        if lease.is_expired(now) {
            return None;
        }
        lease.last_used.fetch_max(now, Ordering::Relaxed);
        Some(Arc::clone(&lease.keys))
    }

    fn sweep(&self, now: Instant) {
        let now = self.millis(now);
        if self.leases.read().values().any(|lease| lease.is_expired(now)) {
            let expired = end(&mut self.leases.write(), |_, lease| lease.is_expired(now));
            metrics().leases.expired(expired);
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }
}

impl Lease {
    fn is_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.last_used.load(Ordering::Relaxed)) >= self.term.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_core::{KeyEpoch, PartitionId};
    use sealdex_crypto::{Bundle, SessionKey};

    fn target(index: u64) -> Target {
        Target {
            index: IndexId(index),
            epoch: KeyEpoch(1),
            other: None,
            partition: PartitionId(3),
        }
    }

    fn keys() -> Arc<DataKeys> {
        let Target {
            index,
            epoch,
            partition,
            ..
        } = target(1);
        Arc::new(Bundle::generate().partition_keys(index, epoch, partition))
    }

    #[test]
    fn use_renews_and_disuse_ends_a_lease() {
        let start = Instant::now();
        let table = Table {
            started: start,
            leases: RwLock::default(),
        };
        let keys = keys();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(table.keys(target(1), at(0)).is_none());
        table.grant(target(1), Arc::clone(&keys), TERM, None, at(0));
        assert!(table.keys(target(1), at(59)).is_some());
        assert!(
            table
                .keys(
                    Target {
                        epoch: KeyEpoch(2),
                        ..target(1)
                    },
                    at(59)
                )
                .is_none()
        );
        assert!(
            table
                .keys(
                    Target {
                        partition: PartitionId(4),
                        ..target(1)
                    },
                    at(59)
                )
                .is_none()
        );
        table.sweep(at(118));
        assert!(table.keys(target(1), at(118)).is_some());
        assert!(
            table.keys(target(1), at(178)).is_none(),
            "expired, though not swept yet"
        );
        assert_eq!(Arc::strong_count(&keys), 2);
        table.sweep(at(178));
        assert_eq!(Arc::strong_count(&keys), 1, "the keys are gone");
    }

    #[test]
    fn a_lease_ends_when_its_index_goes_on_to_other_epochs() {
        let stages = [(1, None), (1, Some(2)), (2, Some(1)), (2, None), (2, Some(3))];
        let stages = stages.map(|(epoch, other)| Target {
            epoch: KeyEpoch(epoch),
            other: other.map(KeyEpoch),
            ..target(1)
        });
        let leases = Leases::new().unwrap();
        leases.grant(target(2), keys());
        for (n, stage) in stages.iter().enumerate() {
            leases.grant(*stage, keys());
            for earlier in &stages[..n] {
                assert!(leases.keys(*earlier).is_err());
            }
            assert!(leases.keys(*stage).is_ok());
        }
        leases.grant(stages[0], keys());
        assert!(
            leases.keys(stages[4]).is_ok(),
            "who comes late ends nobody's lease"
        );
        assert!(leases.keys(target(2)).is_ok());
    }

    #[test]
    fn an_index_loses_all_its_leases_at_once() {
        let leases = Leases::new().unwrap();
        for index in [1, 2] {
            leases.grant(target(index), keys());
            leases.grant(
                Target {
                    partition: PartitionId(9),
                    ..target(index)
                },
                keys(),
            );
        }
        leases.revoke(IndexId(1));
        assert!(matches!(leases.keys(target(1)), Err(ShardError::LeaseRequired)));
        assert!(leases.keys(target(2)).is_ok());
    }

    fn session(holder: u64) -> (NodeId, Arc<Session>) {
        let session = Session::new([holder as u8; 16], SessionKey::generate());
        (NodeId(holder), Arc::new(session))
    }

    #[test]
    fn sessions_end_with_their_lease() {
        let start = Instant::now();
        let table = Table {
            started: start,
            leases: RwLock::default(),
        };
        let at = |seconds| start + Duration::from_secs(seconds);
        let (term, first, second) = (Duration::from_secs(10), session(1), session(2));
        table.grant(target(1), keys(), term, Some(first.clone()), at(0));
        assert!(table.session(target(1), NodeId(1), at(9)).is_some());
        assert!(table.session(target(1), NodeId(2), at(9)).is_none());
        assert!(table.session(target(2), NodeId(1), at(9)).is_none());
        table.grant(target(1), keys(), term, Some(second.clone()), at(9));
        assert!(table.session(target(1), NodeId(1), at(18)).is_some());
        assert!(table.keys(target(1), at(19)).is_none(), "its term is its own");
        assert!(table.session(target(1), NodeId(1), at(19)).is_none());
        table.sweep(at(19));
        for (_, session) in [first, second] {
            assert_eq!(Arc::strong_count(&session), 1, "the session's key is gone");
        }
        table.grant(target(1), keys(), term, Some(session(1)), at(20));
        table.grant(target(1), keys(), term, None, at(40));
        assert!(
            table.session(target(1), NodeId(1), at(40)).is_none(),
            "a new lease revives no session of one that had ended"
        );
    }

    #[test]
    fn no_coordinator_gets_more_than_the_term_of_a_node() {
        let leases = Leases::new().unwrap();
        let session = session(1);
        let id = *session.1.id();
        leases.grant_by_session(target(1), keys(), Duration::from_secs(255), session);
        assert_eq!(leases.table.leases.read()[&target(1)].term, TERM);
        assert!(leases.session(target(1), NodeId(1), &id).is_ok());
        assert!(matches!(
            leases.session(target(1), NodeId(1), &[9; 16]),
            Err(ShardError::LeaseRequired)
        ));
        leases.revoke(IndexId(1));
        assert!(leases.session(target(1), NodeId(1), &id).is_err());
    }
}
