//! A client of the shard that asks twice, over the wire and the node itself, and fails where the answers differ.

use async_trait::async_trait;
use parking_lot::Mutex;
use sealdex_coordinator::adapters::shard_grpc::ShardGrpc;
use sealdex_coordinator::ports::ShardClient;
use sealdex_core::{BlobLabel, ClusterLabel, Generation, IndexId, ItemLabel, Op, PartitionId};
use sealdex_crypto::DataKeys;
use sealdex_index::dataplane::*;
use sealdex_proto::partition::Entry;
use sealdex_shard::Node;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Answers that differ because somebody wrote in between are the same a moment later.
const TRIES: usize = 20;

pub(crate) struct Twin {
    wire: ShardGrpc,
    /// None while the node is down.
    node: Mutex<Option<Arc<Node>>>,
    /// How often each method was compared, or called if it changes something.
    pub(crate) calls: Mutex<BTreeMap<&'static str, usize>>,
}

impl Twin {
    pub(crate) fn new(wire: ShardGrpc, node: Arc<Node>) -> Self {
        Self {
            wire,
            node: Mutex::new(Some(node)),
            calls: Mutex::default(),
        }
    }

    /// Another run of the node, or none.
    pub(crate) fn set_node(&self, node: Option<Arc<Node>>) {
        *self.node.lock() = node;
    }

    fn node(&self) -> Arc<Node> {
        self.node.lock().clone().expect("the node runs")
    }

    fn count_call(&self, method: &'static str) {
        *self.calls.lock().entry(method).or_default() += 1;
    }

