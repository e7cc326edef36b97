//! What consensus says to another node, as calls: bytes there, bytes back. Never looks into them.

use crate::channels::{ChannelError, Channels, Lane, PeerChannel, stranger};
use crate::credentials::Credentials;
use crate::wire::peer::peer_client::PeerClient as Wire;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use parking_lot::Mutex;
use sealdex_core::{NodeId, limits};
use sealdex_proto::peer::{JoinReply, JoinRequest, RaftMessage, SnapshotChunk};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::{Request, Status};

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

/// Calls to peers. Cheap to clone.
#[derive(Clone)]
pub struct PeerClient {
    channels: Arc<Channels>,
}

impl PeerClient {
    /// Over these connections.
    pub fn new(channels: Arc<Channels>) -> Self {
        Self { channels }
    }

    /// Brings a message to `to`, and its answer back, before the deadline.
    pub async fn call(&self, to: NodeId, message: Bytes, deadline: Duration) -> Result<Bytes, PeerError> {
        let mut peer = self.peer(to, Lane::Consensus)?;
        let answer = timeout(deadline, peer.raft(RaftMessage { payload: message })).await;
        let answer = answer.map_err(|_| PeerError::TimedOut(deadline))??;
        Ok(answer.into_inner().payload)
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
