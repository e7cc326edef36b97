//! A network between hosts in one process. What it does to messages, and when, follows from its seed.

use super::rng::Rng;
use crate::{Host, NodeId, Peers, Unreachable};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) struct Net {
    hosts: Mutex<HashMap<NodeId, Arc<Host>>>,
    faults: Mutex<Faults>,
    rng: Mutex<Rng>,
    pub(super) snapshots: AtomicU64,
}

/// What may happen to a message.
#[derive(Clone, Default)]
pub(super) struct Faults {
    /// Nothing arrives from the first at the second.
    pub(super) cut: HashSet<(NodeId, NodeId)>,
    /// One in so many gets lost; 0 for none.
    pub(super) lost_one_in: u64,
    /// It takes up to so many milliseconds.
    pub(super) delay_max: u64,
    /// One in so many comes twice; 0 for none.
    pub(super) twice_one_in: u64,
}

impl Net {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            hosts: Mutex::default(),
            faults: Mutex::default(),
            rng: Mutex::new(Rng::new(seed)),
            snapshots: AtomicU64::new(0),
        })
    }

    pub(super) fn peers(self: &Arc<Self>, from: NodeId) -> Arc<dyn Peers> {
        let net = Arc::clone(self);
        Arc::new(Way { from, net })
    }

    pub(super) fn connect(&self, host: &Arc<Host>) {
        self.hosts.lock().insert(host.node(), Arc::clone(host));
    }

    pub(super) fn disconnect(&self, node: NodeId) {
        self.hosts.lock().remove(&node);
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock());
    }

    /// Nothing arrives at or from `node`.
    pub(super) fn isolate(&self, node: NodeId, others: impl IntoIterator<Item = NodeId>) {
        let mut faults = self.faults.lock();
        for other in others {
            faults.cut.insert((node, other));
            faults.cut.insert((other, node));
        }
    }

    /// One way; `None` if the message is lost.
    async fn carry(&self, from: NodeId, to: NodeId) -> Option<()> {
        let (lost, delay) = {
            let (faults, mut rng) = (self.faults.lock(), self.rng.lock());
            let lost =
                faults.cut.contains(&(from, to)) || faults.lost_one_in > 0 && rng.one_in(faults.lost_one_in);
            (lost, rng.below(faults.delay_max * 1000 + 1))
        };
        tokio::time::sleep(Duration::from_micros(delay)).await;
        (!lost).then_some(())
    }

    fn is_doubled(&self) -> bool {
        let one_in = self.faults.lock().twice_one_in;
        one_in > 0 && self.rng.lock().one_in(one_in)
    }

    fn host(&self, node: NodeId) -> Result<Arc<Host>, Unreachable> {
        let host = self.hosts.lock().get(&node).map(Arc::clone);
        host.ok_or_else(|| Unreachable("connection refused".to_owned()))
    }
}

/// From one node to all.
struct Way {
    from: NodeId,
    net: Arc<Net>,
}

/// Of a message that is lost: nobody answers, ever.
async fn never<T>() -> T {
    std::future::pending().await
}

#[async_trait]
impl Peers for Way {
    async fn call(&self, to: NodeId, message: Bytes, deadline: Duration) -> Result<Bytes, Unreachable> {
        let call = async {
            let host = self.net.host(to)?;
            if self.net.carry(self.from, to).await.is_none() {
                never::<()>().await;
            }
            if self.net.is_doubled() {
                // The second answer is what the sender sees.
                let _ = host.receive(self.from, message.clone()).await;
            }
            let answer = host.receive(self.from, message).await;
            drop(host);
            if self.net.carry(to, self.from).await.is_none() {
                never::<()>().await;
            }
            answer.map_err(|error| Unreachable(error.to_string()))
        };
        let called = tokio::time::timeout(deadline, call).await;
        called.unwrap_or_else(|_| Err(Unreachable("deadline".to_owned())))
    }

    async fn send_snapshot(
        &self,
        to: NodeId,
        chunks: BoxStream<'static, io::Result<Bytes>>,
        _: Duration,
    ) -> Result<Bytes, Unreachable> {
        let host = self.net.host(to)?;
        if self.net.carry(self.from, to).await.is_none() {
            return Err(Unreachable("lost".to_owned()));
        }
        self.net.snapshots.fetch_add(1, Ordering::Relaxed);
        let answer = host.receive_snapshot(self.from, chunks).await;
        drop(host);
        if self.net.carry(to, self.from).await.is_none() {
            return Err(Unreachable("lost".to_owned()));
        }
        answer.map_err(|error| Unreachable(error.to_string()))
    }
}
