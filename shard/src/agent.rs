//! The agent of a shard node: reports to whoever leads the metadata group, takes up and gives up replicas as the partition table says, and
//! does what is asked of it as leader of groups. What it does may be asked twice or too late; it looks before it does it.

use crate::Node;
use crate::replica::{Origin, group_of};
use parking_lot::Mutex;
use sealdex_consensus::{ChangeError, GroupStatus};
use sealdex_core::{NodeId, PartitionId, limits};
use sealdex_peer::wire::coordinator::coordinator_client::CoordinatorClient;
use sealdex_peer::{Channels, Directory, Identity, Lane, Registered, Role};
use sealdex_proto::coordinator as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::Code;

const REPORT_EVERY: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What a run of the node says of itself.
pub struct Run {
    /// Where others reach it.
    pub address: String,
    /// What fails together with it.
    pub zone: String,
    /// Its software's version.
    pub version: String,
}

/// See the module. Share it in an `Arc`.
pub struct Agent {
    node: Arc<Node>,
    channels: Arc<Channels>,
    directory: Arc<Directory>,
    run: Run,
    stopping: AtomicBool,
    /// Whether a coordinator has answered, and replicas are as the table says.
    settled: AtomicBool,
    /// Why coordinators do not let this node in, as it was logged last.
    told: Mutex<String>,
}

/// What is known of hosted groups: their assignments' versions.
type Versions = BTreeMap<PartitionId, u64>;

