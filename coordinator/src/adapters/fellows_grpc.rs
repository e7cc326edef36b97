//! The other coordinators, over gRPC.

use super::CatalogHandle;
use crate::domain::Epochs;
use crate::domain::deployment::Role;
use crate::ports::{Fellows, Unsettled};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use sealdex_core::{IndexId, NodeId};
use sealdex_peer::wire::coordinator::coordinator_client::CoordinatorClient;
use sealdex_peer::{Channels, Lane, PeerChannel};
use sealdex_proto::coordinator as wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Response, Status};

/// A little longer than they wait themselves.
const ANSWER_MAX: Duration = Duration::from_secs(35);

/// See [`Fellows`].
pub struct FellowsGrpc {
    channels: Arc<Channels>,
    catalog: Arc<CatalogHandle>,
}

impl FellowsGrpc {
    /// Those that metadata names.
    pub fn new(channels: Arc<Channels>, catalog: Arc<CatalogHandle>) -> Self {
        Self { channels, catalog }
    }

    /// All are asked but those that metadata takes for lost: of them nothing was heard for longer than a write may take from its first
    /// half to its second, and they come back with nothing under way.
    async fn settle<F>(&self, ask: impl Fn(CoordinatorClient<PeerChannel>) -> F) -> Result<(), Unsettled>
    where
        F: Future<Output = Result<Response<wire::SettleReply>, Status>>,
    {
        let Some(deployment) = self.catalog.deployment() else {
            return Ok(());
        };
        let me = self.channels.me();
        let others = deployment.nodes().filter(|node| {
            node.id != me
                && node.node.role == Role::Coordinator
                && node.is_member()
                && node.lost_since.is_none()
        });
        let asked = others.map(|node| self.ask(node.id, &ask));
        try_join_all(asked).await.map(drop)
    }

    async fn ask<F>(
        &self,
        node: NodeId,
        ask: &impl Fn(CoordinatorClient<PeerChannel>) -> F,
    ) -> Result<(), Unsettled>
    where
        F: Future<Output = Result<Response<wire::SettleReply>, Status>>,
    {
        let channel = self.channels.to(node, Lane::Data).map_err(|_| Unsettled)?;
        match timeout(ANSWER_MAX, ask(CoordinatorClient::new(channel))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => {
                tracing::debug!(%node, %status, "a coordinator was not waited for");
                Err(Unsettled)
            }
            Err(_) => Err(Unsettled),
        }
    }
}

#[async_trait]
impl Fellows for FellowsGrpc {
    async fn settle_writes(&self, index: IndexId) -> Result<(), Unsettled> {
        let request = wire::SettleRequest {
            index: index.0,
            epochs: None,
        };
        self.settle(|mut fellow| async move { fellow.settle(request).await })
            .await
    }

    async fn settle_requests(&self, index: IndexId) -> Result<(), Unsettled> {
        let request = wire::SettleRequestsRequest { index: index.0 };
        self.settle(|mut fellow| async move { fellow.settle_requests(request).await })
            .await
    }

    async fn settle_epochs(&self, index: IndexId, epochs: Epochs) -> Result<(), Unsettled> {
        let epochs = wire::Epochs {
            sealing: epochs.sealing.0,
            other: epochs.other.map(|epoch| epoch.0),
        };
        let request = wire::SettleRequest {
            index: index.0,
            epochs: Some(epochs),
        };
        self.settle(|mut fellow| async move { fellow.settle(request).await })
            .await
    }
}
