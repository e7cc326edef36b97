//! What nodes ask of this coordinator over gRPC: thin over the metadata handle, the steward and the service. Behind a gate that knows
//! every node of the deployment.

use crate::adapters::{CatalogHandle, group_report, node_report, reply_of, sightings_to_wire};
use crate::domain::Epochs;
use crate::domain::deployment::{Action, Deployment, MetadataView, NodeRecord, Role as NodeRole};
use crate::service::{Service, ServiceError};
use crate::steward::{Run, Steward};
use async_trait::async_trait;
use sealdex_core::{IndexId, KeyEpoch, NodeId, limits};
use sealdex_peer::wire::coordinator::coordinator_server::{Coordinator, CoordinatorServer};
use sealdex_peer::{Caller, Gate, Role};
use sealdex_proto::coordinator as wire;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

/// How long another coordinator waits here for what is under way. A write takes less.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// A coordinator as other nodes see it.
pub struct CoordinatorService {
    catalog: Arc<CatalogHandle>,
    steward: Arc<Steward>,
    /// Set when the service has started.
    service: Arc<OnceLock<Arc<Service>>>,
}

impl CoordinatorService {
    /// The service, for [`sealdex_peer::server`].
    pub fn new(
        catalog: Arc<CatalogHandle>,
        steward: Arc<Steward>,
        service: Arc<OnceLock<Arc<Service>>>,
        gate: Gate,
    ) -> InterceptedService<CoordinatorServer<Self>, Gate> {
        let service = Self {
            catalog,
            steward,
            service,
        };
        let service = CoordinatorServer::new(service)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        InterceptedService::new(service, gate)
    }
}

#[async_trait]
impl Coordinator for CoordinatorService {
    async fn report(
        &self,
        request: Request<wire::ReportRequest>,
    ) -> Result<Response<wire::ReportReply>, Status> {
        let node = caller(&request)?.node();
        if !self.catalog.leads().await {
            let leader = self.catalog.status().leader;
            return Ok(Response::new(wire::ReportReply {
                leader: leader.map_or(0, |leader| leader.0),
                leaderless: leader.is_none(),
                ..wire::ReportReply::default()
            }));
        }
        let request = request.into_inner();
        let groups = request.groups.iter().map(|report| group_report(node, report));
        let groups = groups.collect::<Option<Vec<_>>>();
        let groups = groups.ok_or_else(|| Status::invalid_argument("a report of no group"))?;
        let report = node_report(&request);
        let run = Run {
            address: request.address,
            zone: request.zone,
            version: request.version,
        };
        let actions = self.steward.take(node, run, report, groups).await;
        let deployment = self.catalog.deployment();
        let deployment =
            deployment.ok_or_else(|| Status::unavailable("the deployment is not bootstrapped"))?;
        Ok(Response::new(report_reply(node, deployment, &actions)))
    }

    async fn sightings(
        &self,
        request: Request<wire::SightingsRequest>,
    ) -> Result<Response<wire::SightingsReply>, Status> {
        of_coordinator(&request)?;
        if self.catalog.leads().await {
            return Ok(Response::new(sightings_to_wire(&self.steward.sightings())));
        }
        let leader = self.catalog.status().leader;
        Ok(Response::new(wire::SightingsReply {
            leader: leader.map_or(0, |leader| leader.0),
            leaderless: leader.is_none(),
            ..wire::SightingsReply::default()
        }))
    }

    async fn propose(
        &self,
        request: Request<wire::ProposeRequest>,
    ) -> Result<Response<wire::ProposeReply>, Status> {
        of_coordinator(&request)?;
        let (outcome, applied) = self.catalog.propose_forwarded(request.into_inner().entry).await;
        Ok(Response::new(reply_of(outcome, applied)))
    }