impl Agent {
    /// Of `node`, which has joined.
    pub fn new(node: Arc<Node>, channels: Arc<Channels>, directory: Arc<Directory>, run: Run) -> Self {
        Self {
            node,
            channels,
            directory,
            run,
            stopping: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// Whether the node is as the deployment wants it, as far as it has heard.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// From now on it says that it is on its way out.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Goes on until the task is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut versions = Versions::new();
        let mut leader = None;
        loop {
            match self.report(&mut leader, &versions).await {
                Some(reply) => self.follow(reply, &mut versions).await,
                None => leader = None,
            }
            sleep(REPORT_EVERY).await;
        }
    }

    /// Reports to the leader of the metadata group, or finds out who that is.
    async fn report(&self, leader: &mut Option<NodeId>, versions: &Versions) -> Option<wire::ReportReply> {
        let request = wire::ReportRequest {
            address: self.run.address.clone(),
            zone: self.run.zone.clone(),
            version: self.run.version.clone(),
            stopping: self.stopping.load(Ordering::Relaxed),
            full: self.node.check_room(0).is_err(),
            groups: self.groups(versions).await,
            disk: self.node.room().map(|room| wire::Room {
                free_bytes: room.free_bytes,
                needed_bytes: room.needed_bytes,
            }),
            leases: self.node.leases() as u64,
            replicas: self.node.hosted().len() as u64,
            work: Vec::new(),
        };
        let mut candidates: Vec<NodeId> = leader.iter().copied().collect();
        candidates.extend(self.directory.ids(Role::Coordinator));
        let mut asked = BTreeSet::new();
        while let Some(node) = (!candidates.is_empty()).then(|| candidates.remove(0)) {
            if !asked.insert(node) {
                continue;
            }
            match self.ask(node, request.clone()).await {
                Some(reply) if reply.leader == 0 && !reply.leaderless => {
                    *leader = Some(node);
                    return Some(reply);
                }
                Some(reply) if reply.leader != 0 => candidates.insert(0, NodeId(reply.leader)),
                _ => {}
            }
        }
        None
    }

    async fn ask(&self, node: NodeId, request: wire::ReportRequest) -> Option<wire::ReportReply> {
        let channel = self.channels.to(node, Lane::Consensus).ok()?;
        let mut coordinator = CoordinatorClient::new(channel)
            .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        match timeout(ANSWER_MAX, coordinator.report(request)).await.ok()? {
            Ok(reply) => Some(reply.into_inner()),
            Err(status) => {
                tracing::debug!(%node, %status, "a coordinator took no report");
                if status.code() == Code::PermissionDenied {
                    self.shut_out(status.message());
                }
                None
            }
        }
    }

    /// Whoever was removed from the deployment hosts nothing any more, and is sent no requests.
    fn shut_out(&self, reason: &str) {
        self.settled.store(false, Ordering::Relaxed);
        let mut told = self.told.lock();
        if *told != reason {
            tracing::warn!(reason, "coordinators do not let this node in");
            reason.clone_into(&mut told);
        }
    }

    /// What this node knows of the groups that it leads for certain.
    async fn groups(&self, versions: &Versions) -> Vec<wire::GroupReport> {
        let mut reports = Vec::new();
        for (partition, knows) in versions {
            if let Ok(status) = self.node.led_here(*partition).await {
                reports.push(group_report(*partition, *knows, status));
            }
        }
        reports
    }

    /// Takes up what a leader of the metadata group answered.
    async fn follow(&self, reply: wire::ReportReply, versions: &mut Versions) {
        self.directory.replace(reply.nodes.iter().filter_map(registered));
        let mut settled = true;
        let mut named = BTreeSet::new();
        for hosted in &reply.hosted {
            let Some(partition) = partition_of(hosted.group) else {
                continue;
            };
            named.insert(partition);
            let founding: BTreeSet<NodeId> = hosted.founding.iter().copied().map(NodeId).collect();
            let origin = if founding.is_empty() {
                Origin::Joining
            } else {
                Origin::Founding(founding)
            };
            match self.node.host_partition(partition, &origin).await {
                Ok(()) => {
                    versions.insert(partition, hosted.version);
                }
                Err(error) => {
                    tracing::error!(%partition, %error, "a replica cannot be taken up; it is tried again");
                    settled = false;
                }
            }
        }
        for partition in self.node.hosted() {
            if !named.contains(&partition) {
                versions.remove(&partition);
                if let Err(error) = self.node.drop_partition(partition).await {
                    tracing::warn!(%partition, %error, "a replica that left the node is not deleted yet");
                }
            }
        }
        for instruction in reply.instructions {
            let outcome = self.obey(&instruction, versions).await;
            if let Err(error) = outcome {
                tracing::info!(group = instruction.group, %error, "a group was not changed; it is looked at again");
            }
        }
        self.settled.store(settled, Ordering::Relaxed);
    }

    async fn obey(&self, instruction: &wire::Instruction, versions: &Versions) -> Result<(), ChangeError> {
        use wire::instruction::What;
        let Some(partition) = partition_of(instruction.group) else {
            return Ok(());
        };
        let is_present = versions.get(&partition) == Some(&instruction.version);
        match &instruction.what {
            Some(What::AddLearner(node)) if is_present => {
                self.node.add_learner(partition, NodeId(*node)).await
            }
            Some(What::RemoveLearner(node)) if is_present => {
                self.node.remove_learner(partition, NodeId(*node)).await
            }
            Some(What::ChangeVoters(voters)) if is_present => {
                let voters = voters.nodes.iter().copied().map(NodeId).collect();
                self.node.change_voters(partition, &voters).await
            }
            Some(What::TransferTo(node)) => self.node.transfer_to(partition, NodeId(*node)).await,
            _ => Ok(()),
        }
    }
}

fn partition_of(group: u64) -> Option<PartitionId> {
    let partition = PartitionId(u16::try_from(group.checked_sub(1)?).ok()?);
    debug_assert_eq!(group_of(partition).0, group);
    Some(partition)
}

fn group_report(partition: PartitionId, knows: u64, status: GroupStatus) -> wire::GroupReport {
    let last = status.last_log.0;
    let ids = |nodes: BTreeSet<NodeId>| nodes.into_iter().map(|node| node.0).collect();
    let lag = |(node, at): (NodeId, sealdex_consensus::LogIndex)| wire::Lag {
        node: node.0,
        entries: last.saturating_sub(at.0),
    };
    wire::GroupReport {
        group: group_of(partition).0,
        term: status.term,
        knows,
        voters: ids(status.voters),
        learners: ids(status.learners),
        changing: status.is_joint,
        behind: status.replicated.into_iter().map(lag).collect(),
    }
}

fn registered(node: &wire::Node) -> Option<(NodeId, Registered)> {
    let role = match sealdex_proto::peer::Role::try_from(node.role as i32).ok()? {
        sealdex_proto::peer::Role::Coordinator => Role::Coordinator,
        sealdex_proto::peer::Role::Shard => Role::Shard,
        sealdex_proto::peer::Role::Unspecified => return None,
    };
    let identity = Identity {
        role,
        name: node.name.parse().ok()?,
    };
    let registered = Registered {
        identity,
        address: node.address.clone(),
        removed: node.removed,
    };
    Some((NodeId(node.id), registered))
}
