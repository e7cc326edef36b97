//! The changes that the deployment knows, and why one may be refused.

use super::{
    Assignment, Begin, Claim, Group, JobName, JobRecord, NewNode, NodeRecord, NodeState, Settings, Step,
};
use sealdex_core::{DeploymentId, NodeId, limits};

/// How a deployment begins: with one node, and one voter of the metadata group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bootstrap {
    /// 16 random bytes.
    pub deployment: DeploymentId,
    /// Partitions, for good.
    pub partitions: u16,
    /// Settings to begin with.
    pub settings: Settings,
    /// The first node: a coordinator, or the embedded one.
    pub node: NewNode,
}

/// A change of the deployment. Each may be repeated when its outcome is unknown: the second time it changes nothing, or is
/// refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// The first of all, and only once.
    Bootstrap(Bootstrap),
    /// A node asks for its id. The same disk gets the same one; a name whose node is lost goes to whoever comes with another
    /// disk.
    RegisterNode(NewNode),
    /// A node started: from here on it is reached there.
    UpdateNode {
        /// Which.
        node: NodeId,
        /// `host:port` of its peer port.
        address: String,
        /// Its zone.
        zone: String,
        /// Its software's version.
        version: String,
        /// What key leases are sealed to in this run.
        lease_key: Option<[u8; 32]>,
    },
    /// A node was lost or found, or an operator decided about it.
    SetNode {
        /// Which.
        node: NodeId,
        /// What is to be.
        to: NodeChange,
    },
    /// The first table: the voters of each partition, in order.
    MakeTable(Vec<Vec<NodeId>>),
    /// Begins to change a group's membership.
    BeginChange {
        /// Whose.
        group: Group,
        /// The version of the whole table that the decision was made on.
        table_version: u64,
        /// What.
        begin: Begin,
    },
    /// Goes on with a change.
    AdvanceChange {
        /// Of which group.
        group: Group,
        /// The version of its assignment that the decision was made on.
        version: u64,
        /// What.
        step: Step,
    },
    /// Somebody wants to work on a job: a new one, their own from before a restart, or that of a node that is lost.
    ClaimJob {
        /// Which.
        job: JobName,
        /// Who.
        owner: NodeId,
    },
    /// A job has reached a stage.
    AdvanceJob {
        /// Which.
        job: JobName,
        /// The hold on it.
        claim: Claim,
        /// The stage.
        stage: u32,
    },
    /// A job is done, or given up.
    FinishJob {
        /// Which.
        job: JobName,
        /// The hold on it.
        claim: Claim,
    },
    /// New settings.
    Configure(Settings),
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NodeChange {
    /// Nothing was heard of it since then, in Unix seconds.
    Lost {
        /// Since when.
        since: u64,
    },
    /// It is heard of again.
    Found,
    /// Its replicas are to move away, and then it goes.
    Decommission,
    /// It is to stay after all.
    Recommission,
    /// It is gone for good: when all its replicas have moved away, or when it is lost and does not come back.
    Remove,
}

/// What a command did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Applied {
    /// The node as it is now.
    Node(NodeRecord),
    /// The group's assignment as it is now.
    Group(Group, Assignment),
    /// The job as it is now, or was when it ended.
    Job(JobRecord),
    /// As asked.
    Done,
}

/// Why a command was refused. The deployment is as it was. The text is for operators and callers alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// There is no deployment yet.
    #[error("this deployment is not bootstrapped; start one coordinator with --bootstrap")]
    NotBootstrapped,
    /// There is one already.
    #[error("this deployment is bootstrapped already; start without --bootstrap")]
    Bootstrapped,
    /// It begins with something else.
    #[error(
        "a deployment begins with a coordinator and 1 to {} partitions",
        limits::PARTITIONS_MAX
    )]
    BadBootstrap,
    /// It is one process.
    #[error("this deployment is a single embedded process and takes no other nodes")]
    Embedded,
    /// A name, address, zone or version that cannot be.
    #[error(
        "a node's name has 1 to {} characters of a-z, 0-9 and '-', its address is host:port, and neither address, zone nor version exceeds {} bytes",
        limits::NODE_NAME_CHARS_MAX,
        limits::NODE_TEXT_BYTES_MAX
    )]
    BadNode,
    /// A node of that name is there.
    #[error(
        "node {0} has that name, or this disk, and is not known to be lost; choose another name and an empty data directory, or stop it and retry in a few seconds"
    )]
    NameTaken(NodeId),
    /// There are as many as there may be.
    #[error("the deployment has {} nodes and takes no more", limits::NODES_MAX)]
    TooManyNodes,
    /// No such node, or not any more.
    #[error(
        "node {0} is not part of this deployment (any more); start it with an empty data directory to join anew"
    )]
    NoSuchNode(NodeId),
    /// Its replicas would find no other place.
    #[error(
        "{needed} running nodes of that role are needed and {left} would be left; let another one join first"
    )]
    TooFewNodes {
        /// Needed.
        needed: usize,
        /// Left without it.
        left: usize,
    },
    /// It is needed where it is.
    #[error("node {0} still hosts replicas and is not lost; decommission it first")]
    StillHosts(NodeId),
    /// It is in another state than the command is for.
    #[error("node {node} is {state}")]
    NodeOutOfTurn {
        /// Which.
        node: NodeId,
        /// Its state.
        state: NodeState,
    },
    /// The table is there, or the one offered does not fit.
    #[error("the partition table exists, or the one offered does not fit the nodes")]
    BadTable,
    /// Somebody else was faster.
    #[error("decided on a version of the partition table that is past")]
    VersionPast,
    /// One at a time.
    #[error("the group's membership is changing already")]
    ChangeUnderWay,
    /// As many as may be.
    #[error("as many groups are changing as may at a time")]
    TooManyChanges,
    /// The change names a replica that is not there, or one that is.
    #[error("the change does not fit the group's replicas")]
    ReplicasDiffer,
    /// The change is at another stage.
    #[error("the group's change is at another stage")]
    StepOutOfTurn,
    /// The index that the job is for is gone.
    #[error("there is no such index (any more)")]
    NoSuchIndex,
    /// Somebody works on it.
    #[error("node {0} works on it")]
    JobTaken(NodeId),
    /// The job is somebody else's by now, or over.
    #[error("the job was taken over or is over")]
    ClaimPast,
    /// Settings that cannot be.
    #[error(
        "1 to {} replicas, 1 to {} expected shard nodes and at least one change at a time",
        limits::REPLICAS_MAX,
        limits::NODES_MAX
    )]
    BadSettings,
}
