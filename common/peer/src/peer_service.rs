//! The server's side of what consensus says, and of joining: admits the caller and hands the bytes on.

use crate::gate::{Gate, certified};
use crate::identity::Identity;
use crate::wire::peer::peer_server::{Peer, PeerServer};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use sealdex_core::{NodeId, limits};
use sealdex_proto::peer::raft_answer::Told;
use sealdex_proto::peer::{
    JoinReply, JoinRequest, RaftAnswer, RaftMessage, RaftMessages, Refusal, SnapshotChunk,
};
use std::io;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// A snapshot as it arrives. Ends with an error if the sender gave up.
pub type SnapshotChunks = BoxStream<'static, io::Result<Bytes>>;

/// Whoever takes what peers say.
#[async_trait]
pub trait PeerHandler: Send + Sync + 'static {
    /// One message of a group.
    async fn raft(&self, from: NodeId, message: Bytes) -> Result<Bytes, Status>;

    /// The state of a group.
    async fn snapshot(&self, from: NodeId, chunks: SnapshotChunks) -> Result<Bytes, Status>;

    /// A node that is not part of the deployment yet; its certificate is of the deployment's authority, and says who it is.
    async fn join(&self, identity: Identity, request: JoinRequest) -> Result<JoinReply, Status>;
}

/// The service, for [`server`](crate::server).
pub struct PeerService {
    gate: Gate,
    handler: Arc<dyn PeerHandler>,
}

impl PeerService {
    /// Lets through what `gate` admits, and whoever wants to join.
    pub fn new(gate: Gate, handler: Arc<dyn PeerHandler>) -> PeerServer<Self> {
        PeerServer::new(Self { gate, handler })
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
    }
}

#[async_trait]
impl Peer for PeerService {
    async fn raft(&self, request: Request<RaftMessage>) -> Result<Response<RaftMessage>, Status> {
        let caller = self.gate.admit(&request)?;
        let message = request.into_inner().payload;
        let payload = self.handler.raft(caller.node(), message).await?;
        Ok(Response::new(RaftMessage { payload }))
    }

    type RaftTogetherStream = BoxStream<'static, Result<RaftAnswer, Status>>;

    async fn raft_together(
        &self,
        request: Request<RaftMessages>,
    ) -> Result<Response<Self::RaftTogetherStream>, Status> {
        let caller = self.gate.admit(&request)?.node();
        let payloads = request.into_inner().payloads.into_iter();
        let answers: FuturesUnordered<_> = (0..)
            .zip(payloads)
            .map(|(position, payload)| {
                let handler = Arc::clone(&self.handler);
                async move {
                    let told = match handler.raft(caller, payload).await {
                        Ok(payload) => Told::Payload(payload),
                        Err(status) => Told::Refusal(Refusal {
                            code: status.code().into(),
                            text: status.message().to_owned(),
                        }),
                    };
                    Ok(RaftAnswer {
                        position,
                        told: Some(told),
                    })
                }
            })
            .collect();
        Ok(Response::new(answers.boxed()))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftMessage>, Status> {
        let caller = self.gate.admit(&request)?;
        let chunks = whole(request.into_inner());
        let payload = self.handler.snapshot(caller.node(), chunks).await?;
        Ok(Response::new(RaftMessage { payload }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let identity = certified(&request)?;
        let reply = self.handler.join(identity, request.into_inner()).await?;
        Ok(Response::new(reply))
    }
}

/// The chunks up to the last. gRPC does not tell a stream that was given up from one that is whole, so it has to be said.
fn whole(chunks: Streaming<SnapshotChunk>) -> SnapshotChunks {
    let next = |chunks: Option<Streaming<SnapshotChunk>>| async move {
        let mut chunks = chunks?;
        match chunks.message().await {
            Ok(Some(chunk)) if chunk.last => None,
            Ok(Some(chunk)) => Some((Ok(chunk.payload), Some(chunks))),
            Ok(None) => Some((Err(io::ErrorKind::UnexpectedEof.into()), None)),
            Err(status) => Some((Err(io::Error::other(status.message().to_owned())), None)),
        }
    };
    stream::unfold(Some(chunks), next).boxed()
}