    async fn settle(
        &self,
        request: Request<wire::SettleRequest>,
    ) -> Result<Response<wire::SettleReply>, Status> {
        of_coordinator(&request)?;
        let request = request.into_inner();
        let epochs = request.epochs.map(|epochs| Epochs {
            sealing: KeyEpoch(epochs.sealing),
            other: epochs.other.map(KeyEpoch),
        });
        let Some(service) = self.service.get() else {
            // It has not begun to take requests, and will begin with metadata as it is by then.
            return Ok(Response::new(wire::SettleReply {}));
        };
        settled(service.settle(IndexId(request.index), epochs)).await
    }

    async fn settle_requests(
        &self,
        request: Request<wire::SettleRequestsRequest>,
    ) -> Result<Response<wire::SettleReply>, Status> {
        of_coordinator(&request)?;
        match self.service.get() {
            Some(service) => settled(service.settle_requests(IndexId(request.into_inner().index))).await,
            None => Ok(Response::new(wire::SettleReply {})),
        }
    }
}

/// Waits for what another coordinator waits for, as long as it does.
async fn settled(
    settling: impl Future<Output = Result<(), ServiceError>>,
) -> Result<Response<wire::SettleReply>, Status> {
    match timeout(SETTLE_MAX, settling).await {
        Ok(Ok(())) => Ok(Response::new(wire::SettleReply {})),
        Ok(Err(error)) => Err(Status::unavailable(error.detail().to_owned())),
        Err(_) => Err(Status::deadline_exceeded("requests are still under way")),
    }
}

fn caller<T>(request: &Request<T>) -> Result<&Caller, Status> {
    let caller = request.extensions().get::<Caller>();
    caller.ok_or_else(|| Status::internal("the service stands behind no gate"))
}

fn of_coordinator<T>(request: &Request<T>) -> Result<(), Status> {
    match caller(request)?.identity().role {
        Role::Coordinator => Ok(()),
        Role::Shard => Err(Status::permission_denied("coordinators alone may ask that")),
    }
}

fn report_reply(node: NodeId, deployment: Arc<Deployment>, actions: &[Action]) -> wire::ReportReply {
    let nodes = deployment.nodes().map(node_to_wire).collect();
    let partitions = u32::from(deployment.partitions);
    let view = MetadataView::new(deployment);
    let hosted = view.hosted(node).iter().map(|hosted| wire::Hosted {
        group: hosted.group.number(),
        version: hosted.version,
        founding: hosted.genesis.iter().flatten().map(|node| node.0).collect(),
    });
    wire::ReportReply {
        leader: 0,
        leaderless: false,
        partitions,
        nodes,
        hosted: hosted.collect(),
        instructions: actions.iter().filter_map(instruction).collect(),
    }
}

/// A node as others learn of it.
fn node_to_wire(record: &NodeRecord) -> wire::Node {
    wire::Node {
        id: record.id.0,
        role: match record.node.role {
            NodeRole::Shard => sealdex_proto::peer::Role::Shard as u32,
            NodeRole::Coordinator | NodeRole::Embedded => sealdex_proto::peer::Role::Coordinator as u32,
        },
        name: record.node.name.clone(),
        address: record.node.address.clone(),
        removed: !record.is_member(),
    }
}

fn instruction(action: &Action) -> Option<wire::Instruction> {
    use wire::instruction::What;
    let (group, version, what) = match action {
        Action::Propose(_) => return None,
        Action::AddLearner {
            group, version, node, ..
        } => (group, *version, What::AddLearner(node.0)),
        Action::RemoveLearner {
            group, version, node, ..
        } => (group, *version, What::RemoveLearner(node.0)),
        Action::ChangeVoters {
            group,
            version,
            voters,
            ..
        } => {
            let nodes = voters.iter().map(|node| node.0).collect();
            (group, *version, What::ChangeVoters(wire::Voters { nodes }))
        }
        Action::TransferLeader { group, to, .. } => (group, 0, What::TransferTo(to.0)),
    };
    Some(wire::Instruction {
        group: group.number(),
        version,
        what: Some(what),
    })
}
