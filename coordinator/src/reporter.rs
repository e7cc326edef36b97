//! Brings a coordinator's word to whoever leads the metadata group: that it is there, where, and how it is.

use crate::adapters::{CatalogHandle, said};
use crate::own_word::OwnWord;
use parking_lot::Mutex;
use sealdex_core::NodeId;
use sealdex_peer::wire::coordinator::coordinator_client::CoordinatorClient;
use sealdex_peer::{Channels, Directory, Lane, Role};
use sealdex_proto::coordinator::ReportRequest;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Code;

const REPORT_EVERY: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How many times it is told that another node leads.
const HINTS_MAX: usize = 3;

/// See the module. Share it in an `Arc`.
pub struct Reporter {
    catalog: Arc<CatalogHandle>,
    channels: Arc<Channels>,
    directory: Arc<Directory>,
    own: Arc<OwnWord>,
    run: ReportRequest,
    /// Why the others do not let this node in, as it was logged last.
    told: Mutex<String>,
}

impl Reporter {
    /// Says where this run of the coordinator is reached, what fails together with it, and its version.
    pub fn new(
        catalog: Arc<CatalogHandle>,
        channels: Arc<Channels>,
        directory: Arc<Directory>,
        own: Arc<OwnWord>,
        address: String,
        zone: String,
        version: String,
    ) -> Self {
        let run = ReportRequest {
            address,
            zone,
            version,
            ..ReportRequest::default()
        };
        Self {
            catalog,
            channels,
            directory,
            own,
            run,
            told: Mutex::default(),
        }
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
            let request = ReportRequest {
                address: self.run.address.clone(),
                zone: self.run.zone.clone(),
                version: self.run.version.clone(),
                ..said(&self.own.report())
            };
            match timeout(ANSWER_MAX, coordinator.report(request)).await {
                Ok(Ok(reply)) if reply.get_ref().leader != 0 => node = NodeId(reply.get_ref().leader),
                Ok(Ok(reply)) => return !reply.get_ref().leaderless,
                Ok(Err(status)) => {
                    if status.code() == Code::PermissionDenied {
                        self.shut_out(status.message());
                    }
                    tracing::debug!(%node, %status, "a coordinator took no report");
                    return false;
                }
                Err(_) => return false,
            }
        }
        false
    }

    fn shut_out(&self, reason: &str) {
        let mut told = self.told.lock();
        if *told != reason {
            tracing::warn!(reason, "coordinators do not let this node in");
            reason.clone_into(&mut told);
        }
    }
}
