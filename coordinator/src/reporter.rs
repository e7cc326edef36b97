//! A coordinator's word to whoever leads the metadata group: that it is there, and where.

use crate::adapters::CatalogHandle;
use sealdex_peer::wire::coordinator::coordinator_client::CoordinatorClient;
use sealdex_peer::{Channels, Lane};
use sealdex_proto::coordinator::ReportRequest;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const REPORT_EVERY: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// See the module. Share it in an `Arc`.
pub struct Reporter {
    catalog: Arc<CatalogHandle>,
    channels: Arc<Channels>,
    said: ReportRequest,
    stopping: AtomicBool,
}

impl Reporter {
    /// Says where this run of the coordinator is reached, what fails together with it, and its version.
    pub fn new(
        catalog: Arc<CatalogHandle>,
        channels: Arc<Channels>,
        address: String,
        zone: String,
        version: String,
    ) -> Self {
        let said = ReportRequest {
            address,
            zone,
            version,
            ..ReportRequest::default()
        };
        Self {
            catalog,
            channels,
            said,
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on it says that it is on its way out.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Goes on until the task is dropped. A leader need not tell itself.
    pub async fn run(self: Arc<Self>) {
        loop {
            let leader = self.catalog.status().leader.filter(|leader| *leader != self.channels.me());
            if let Some(channel) = leader.and_then(|leader| self.channels.to(leader, Lane::Consensus).ok()) {
                let mut leader = CoordinatorClient::new(channel);
                let said = ReportRequest {
                    stopping: self.stopping.load(Ordering::Relaxed),
                    ..self.said.clone()
                };
                if let Ok(Err(status)) = timeout(ANSWER_MAX, leader.report(said)).await {
                    tracing::debug!(%status, "the leader took no report");
                }
            }
            sleep(REPORT_EVERY).await;
        }
    }
}
