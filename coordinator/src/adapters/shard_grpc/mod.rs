//! The shards in other processes: each call finds the node that leads its partition, waits for one while there is none, is sealed if it
//! concerns plaintext, and is repeated elsewhere where that is safe.

mod asking;
mod attempts;
mod effort;
mod hedging;
mod link;
mod presence;
mod routes;
mod sealing;
mod sessions;
mod together;

pub use routes::Routes;

use crate::ports::ShardClient;
use async_trait::async_trait;
use effort::{Effort, MAINTAIN, PURGE_MAX, READ, ROOM_ANSWER_MAX, write_effort};
use futures_util::future::join_all;
use hedging::Hedges;
use link::Link;
use sealdex_core::{BlobLabel, ClusterLabel, Generation, IndexId, ItemLabel, Op, PartitionId, limits};
use sealdex_crypto::DataKeys;
use sealdex_index::dataplane::{
    Applied, ClusterRows, Counted, FetchRequest, Fetched, FoldRequest, InboxReply, InboxRequest,
    ResealRequest, Resealed, ResolveReply, ResolveRequest, ScanReply, ScanRequest, ShardError, Target,
    WalkReply, WalkRequest,
};
use sealdex_peer::Channels;
use sealdex_peer::payload::{self, MALFORMED};
use sealdex_proto::partition::Entry;
use sealdex_proto::shard as wire;
use sealdex_proto::shard::answer::Told;
use sealdex_proto::shard::question::Asked as Question;
use sessions::Sessions;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The coordinator's port on shard nodes of other processes.
pub struct ShardGrpc {
    link: Link,
    routes: Arc<Routes>,
    sessions: Sessions,
    hedges: Hedges,
    /// Places of calls that wait until their partition has a leader.
    waiting: Semaphore,
}

impl ShardGrpc {
    /// Over `channels`, to whom `routes` names.
    pub fn new(channels: Arc<Channels>, routes: Arc<Routes>) -> Self {
        Self {
            link: Link::new(channels),
            routes,
            sessions: Sessions::new(),
            hedges: Hedges::new(),
            waiting: Semaphore::new(limits::CALLS_WAITING_MAX),
        }
    }
}

fn question(partition: PartitionId, call: &'static str, effort: Effort) -> asking::Question {
    asking::Question {
        partition,
        call,
        effort,
    }
}

fn place(partition: PartitionId, index: IndexId) -> wire::IndexInPartition {
    wire::IndexInPartition {
        index: index.0,
        partition: u32::from(partition.0),
    }
}

#[async_trait]
impl ShardClient for ShardGrpc {
    /// The keys go to a node when it is asked for something that needs them.
    async fn grant(&self, target: Target, keys: Arc<DataKeys>) -> Result<(), ShardError> {
        self.sessions.lend(target, &keys);
        Ok(())
    }

    async fn propose(
        &self,
        partition: PartitionId,
        entry: Entry,
        signature: Option<[u8; 64]>,
    ) -> Result<Applied, ShardError> {
        let effort = write_effort(&entry);
        let request = wire::ProposeRequest {
            partition: u32::from(partition.0),
            entry: Some(entry),
            signature: signature
                .map_or_else(Vec::new, |signature| signature.to_vec())
                .into(),
        };
        let applied = self.ask(question(partition, "propose", effort), |mut asked| {
            let request = asked.request(request.clone());
            async move {
                let answer = asked.wire.propose(request).await;
                asked.said(answer)
            }
        });
        payload::read_applied(&applied.await?)
    }

