//! The shard service over gRPC: reads a message, asks the node, writes a message. Behind a gate that lets coordinators in alone.
//!
//! What opens records comes sealed under a lease's session (`sealed`); the rest is labels, counts and sealed records. Reads are as good on
//! any replica, but cheapest on the one that leads: who does not say that any replica will do is sent there.

mod sealed;
mod together;

use crate::Node;
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use sealdex_core::{DeploymentId, IndexId, NodeId, PartitionId, limits};
use sealdex_crypto::{LeaseContext, LeaseKeyPair};
use sealdex_index::dataplane::ShardError;
use sealdex_peer::payload::{self, MALFORMED, status_of_error};
use sealdex_peer::wire::shard::shard_server::{Shard, ShardServer};
use sealdex_peer::{Caller, Gate, Role, allows_any_replica, tell_leader};
use sealdex_proto::shard as wire;
use sealdex_telemetry::{TRACEPARENT, serve};
use std::sync::Arc;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

/// A node as coordinators of other processes see it.
#[derive(Clone)]
pub struct ShardService {
    node: Arc<Node>,
    deployment: DeploymentId,
    me: NodeId,
    /// Drawn when the node started, and gone when it ends: a lease that was recorded opens for nobody afterwards.
    lease_key: Arc<LeaseKeyPair>,
}

type Reply<T> = Result<Response<T>, Status>;

impl ShardService {
    /// The service of `node`, which is node `me` of the deployment, for [`sealdex_peer::server`].
    pub fn new(
        node: Arc<Node>,
        deployment: DeploymentId,
        me: NodeId,
        gate: Gate,
    ) -> InterceptedService<ShardServer<Self>, Gate> {
        let service = ShardServer::new(Self {
            node,
            deployment,
            me,
            lease_key: Arc::new(LeaseKeyPair::generate()),
        });
        let service = service
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        InterceptedService::new(service, gate.only(Role::Coordinator))
    }

    /// Refuses what is for the leader if this node is not.
    fn check_wanted(&self, wanted: Wanted, partition: PartitionId) -> Result<(), ShardError> {
        match wanted {
            Wanted::Leader => self.node.check_leads(partition),
            Wanted::Any => Ok(()),
        }
    }

    /// An answer, which says who leads if it may come from somebody else.
    fn answered<T>(&self, wanted: Wanted, partition: PartitionId, answer: T) -> Response<T> {
        let mut response = Response::new(answer);
        if let Some(leader) = self.leader_to_tell(wanted, partition) {
            tell_leader(&mut response, leader);
        }
        response
    }

    fn leader_to_tell(&self, wanted: Wanted, partition: PartitionId) -> Option<NodeId> {
        match wanted {
            Wanted::Leader => None,
            Wanted::Any => self.node.leader(partition),
        }
    }

    /// Answers a question about a partition that needs no lease.
    async fn read<Q, T, F>(
        &self,
        method: &'static str,
        request: Request<Q>,
        partition: impl Fn(&Q) -> u32,
        answer: impl FnOnce(PartitionId, Q) -> F + Send,
    ) -> Reply<T>
    where
        Q: Send,
        F: Future<Output = Result<T, ShardError>> + Send,
    {
        let (wanted, traceparent) = (Wanted::by(&request), traceparent(&request));
        let request = request.into_inner();
        let read = async {
            let partition = payload::partition(partition(&request))?;
            self.check_wanted(wanted, partition)?;
            let answer = answer(partition, request).await?;
            Ok(self.answered(wanted, partition, answer))
        };
        let read = serve(method, traceparent.as_deref(), read).await;
        read.map_err(|error: ShardError| status_of_error(&error))
    }

    /// A lease that a replica does not need is not taken: keys lie in no more memory than they must.
    fn take_grant(
        &self,
        wanted: Wanted,
        from: NodeId,
        request: &wire::GrantRequest,
    ) -> Result<(), ShardError> {
        let target = payload::read_target(request.target.as_ref())?;
        self.check_wanted(wanted, target.partition)?;
        let session = request.session.as_ref().try_into().map_err(|_| MALFORMED)?;
        let context = LeaseContext {
            deployment: self.deployment,
            from,
            to: self.me,
            index: target.index,
            epoch: target.epoch,
            other: target.other,
            partition: target.partition,
        };
        // Most likely sealed to the key of an earlier run.
        let lease = self.lease_key.open(&context, &request.sealed);
        let lease = lease.map_err(|_| ShardError::LeaseRequired)?;
        self.node.grant_by_session(target, from, session, lease);
        Ok(())
    }
}

/// The trace that a call came with.
fn traceparent<T>(request: &Request<T>) -> Option<String> {
    let text = request.metadata().get(TRACEPARENT)?.to_str().ok()?;
    Some(text.to_owned())
}

/// Who calls, as the gate found out.
fn caller<T>(request: &Request<T>) -> Result<NodeId, Status> {
    let caller = request.extensions().get::<Caller>();
    caller
        .map(Caller::node)
        .ok_or_else(|| Status::internal("the service stands behind no gate"))
}

/// Which replica of a partition a call is for.
#[derive(Clone, Copy)]
enum Wanted {
    Leader,
    Any,
}

impl Wanted {
    fn by<T>(request: &Request<T>) -> Self {
        if allows_any_replica(request) {
            Self::Any
        } else {
            Self::Leader
        }
    }
}

fn replied<T>(outcome: Result<T, ShardError>) -> Reply<T> {
    outcome
        .map(Response::new)
        .map_err(|error| status_of_error(&error))
}

