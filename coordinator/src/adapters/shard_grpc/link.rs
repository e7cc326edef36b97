//! One call to one node: a place among the calls that are under way there, a deadline, and what the answer means.

use super::presence::Presence;
use super::together::ToNode;
use parking_lot::Mutex;
use sealdex_core::{NodeId, limits};
use sealdex_index::dataplane::ShardError;
use sealdex_peer::payload::error_of_status;
use sealdex_peer::wire::shard::shard_client::ShardClient as Wire;
use sealdex_peer::{Channels, Lane, PeerChannel, allow_any_replica, told_leader};
use sealdex_telemetry::{TRACEPARENT, traceparent};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status};

/// The way to every node.
pub(super) struct Link {
    channels: Arc<Channels>,
    places: Mutex<HashMap<NodeId, Arc<Semaphore>>>,
    bundles: Mutex<HashMap<NodeId, Arc<ToNode>>>,
    presence: Arc<Presence>,
}

/// A node that is being asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) node: NodeId,
    pub(super) wire: Wire<PeerChannel>,
    until: Instant,
    /// It may answer even if it does not lead, and says who does.
    any_replica: Option<Hearsay>,
}

/// Who leads a partition, as a replica says that answered.
#[derive(Clone, Default)]
pub(super) struct Hearsay(Arc<Mutex<Option<NodeId>>>);

impl Link {
    pub(super) fn new(channels: Arc<Channels>) -> Self {
        Self {
            channels,
            places: Mutex::default(),
            bundles: Mutex::default(),
            presence: Arc::default(),
        }
    }

    pub(super) fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    pub(super) fn bundles_to(&self, node: NodeId) -> Arc<ToNode> {
        self.bundles.lock().entry(node).or_default().clone()
    }

    /// Whether a node cannot be reached, or says nothing.
    pub(super) fn is_away(&self, node: NodeId) -> bool {
        self.presence.is_away(node)
    }

    /// Whether that is so since a moment ago, so that nothing is to be asked of it.
    pub(super) fn is_shunned(&self, node: NodeId) -> bool {
        self.presence.is_shunned(node)
    }

    /// These nodes, those last that are away.
    pub(super) fn nearest_first(&self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        nodes.sort_by_key(|node| self.is_away(*node));
        nodes
    }

    /// Waits until it is away.
    pub(super) async fn away(&self, node: NodeId) {
        self.presence.away(node).await;
    }

    /// Asks `node`, when there is a place for one more call. Busy if there is none in time; of unknown outcome if there is no
    /// answer in time. With `any_replica`, it may answer even if it does not lead.
    pub(super) async fn ask<T, F>(
        &self,
        node: NodeId,
        until: Instant,
        any_replica: Option<Hearsay>,
        ask: impl FnOnce(Asked) -> F,
    ) -> Result<T, ShardError>
    where
        F: Future<Output = Result<T, ShardError>>,
    {
        let channel = self.channels.to(node, Lane::Data).map_err(|error| {
            // One that is replaced is in the table until its replicas are elsewhere.
            tracing::debug!(%node, %error, "a shard node cannot be asked");
            self.look_for(node, true);
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
        let asked = Asked {
            node,
            wire,
            until,
            any_replica,
        };
        let answer = self.listen(node, timeout_at(until, ask(asked))).await;
        let answer = answer.unwrap_or(Err(ShardError::OutcomeUnknown));
        match answer {
            Err(ShardError::Unreachable) => self.look_for(node, true),
            // It may have come too late, or not at all.
            Err(ShardError::OutcomeUnknown) => {}
            _ => self.presence.heard(node),
        }
        answer
    }

    /// Waits for an answer of a node, and looks for the node if it is late.
    async fn listen<T>(&self, node: NodeId, answer: impl Future<Output = T>) -> T {
        let mut since = Instant::now();
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = self.presence.late(node, since) => self.look_for(node, false),
            }
            since = Instant::now();
        }
    }

    fn look_for(&self, node: NodeId, is_away: bool) {
        self.presence.look_for(&self.channels, node, is_away);
    }

    fn places_at(&self, node: NodeId) -> Arc<Semaphore> {
        let mut places = self.places.lock();
        let places = places.entry(node);
        places
            .or_insert_with(|| Arc::new(Semaphore::new(limits::CALLS_PER_PEER_MAX)))
            .clone()
    }
}

impl Hearsay {
    /// The leader, if one was named.
    pub(super) fn leader(&self) -> Option<NodeId> {
        *self.0.lock()
    }
}

impl Asked {
    /// A request that tells the node, too, until when somebody waits for the answer, and of which trace it is.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.until.saturating_duration_since(Instant::now()));
        if self.any_replica.is_some() {
            allow_any_replica(&mut request);
        }
        if let Some(traceparent) = traceparent().and_then(|text| text.parse().ok()) {
            request.metadata_mut().insert(TRACEPARENT, traceparent);
        }
        request
    }

    /// What its answer says.
    pub(super) fn said<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, ShardError> {
        if let Ok(answer) = &answer {
            self.heard(told_leader(answer));
        }
        answer
            .map(Response::into_inner)
            .map_err(|status| refused(self.node, &status))
    }

    /// Whether it may answer even if it does not lead.
    pub(super) fn any_replica(&self) -> bool {
        self.any_replica.is_some()
    }

    /// Who leads, as its answer says.
    pub(super) fn heard(&self, leader: Option<NodeId>) {
        if let Some(hearsay) = &self.any_replica {
            *hearsay.0.lock() = leader;
        }
    }
}

/// That a node does not let this one in is for an operator to mend; that one is away is found out by others too.
pub(super) fn refused(node: NodeId, status: &Status) -> ShardError {
    let error = error_of_status(status);
    let (code, why) = (status.code(), status.message());
    match code {
        Code::PermissionDenied | Code::FailedPrecondition | Code::Unauthenticated => {
            tracing::warn!(%node, ?code, why, "a shard node does not let this coordinator in");
        }
        _ => tracing::debug!(%node, ?code, why, %error, "a shard node refused or did not answer"),
    }
    error
}