    async fn scan(&self, request: ScanRequest) -> Result<ScanReply, ShardError> {
        let message = payload::scan_request(&request);
        let reply = self.sealed("scan", request.target, READ, message, |asked, call| async move {
            self.link.sealed_together(&asked, Question::Scan(call)).await
        });
        payload::read_scan_reply(&reply.await?)
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveReply, ShardError> {
        let message = payload::resolve_request(&request);
        let reply = self.sealed(
            "resolve",
            request.target,
            READ,
            message,
            |asked, call| async move { self.link.sealed_together(&asked, Question::Resolve(call)).await },
        );
        payload::read_resolve_reply(&reply.await?)
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Vec<Option<Fetched>>, ShardError> {
        let message = payload::fetch_request(&request);
        let reply = self.sealed("fetch", request.target, READ, message, |asked, call| async move {
            self.link.sealed_together(&asked, Question::Fetch(call)).await
        });
        payload::read_fetch_reply(reply.await?)
    }

    async fn walk(&self, request: WalkRequest) -> Result<WalkReply, ShardError> {
        let message = payload::walk_request(&request);
        let reply = self.sealed(
            "walk",
            request.target,
            READ,
            message,
            |mut asked, call| async move {
                let request = asked.request(call);
                let answer = asked.wire.walk(request).await;
                asked.said(answer)
            },
        );
        payload::read_walk_reply(reply.await?)
    }

    async fn blob(
        &self,
        target: Target,
        generation: Generation,
        label: BlobLabel,
    ) -> Result<Option<Vec<u8>>, ShardError> {
        let message = payload::blob_request(generation, &label);
        let reply = self.sealed("blob", target, READ, message, |mut asked, call| async move {
            let request = asked.request(call);
            let answer = asked.wire.blob(request).await;
            asked.said(answer)
        });
        Ok(payload::read_blob_reply(reply.await?))
    }

    async fn cluster_rows(
        &self,
        target: Target,
        generation: Generation,
        cluster: ClusterLabel,
    ) -> Result<ClusterRows, ShardError> {
        let message = payload::cluster_rows_request(generation, &cluster);
        let reply = self.sealed(
            "cluster_rows",
            target,
            READ,
            message,
            |mut asked, call| async move {
                let request = asked.request(call);
                let answer = asked.wire.cluster_rows(request).await;
                asked.said(answer)
            },
        );
        payload::read_cluster_rows(&reply.await?)
    }

    async fn current(&self, target: Target, rows: Vec<(ItemLabel, Op)>) -> Result<Vec<bool>, ShardError> {
        let message = payload::current_request(&rows);
        let reply = self.sealed("current", target, READ, message, |mut asked, call| async move {
            let request = asked.request(call);
            let answer = asked.wire.current(request).await;
            asked.said(answer)
        });
        payload::read_current_reply(&reply.await?)
    }

    async fn fold(&self, request: FoldRequest) -> Result<Applied, ShardError> {
        let message = payload::fold_request(&request);
        let reply = self.sealed(
            "fold",
            request.target,
            MAINTAIN,
            message,
            |mut asked, call| async move {
                let request = asked.request(call);
                let answer = asked.wire.fold(request).await;
                asked.said(answer)
            },
        );
        payload::read_applied(&reply.await?)
    }

    async fn reseal(&self, request: ResealRequest) -> Result<Resealed, ShardError> {
        let message = payload::reseal_request(&request);
        let reply = self.sealed(
            "reseal",
            request.target,
            MAINTAIN,
            message,
            |mut asked, call| async move {
                let request = asked.request(call);
                let answer = asked.wire.reseal(request).await;
                asked.said(answer)
            },
        );
        payload::read_resealed(&reply.await?)
    }

    /// Every replica has files of its own, so each is asked, and none may be left out.
    async fn purge(&self, partition: PartitionId, index: IndexId) -> Result<(), ShardError> {
        let until = Instant::now() + PURGE_MAX;
        let purges = self.routes.replicas(partition).into_iter().map(|node| {
            self.link.ask(node, until, None, move |mut asked| async move {
                let request = asked.request(place(partition, index));
                let answer = asked.wire.purge(request).await;
                asked.said(answer)
            })
        });
        let purged = join_all(purges)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        // Of a partition that nobody is known to hold, nothing is known to be purged.
        if purged.is_empty() {
            Err(ShardError::Busy)
        } else {
            Ok(())
        }
    }

    async fn count(&self, partition: PartitionId, index: IndexId) -> Result<Counted, ShardError> {
        let counted = self.ask(question(partition, "count", READ), |asked| async move {
            let here = Question::Count(place(partition, index));
            match self.link.together(&asked, here).await? {
                Told::Counted(counted) => Ok(payload::read_counted(&counted)),
                Told::Sealed(_) | Told::Error(_) => Err(MALFORMED),
            }
        });
        counted.await
    }

    async fn inbox(&self, request: InboxRequest) -> Result<InboxReply, ShardError> {
        let listed = self.ask(question(request.partition, "inbox", READ), |mut asked| {
            let request = asked.request(payload::inbox_request(&request));
            async move {
                let answer = asked.wire.inbox(request).await;
                asked.said(answer)
            }
        });
        payload::read_inbox_reply(listed.await?)
    }

    async fn block_bytes(&self, partition: PartitionId, index: IndexId) -> Result<u64, ShardError> {
        let counted = self.ask(question(partition, "block_bytes", READ), |mut asked| {
            let request = asked.request(place(partition, index));
            async move {
                let answer = asked.wire.block_bytes(request).await;
                asked.said(answer)
            }
        });
        Ok(counted.await?.value)
    }

    /// Every node that answers soon is asked. One that does not will refuse for itself what it cannot take.
    async fn check_room(&self, bytes: u64) -> Result<(), ShardError> {
        let until = Instant::now() + ROOM_ANSWER_MAX;
        let nodes = self.routes.nodes().into_iter();
        let checks = nodes.filter(|node| !self.link.is_away(*node)).map(async |node| {
            let asked = self.link.ask(node, until, None, move |mut asked| async move {
                let request = asked.request(wire::Number { value: bytes });
                let answer = asked.wire.check_room(request).await;
                asked.said(answer)
            });
            asked.await
        });
        let full = |checked: &Result<_, _>| matches!(checked, Err(ShardError::DiskFull { .. }));
        match join_all(checks).await.into_iter().find(full) {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    async fn indexes(&self, partition: PartitionId) -> Result<Vec<IndexId>, ShardError> {
        let listed = self.ask(question(partition, "indexes", READ), |mut asked| {
            let request = asked.request(wire::IndexesRequest {
                partition: u32::from(partition.0),
            });
            async move {
                let answer = asked.wire.indexes(request).await;
                asked.said(answer)
            }
        });
        Ok(listed.await?.indexes.into_iter().map(IndexId).collect())
    }
}
