//! One call to one node: a place among the calls that are under way there, a deadline, and what the answer means.

use parking_lot::Mutex;
use sealdex_core::{NodeId, limits};
use sealdex_index::dataplane::ShardError;
use sealdex_peer::payload::error_of_status;
use sealdex_peer::wire::shard::shard_client::ShardClient as Wire;
use sealdex_peer::{Channels, Lane, PeerChannel};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status};

/// The way to every node.
pub(super) struct Link {
    channels: Arc<Channels>,
    places: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
}

/// A node that is being asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) node: NodeId,
    pub(super) wire: Wire<PeerChannel>,
    until: Instant,
}

impl Link {
    pub(super) fn new(channels: Arc<Channels>) -> Self {
        Self {
            channels,
            places: Mutex::default(),
        }
    }

    pub(super) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Asks `node`, when there is a place for one more call. Busy if there is none in time; of unknown outcome if there is no
    /// answer in time.
    pub(super) async fn ask<T, F>(
        &self,
        node: NodeId,
        until: Instant,
        ask: impl FnOnce(Asked) -> F,
    ) -> Result<T, ShardError>
    where
        F: Future<Output = Result<T, ShardError>>,
    {
        let channel = self.channels.to(node, Lane::Data).map_err(|error| {
            tracing::warn!(%node, %error, "a shard node cannot be asked");
            ShardError::Unreachable
        })?;
        let wire = Wire::new(channel)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        let places = self.places_at(node);
        let place = timeout_at(until, places.acquire()).await;
        let _place = place
            .map_err(|_| ShardError::Busy)?
            .map_err(|_| ShardError::Stopped)?;
        let answer = timeout_at(until, ask(Asked { node, wire, until })).await;
        answer.unwrap_or(Err(ShardError::OutcomeUnknown))
    }

    fn places_at(&self, node: NodeId) -> Arc<Semaphore> {
        let mut places = self.places.lock();
        let places = places.entry(node);
        places
            .or_insert_with(|| Arc::new(Semaphore::new(limits::CALLS_PER_PEER_MAX)))
            .clone()
    }
}

impl Asked {
    /// A request that tells the node, too, until when somebody waits for the answer.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.until.saturating_duration_since(Instant::now()));
        request
    }
}

/// What an answer says. That a node does not let this one in is for an operator to mend; that one is away is found out by others too.
pub(super) fn said<T>(node: NodeId, answer: Result<Response<T>, Status>) -> Result<T, ShardError> {
    answer.map(Response::into_inner).map_err(|status| {
        let error = error_of_status(&status);
        let (code, why) = (status.code(), status.message());
        match code {
            Code::PermissionDenied | Code::FailedPrecondition | Code::Unauthenticated => {
                tracing::warn!(%node, ?code, why, "a shard node does not let this coordinator in");
            }
            _ => tracing::debug!(%node, ?code, why, %error, "a shard node refused or did not answer"),
        }
        error
    })
}
