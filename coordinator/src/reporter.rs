//! A coordinator's word to whoever leads the metadata group: that it is there, and where.

use crate::adapters::CatalogHandle;
use sealdex_core::NodeId;
use sealdex_peer::wire::coordinator::coordinator_client::CoordinatorClient;
use sealdex_peer::{Channels, Directory, Lane, Role};
use sealdex_proto::coordinator::ReportRequest;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const REPORT_EVERY: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How many times it is told that another node leads.
const HINTS_MAX: usize = 3;

/// See the module. Share it in an `Arc`.
pub struct Reporter {
    catalog: Arc<CatalogHandle>,
    channels: Arc<Channels>,
    directory: Arc<Directory>,
    said: ReportRequest,
    stopping: AtomicBool,
}

impl Reporter {
    /// Says where this run of the coordinator is reached, what fails together with it, and its version.
    pub fn new(
        catalog: Arc<CatalogHandle>,
        channels: Arc<Channels>,
        directory: Arc<Directory>,
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
            directory,
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
            let me = self.channels.me();
            let leader = self.catalog.status().leader;
            // Who is not of the group yet asks whoever it was told of when it joined.
            let asked = leader.map_or_else(|| self.directory.ids(Role::Coordinator), |leader| vec![leader]);
            for node in asked.into_iter().filter(|node| *node != me) {
                if self.report(node).await {
                    break;
                }
            }
            sleep(REPORT_EVERY).await;
        }
    }

    /// Whether the node, or the one it names, leads and took the report.
    async fn report(&self, mut node: NodeId) -> bool {
        for _ in 0..HINTS_MAX {
            let Ok(channel) = self.channels.to(node, Lane::Consensus) else {
                return false;
            };
            let mut coordinator = CoordinatorClient::new(channel);
            let said = ReportRequest {
                stopping: self.stopping.load(Ordering::Relaxed),
                ..self.said.clone()
            };
            match timeout(ANSWER_MAX, coordinator.report(said)).await {
                Ok(Ok(reply)) if reply.get_ref().leader != 0 => node = NodeId(reply.get_ref().leader),
                Ok(Ok(reply)) => return !reply.get_ref().leaderless,
                Ok(Err(status)) => {
                    tracing::debug!(%node, %status, "a coordinator took no report");
                    return false;
                }
                Err(_) => return false,
            }
        }
        false
    }
}
