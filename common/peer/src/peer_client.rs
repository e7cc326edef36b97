//! What consensus says to another node, as calls: bytes there, bytes back. Never looks into them.

use crate::bundles::{Bundles, Waiting};
use crate::channels::{ChannelError, Channels, Lane, stranger};
use crate::credentials::Credentials;
use crate::peer_channel::PeerChannel;
use crate::wire::peer::peer_client::PeerClient as Wire;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use sealdex_core::{NodeId, limits};
use sealdex_proto::peer::raft_answer::Told;
use sealdex_proto::peer::{JoinReply, JoinRequest, RaftAnswer, RaftMessage, RaftMessages, SnapshotChunk};
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::{Code, Request, Status};

/// Heartbeats, votes, questions and small entries travel together; what is larger would make them wait.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;

/// Nobody waits longer for what travels together.
const TOGETHER_MAX: Duration = Duration::from_secs(10);

/// Why there is no answer. Whether the message arrived is unknown.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is no connection to make.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The peer refused, or the connection broke.
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] Status),
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// What was to be sent could not be read.
    #[error("the snapshot cannot be read: {0}")]
    Chunks(io::Error),
}

/// Messages to one peer, and their answers.
type ToPeer = Bundles<Bytes, Bytes>;

/// Calls to peers. Cheap to clone.
#[derive(Clone)]
pub struct PeerClient {
    channels: Arc<Channels>,
    bundles: Arc<Mutex<HashMap<NodeId, Arc<ToPeer>>>>,
}

impl PeerClient {
    /// Over these connections.
    pub fn new(channels: Arc<Channels>) -> Self {
        Self {
            channels,
            bundles: Arc::default(),
        }
    }

    /// Brings a message to `to`, and its answer back, before the deadline. Small ones travel together.
    pub async fn call(&self, to: NodeId, message: Bytes, deadline: Duration) -> Result<Bytes, PeerError> {
        let peer = self.peer(to, Lane::Consensus)?;
        let answer = timeout(deadline, async {
            if message.len() > TOGETHER_BYTES_MAX {
                alone(peer, message).await
            } else {
                self.together(to, message).await
            }
        });
        Ok(answer.await.map_err(|_| PeerError::TimedOut(deadline))??)
    }

    async fn together(&self, to: NodeId, message: Bytes) -> Result<Bytes, Status> {
        let bundles = self.bundles.lock().entry(to).or_default().clone();
        let (client, bytes) = (self.clone(), message.len());
        let send = move |payloads, waiting: Waiting<Bytes>| {
            // As metadata and credentials are now, for senders go on as long as there is something to send.
            let peer = client.peer(to, Lane::Consensus);
            async move {
                let mut request = Request::new(RaftMessages { payloads });
                request.set_timeout(TOGETHER_MAX);
                match peer {
                    Ok(mut peer) => waiting.listen(peer.raft_together(request), answer_of).await,
                    Err(error) => waiting.fail(&Status::unavailable(error.to_string())),
                }
            }
        };
        bundles.ask(message, bytes, send).await
    }

    /// Brings a snapshot to `to`, chunk by chunk, and the answer back. Gives up when no chunk was taken, and no answer came, for
    /// `idle_deadline`. An error among the chunks is one for the receiver too.
    pub async fn send_snapshot(
        &self,
        to: NodeId,
        chunks: BoxStream<'static, io::Result<Bytes>>,
        idle_deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let mut peer = self.peer(to, Lane::Snapshots)?;
        let taken = Arc::new(AtomicU64::new(0));
        let broken = Arc::new(Mutex::new(None));
        let chunks = watched(chunks, taken.clone(), broken.clone());
        let mut answer = pin!(peer.snapshot(Request::new(chunks)));
        let mut seen = 0;
        loop {
            tokio::select! {
                answer = &mut answer => {
                    return match (answer, broken.lock().take()) {
                        (_, Some(error)) => Err(PeerError::Chunks(error)),
                        (answer, None) => Ok(answer?.into_inner().payload),
                    };
                }
                () = sleep(idle_deadline) => {}
            }
            if let Some(error) = broken.lock().take() {
                return Err(PeerError::Chunks(error));
            }
            let now = taken.load(Ordering::Relaxed);
            if now == seen {
                return Err(PeerError::TimedOut(idle_deadline));
            }
            seen = now;
        }
    }

    fn peer(&self, to: NodeId, lane: Lane) -> Result<Wire<PeerChannel>, ChannelError> {
        let peer = Wire::new(self.channels.to(to, lane)?);
        Ok(peer
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX))
    }
}

async fn alone(mut peer: Wire<PeerChannel>, payload: Bytes) -> Result<Bytes, Status> {
    let answer = peer.raft(RaftMessage { payload }).await;
    Ok(answer?.into_inner().payload)
}

/// Which of the messages is answered, and how.
fn answer_of(answer: RaftAnswer) -> (u32, Result<Bytes, Status>) {
    let told = match answer.told {
        Some(Told::Payload(payload)) => Ok(payload),
        Some(Told::Refusal(refusal)) => Err(Status::new(Code::from(refusal.code), refusal.text)),
        None => Err(Status::internal("an answer that says nothing")),
    };
    (answer.position, told)
}

/// Asks the node at `address` to let this one join, before the deadline.
pub async fn join(
    credentials: &Credentials,
    address: &str,
    request: JoinRequest,
    deadline: Duration,
) -> Result<JoinReply, PeerError> {
    let mut peer = Wire::new(stranger(credentials, address)?);
    let answer = timeout(deadline, peer.join(request)).await;
    Ok(answer.map_err(|_| PeerError::TimedOut(deadline))??.into_inner())
}

/// Counts the chunks that are taken, and says which is the last. Stands still at the first error instead of ending.
fn watched(
    chunks: BoxStream<'static, io::Result<Bytes>>,
    taken: Arc<AtomicU64>,
    broken: Arc<Mutex<Option<io::Error>>>,
) -> impl futures_util::Stream<Item = SnapshotChunk> + Send + 'static {
    let last = SnapshotChunk {
        payload: Bytes::new(),
        last: true,
    };
    let chunks = chunks.then(move |chunk| {
        let (taken, broken) = (taken.clone(), broken.clone());
        async move {
            taken.fetch_add(1, Ordering::Relaxed);
            match chunk {
                Ok(payload) => SnapshotChunk { payload, last: false },
                Err(error) => {
                    *broken.lock() = Some(error);
                    std::future::pending().await
                }
            }
        }
    });
    chunks.chain(stream::iter([last]))
}
