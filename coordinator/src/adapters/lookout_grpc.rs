//! Looks at the deployment through the coordinator that leads the metadata group: to it alone nodes report.

use super::CatalogHandle;
use super::report_codec::sightings;
use crate::domain::deployment::Sightings;
use crate::ports::{Lookout, Survey};
use crate::steward::Steward;
use async_trait::async_trait;
use sealdex_core::{NodeId, limits};
use sealdex_peer::wire::coordinator::coordinator_client::CoordinatorClient;
use sealdex_peer::{Channels, Lane};
use sealdex_proto::coordinator as wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// An election takes less.
const LEADER_MAX: Duration = Duration::from_secs(2);

const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How many times it is told that another node leads.
const HINTS_MAX: usize = 3;

/// See the module.
pub struct LookoutGrpc {
    catalog: Arc<CatalogHandle>,
    steward: Arc<Steward>,
    channels: Arc<Channels>,
}

impl LookoutGrpc {
    /// Of the coordinator whose catalogue and steward these are.
    pub fn new(catalog: Arc<CatalogHandle>, steward: Arc<Steward>, channels: Arc<Channels>) -> Self {
        Self {
            catalog,
            steward,
            channels,
        }
    }

    async fn sightings(&self) -> Option<Sightings> {
        // Whoever looks at a deployment that has lost its quorum is not kept waiting for one.
        timeout(LEADER_MAX, self.catalog.catch_up()).await.ok()?.ok()?;
        let mut asked = self.catalog.status().leader?;
        for _ in 0..HINTS_MAX {
            if asked == self.channels.me() {
                return self.catalog.leads().await.then(|| self.steward.sightings());
            }
            let reply = self.ask(asked).await?;
            match reply.leader {
                0 if reply.leaderless => return None,
                0 => return Some(sightings(&reply)),
                leader => asked = NodeId(leader),
            }
        }
        None
    }

    async fn ask(&self, leader: NodeId) -> Option<wire::SightingsReply> {
        let channel = self.channels.to(leader, Lane::Data).ok()?;
        let mut leader = CoordinatorClient::new(channel)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        match timeout(ANSWER_MAX, leader.sightings(wire::SightingsRequest {}))
            .await
            .ok()?
        {
            Ok(reply) => Some(reply.into_inner()),
            Err(status) => {
                tracing::debug!(%status, "the leader did not tell what it has heard");
                None
            }
        }
    }
}

#[async_trait]
impl Lookout for LookoutGrpc {
    async fn survey(&self) -> Option<Survey> {
        let sightings = self.sightings().await;
        Some(Survey {
            deployment: self.catalog.deployment()?,
            asked: self.channels.me(),
            sightings,
        })
    }
}
