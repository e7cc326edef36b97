//! Changes of the catalogue, and those of the deployment that any coordinator may ask for, by way of the coordinator that leads the metadata group, when this one does not.

use super::CatalogError;
use super::catalog_codec::{decode_record, encode_record};
use crate::domain::deployment::Applied;
use crate::domain::{MetadataApplied, Rejection};
use sealdex_consensus::Full;
use sealdex_core::{NodeId, limits};
use sealdex_peer::payload::did_nothing;
use sealdex_peer::wire::coordinator::coordinator_client::CoordinatorClient;
use sealdex_peer::{Channels, Lane};
use sealdex_proto::coordinator as wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

/// Longer than the leader takes to call an outcome unknown.
const ANSWER_MAX: Duration = Duration::from_secs(12);

/// The way to the leader.
pub(super) struct Forward {
    pub(super) channels: Arc<Channels>,
}

/// What came of a change, and how much of the log has to be applied to see it.
pub(super) struct Forwarded {
    pub(super) outcome: Result<MetadataApplied, CatalogError>,
    pub(super) applied: u64,
}

impl Forward {
    /// Has `leader` propose an entry. Without an answer the outcome is unknown.
    pub(super) async fn propose(&self, leader: NodeId, entry: Vec<u8>) -> Result<Forwarded, CatalogError> {
        let channel = self.channels.to(leader, Lane::Data);
        let channel = channel.map_err(|_| CatalogError::NotLeader(None))?;
        let mut leader = CoordinatorClient::new(channel)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        let request = wire::ProposeRequest { entry: entry.into() };
        let reply = timeout(ANSWER_MAX, leader.propose(request)).await;
        let reply = reply.map_err(|_| CatalogError::Unknown)?;
        let reply = reply.map_err(|status| unanswered(&status))?.into_inner();
        let outcome = reply.outcome.ok_or(CatalogError::Unknown)?;
        Ok(Forwarded {
            outcome: read(outcome),
            applied: reply.applied,
        })
    }
}

/// What there is no answer to may have been done, unless it was never sent or not let in: then whoever leads by now is asked.
fn unanswered(status: &Status) -> CatalogError {
    if did_nothing(status) {
        CatalogError::NotLeader(None)
    } else {
        CatalogError::Unknown
    }
}

fn read(outcome: wire::propose_reply::Outcome) -> Result<MetadataApplied, CatalogError> {
    use wire::propose_reply::Outcome;
    Err(match outcome {
        Outcome::Index(record) => {
            let record = decode_record(&record);
            return record
                .map(|record| MetadataApplied::Index(Arc::new(record)))
                .map_err(|error| CatalogError::Storage(error.to_string()));
        }
        Outcome::Refused(refusal) => {
            CatalogError::Rejected(rejection_of(refusal).ok_or(CatalogError::Unknown)?)
        }
        Outcome::Leader(leader) => CatalogError::NotLeader((leader > 0).then_some(NodeId(leader))),
        Outcome::Busy(_) => CatalogError::Busy,
        Outcome::Full(full) => CatalogError::Full(Full {
            free_bytes: full.free_bytes,
            needed_bytes: full.needed_bytes,
        }),
        Outcome::Unknown(_) => CatalogError::Unknown,
        Outcome::Done(_) => return Ok(MetadataApplied::Deployment(Applied::Done)),
        Outcome::RefusedChange(why) => CatalogError::ChangeRefused(why),
    })
}

fn rejection_of(refusal: i32) -> Option<Rejection> {
    Some(match wire::Refusal::try_from(refusal).ok()? {
        wire::Refusal::Unspecified => return None,
        wire::Refusal::NameTaken => Rejection::NameTaken,
        wire::Refusal::NoSuchIndex => Rejection::NoSuchIndex,
        wire::Refusal::DimensionDiffers => Rejection::DimensionDiffers,
        wire::Refusal::OutOfTurn => Rejection::OutOfTurn,
        wire::Refusal::TooManyUsers => Rejection::TooManyUsers,
    })
}

/// The answer to who forwarded.
pub(crate) fn reply_of(outcome: Result<MetadataApplied, CatalogError>, applied: u64) -> wire::ProposeReply {
    use wire::propose_reply::Outcome;
    let refused = |rejection| {
        Outcome::Refused(match rejection {
            Rejection::NameTaken => wire::Refusal::NameTaken,
            Rejection::NoSuchIndex => wire::Refusal::NoSuchIndex,
            Rejection::DimensionDiffers => wire::Refusal::DimensionDiffers,
            Rejection::OutOfTurn => wire::Refusal::OutOfTurn,
            Rejection::TooManyUsers => wire::Refusal::TooManyUsers,
        } as i32)
    };
    let outcome = match outcome {
        Ok(MetadataApplied::Index(record)) => Outcome::Index(encode_record(&record).into()),
        Ok(MetadataApplied::Deployment(_)) => Outcome::Done(true),
        Err(CatalogError::DeploymentRejected(rejection)) => Outcome::RefusedChange(rejection.to_string()),
        Err(CatalogError::Rejected(rejection)) => refused(rejection),
        Err(CatalogError::NotLeader(leader)) => Outcome::Leader(leader.map_or(0, |leader| leader.0)),
        Err(CatalogError::Busy) => Outcome::Busy(true),
        Err(CatalogError::Full(full)) => Outcome::Full(wire::Full {
            free_bytes: full.free_bytes,
            needed_bytes: full.needed_bytes,
        }),
        Err(_) => Outcome::Unknown(true),
    };
    wire::ProposeReply {
        outcome: Some(outcome),
        applied,
    }
}