    /// What the wire says, if the node says the same.
    async fn same<T, S, W, N>(
        &self,
        method: &'static str,
        wire: impl Fn() -> W,
        node: impl Fn() -> N,
        seen: impl Fn(&T) -> S,
    ) -> Result<T, ShardError>
    where
        S: Debug + PartialEq,
        W: Future<Output = Result<T, ShardError>>,
        N: Future<Output = Result<T, ShardError>>,
    {
        self.count_call(method);
        for n in 1.. {
            let answer = wire().await;
            // The lease is granted by whoever asked, and over the wire alone. And a node that is down says nothing.
            if matches!(answer, Err(ShardError::LeaseRequired)) || self.node.lock().is_none() {
                return answer;
            }
            let direct = node().await;
            let (a, b) = (answer.as_ref().map(&seen), direct.as_ref().map(&seen));
            if a == b {
                return answer;
            }
            assert!(n < TRIES, "{method}: {a:?} over the wire, {b:?} from the node");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        unreachable!("the last try fails")
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn fetched(item: &Fetched) -> impl Debug + PartialEq + use<> {
    let vector = item.vector.as_deref().map(bits);
    (
        item.label,
        item.op,
        item.id.clone(),
        item.metadata.encode(),
        vector,
        item.contents.clone(),
        item.bytes,
    )
}

#[async_trait]
impl ShardClient for Twin {
    async fn grant(&self, target: Target, keys: Arc<DataKeys>) -> Result<(), ShardError> {
        self.count_call("grant");
        self.wire.grant(target, keys).await
    }

    async fn propose(
        &self,
        partition: PartitionId,
        entry: Entry,
        signature: Option<[u8; 64]>,
    ) -> Result<Applied, ShardError> {
        self.count_call("propose");
        self.wire.propose(partition, entry, signature).await
    }

    async fn scan(&self, request: ScanRequest) -> Result<ScanReply, ShardError> {
        let seen = |reply: &ScanReply| {
            let row = |row: &Candidate| (row.label, row.op, row.estimate.to_bits());
            let rows = |rows: &Vec<Candidate>| rows.iter().map(row).collect::<Vec<_>>();
            (
                reply.candidates.iter().map(rows).collect::<Vec<_>>(),
                reply.scored.clone(),
            )
        };
        let wire = || async { self.wire.scan(request.clone()).await };
        self.same(
            "scan",
            wire,
            || async { self.node().scan(request.clone()).await },
            seen,
        )
        .await
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveReply, ShardError> {
        let wire = || async { self.wire.resolve(request.clone()).await };
        let node = || async { self.node().resolve(request.clone()).await };
        self.same("resolve", wire, node, Clone::clone).await
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Vec<Option<Fetched>>, ShardError> {
        let seen = |found: &Vec<Option<Fetched>>| {
            found
                .iter()
                .map(|item| item.as_ref().map(fetched))
                .collect::<Vec<_>>()
        };
        let wire = || async { self.wire.fetch(request.clone()).await };
        self.same(
            "fetch",
            wire,
            || async { self.node().fetch(request.clone()).await },
            seen,
        )
        .await
    }

    async fn walk(&self, request: WalkRequest) -> Result<WalkReply, ShardError> {
        let seen = |page: &WalkReply| (page.items.iter().map(fetched).collect::<Vec<_>>(), page.next);
        let wire = || async { self.wire.walk(request.clone()).await };
        self.same(
            "walk",
            wire,
            || async { self.node().walk(request.clone()).await },
            seen,
        )
        .await
    }

    async fn blob(
        &self,
        target: Target,
        generation: Generation,
        label: BlobLabel,
    ) -> Result<Option<Vec<u8>>, ShardError> {
        let wire = || async { self.wire.blob(target, generation, label).await };
        let node = || async { self.node().blob(target, generation, label).await };
        self.same("blob", wire, node, Clone::clone).await
    }

    async fn cluster_rows(
        &self,
        target: Target,
        generation: Generation,
        cluster: ClusterLabel,
    ) -> Result<ClusterRows, ShardError> {
        let wire = || async { self.wire.cluster_rows(target, generation, cluster).await };
        let node = || async { self.node().cluster_rows(target, generation, cluster).await };
        let seen = |rows: &ClusterRows| (rows.blocks.clone(), rows.rows.clone());
        self.same("cluster_rows", wire, node, seen).await
    }

    async fn current(&self, target: Target, rows: Vec<(ItemLabel, Op)>) -> Result<Vec<bool>, ShardError> {
        let wire = || async { self.wire.current(target, rows.clone()).await };
        let node = || async { self.node().current(target, rows.clone()).await };
        self.same("current", wire, node, Clone::clone).await
    }

    async fn fold(&self, request: FoldRequest) -> Result<Applied, ShardError> {
        self.count_call("fold");
        self.wire.fold(request).await
    }

    async fn reseal(&self, request: ResealRequest) -> Result<Resealed, ShardError> {
        self.count_call("reseal");
        self.wire.reseal(request).await
    }

    async fn purge(&self, partition: PartitionId, index: IndexId) -> Result<(), ShardError> {
        self.count_call("purge");
        self.wire.purge(partition, index).await
    }

    async fn count(&self, partition: PartitionId, index: IndexId) -> Result<Counted, ShardError> {
        let wire = || async { self.wire.count(partition, index).await };
        self.same(
            "count",
            wire,
            || async { self.node().count(partition, index).await },
            |counted| counted.items,
        )
        .await
    }

    async fn inbox(&self, request: InboxRequest) -> Result<InboxReply, ShardError> {
        let seen = |reply: &InboxReply| {
            let item = |item: &WaitingItem| {
                let sealed = item.sealed.as_ref().map(|item| (item.epoch, item.sealed.clone()));
                (item.label, item.op, item.arrival, sealed)
            };
            let mut waiting: Vec<_> = reply.waiting.iter().map(item).collect();
            waiting.sort();
            (reply.bytes, reply.arrivals, reply.departed, waiting)
        };
        let wire = || async { self.wire.inbox(request).await };
        self.same("inbox", wire, || async { self.node().inbox(request).await }, seen)
            .await
    }

    async fn block_bytes(&self, partition: PartitionId, index: IndexId) -> Result<u64, ShardError> {
        let wire = || async { self.wire.block_bytes(partition, index).await };
        let node = || async { self.node().block_bytes(partition, index).await };
        self.same("block_bytes", wire, node, |n| *n).await
    }

    async fn check_room(&self, bytes: u64) -> Result<(), ShardError> {
        self.count_call("check_room");
        self.wire.check_room(bytes).await
    }

    async fn indexes(&self, partition: PartitionId) -> Result<Vec<IndexId>, ShardError> {
        let wire = || async { self.wire.indexes(partition).await };
        let seen = |indexes: &Vec<IndexId>| {
            let mut indexes = indexes.clone();
            indexes.sort();
            indexes
        };
        self.same(
            "indexes",
            wire,
            || async { self.node().indexes(partition).await },
            seen,
        )
        .await
    }
}
