//! From openraft to other nodes: its requests become messages, with their deadlines. Whoever cannot be reached, or refuses, has
//! granted nothing.

use super::format::FormatError;
use super::types::{SnapshotMeta, Types, Vote};
use super::wire::{self, Request};
use crate::snapshot::{Header, Transfer, outgoing};
use crate::{GroupId, NodeId, Peers};
use bytes::Bytes;
use futures_util::StreamExt;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::EmptyNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, alias::SnapshotOf};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Makes the links of one group.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) group: GroupId,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) append_deadline: Duration,
}

/// The way of one group to one other node.
pub(crate) struct Link {
    to: NodeId,
    links: Links,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Link {
        Link {
            to: NodeId(target),
            links: self.clone(),
        }
    }
}

fn unreachable(error: impl fmt::Display) -> Unreachable<Types> {
    Unreachable::from_string(error)
}

impl Link {
    async fn call<T>(
        &self,
        request: Request,
        option: &RPCOption,
        decode: impl FnOnce(Bytes) -> Result<T, FormatError>,
    ) -> Result<T, RPCError<Types>> {
        let message = wire::encode_request(self.links.group, &request);
        // What openraft allows is made for heartbeats; entries also have to be written and synced over there.
        let deadline = match &request {
            Request::Append(append) if !append.entries.is_empty() => self.links.append_deadline,
            _ => option.soft_ttl(),
        };
        let answer = self.links.peers.call(self.to, message, deadline);
        let reply = tokio::time::timeout(deadline, answer)
            .await
            .map_err(|_| unreachable("no answer before the deadline"))?
            .map_err(unreachable)?;
        Ok(decode(reply).map_err(unreachable)?)
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Transfer;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.call(Request::Append(request), &option, wire::decode_append_reply)
            .await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Request::Vote(request), &option, wire::decode_vote_reply)
            .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call(Request::PreVote(request), &option, wire::decode_vote_reply)
            .await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.call(Request::Transfer(request), &option, wire::decode_transfer_reply)
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, Transfer>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = self.send(vote, snapshot.meta, snapshot.snapshot, option.hard_ttl());
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = sending => sent,
        }
    }
}

impl Link {
    async fn send(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        snapshot: Transfer,
        idle_deadline: Duration,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let Transfer::Reading(reader) = snapshot else {
            let error = NetworkError::from_string("a snapshot that is not this node's state");
            return Err(error.into());
        };
        let header = Header {
            group: self.links.group,
            vote,
            meta,
        };
        let chunks = outgoing(&header, reader).boxed();
        let reply = self
            .links
            .peers
            .send_snapshot(self.to, chunks, idle_deadline)
            .await
            .map_err(unreachable)?;
        let vote = wire::decode_snapshot_reply(reply).map_err(unreachable)?;
        Ok(SnapshotResponse::new(vote))
    }
}