#[async_trait]
impl Shard for ShardService {
    async fn lease_key(&self, _: Request<wire::LeaseKeyRequest>) -> Reply<wire::LeaseKeyReply> {
        let public_key = self.lease_key.public_key().as_bytes().to_vec().into();
        Ok(Response::new(wire::LeaseKeyReply { public_key }))
    }

    async fn grant(&self, request: Request<wire::GrantRequest>) -> Reply<wire::Done> {
        let from = caller(&request)?;
        let granted = self.take_grant(Wanted::by(&request), from, request.get_ref());
        replied(granted.map(|()| wire::Done {}))
    }

    async fn propose(&self, request: Request<wire::ProposeRequest>) -> Reply<wire::Applied> {
        let traceparent = traceparent(&request);
        let request = request.into_inner();
        let proposed = async {
            let partition = payload::partition(request.partition)?;
            let entry = request.entry.ok_or(MALFORMED)?;
            let signature = match request.signature.len() {
                0 => None,
                _ => Some(request.signature.as_ref().try_into().map_err(|_| MALFORMED)?),
            };
            let applied = self.node.propose(partition, entry, signature).await?;
            Ok(payload::applied(&applied))
        };
        replied(serve("propose", traceparent.as_deref(), proposed).await)
    }

    async fn purge(&self, request: Request<wire::IndexInPartition>) -> Reply<wire::Done> {
        let purged = async {
            let (partition, index) = place(request.get_ref())?;
            self.node.purge(partition, index).await?;
            Ok(wire::Done {})
        };
        replied(purged.await)
    }

    async fn inbox(&self, request: Request<wire::InboxRequest>) -> Reply<wire::InboxReply> {
        self.read(
            "inbox",
            request,
            |request| request.partition,
            move |_, request| async move {
                let request = payload::read_inbox_request(&request)?;
                Ok(payload::inbox_reply(self.node.inbox(request).await?))
            },
        )
        .await
    }

    async fn block_bytes(&self, request: Request<wire::IndexInPartition>) -> Reply<wire::Number> {
        self.read(
            "block_bytes",
            request,
            |request| request.partition,
            move |partition, request| async move {
                let value = self.node.block_bytes(partition, IndexId(request.index)).await?;
                Ok(wire::Number { value })
            },
        )
        .await
    }

    async fn check_room(&self, request: Request<wire::Number>) -> Reply<wire::Done> {
        let checked = self.node.check_room(request.get_ref().value);
        replied(checked.map(|()| wire::Done {}))
    }

    async fn indexes(&self, request: Request<wire::IndexesRequest>) -> Reply<wire::IndexesReply> {
        self.read(
            "indexes",
            request,
            |request| request.partition,
            move |partition, _| async move {
                let indexes = self.node.indexes(partition).await?;
                Ok(wire::IndexesReply {
                    indexes: indexes.into_iter().map(|index| index.0).collect(),
                })
            },
        )
        .await
    }

    type TogetherStream = BoxStream<'static, Result<wire::Answer, Status>>;

    async fn together(&self, request: Request<wire::Questions>) -> Reply<Self::TogetherStream> {
        let from = caller(&request)?;
        let questions = request.into_inner().questions;
        Ok(Response::new(self.answers(from, questions)))
    }

    async fn walk(&self, request: Request<wire::SealedCall>) -> Reply<wire::SealedReply> {
        self.sealed("walk", request, move |target, message| async move {
            let request = payload::read_walk_request(target, &message)?;
            Ok(payload::walk_reply(self.node.walk(request).await?))
        })
        .await
    }

    async fn blob(&self, request: Request<wire::SealedCall>) -> Reply<wire::SealedReply> {
        self.sealed("blob", request, move |target, message| async move {
            let (generation, label) = payload::read_blob_request(&message)?;
            let piece = self.node.blob(target, generation, label).await?;
            Ok(payload::blob_reply(piece))
        })
        .await
    }

    async fn cluster_rows(&self, request: Request<wire::SealedCall>) -> Reply<wire::SealedReply> {
        self.sealed("cluster_rows", request, move |target, message| async move {
            let (generation, cluster) = payload::read_cluster_rows_request(&message)?;
            let rows = self.node.cluster_rows(target, generation, cluster).await?;
            Ok(payload::cluster_rows(&rows))
        })
        .await
    }

    async fn current(&self, request: Request<wire::SealedCall>) -> Reply<wire::SealedReply> {
        self.sealed("current", request, move |target, message| async move {
            let rows = payload::read_current_request(&message)?;
            Ok(payload::current_reply(&self.node.current(target, rows).await?))
        })
        .await
    }

    async fn fold(&self, request: Request<wire::SealedCall>) -> Reply<wire::SealedReply> {
        self.sealed("fold", request, move |target, message| async move {
            let request = payload::read_fold_request(target, &message)?;
            Ok(payload::applied(&self.node.fold(request).await?))
        })
        .await
    }

    async fn reseal(&self, request: Request<wire::SealedCall>) -> Reply<wire::SealedReply> {
        self.sealed("reseal", request, move |target, message| async move {
            let request = payload::read_reseal_request(target, &message)?;
            Ok(payload::resealed(&self.node.reseal(request).await?))
        })
        .await
    }
}

fn place(message: &wire::IndexInPartition) -> Result<(PartitionId, IndexId), ShardError> {
    Ok((payload::partition(message.partition)?, IndexId(message.index)))
}
