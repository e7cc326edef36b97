//! What the deployment knows of a node: who it is, where it is reached, and how far it is in its life.

use super::Group;
use sealdex_core::NodeId;
use std::fmt;

/// What a node is for. Its certificate says the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Serves REST and takes part in the metadata group.
    Coordinator,
    /// Hosts replicas of partitions.
    Shard,
    /// Both in one process: the only node of its deployment.
    Embedded,
}

impl Role {
    /// Whether a node of this role may host a replica of the group.
    pub fn hosts(self, group: Group) -> bool {
        match self {
            Self::Embedded => true,
            Self::Coordinator => group == Group::Metadata,
            Self::Shard => group != Group::Metadata,
        }
    }
}

/// How far a node is in its life. Whether it runs at the moment is another question: see [`NodeRecord::lost_since`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NodeState {
    /// Has its id, and has not been seen to run under it yet. Takes no replicas.
    Joining,
    /// Takes part.
    Active,
    /// Its replicas move away; then it is removed.
    Decommissioning,
    /// Gone, and never taken back: whoever has this id is refused.
    Removed,
    /// Gone: a node of the same name joined with an empty disk.
    Replaced {
        /// The other.
        by: NodeId,
    },
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joining => f.write_str("joining"),
            Self::Active => f.write_str("active"),
            Self::Decommissioning => f.write_str("being decommissioned"),
            Self::Removed => f.write_str("removed"),
            Self::Replaced { by } => write!(f, "replaced by node {by}"),
        }
    }
}

/// Random bytes that a process draws before it joins and keeps beside its data, so that asking to join twice from one disk gives
/// one id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InstallId(pub [u8; 16]);

/// What a node says of itself to join.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewNode {
    /// Its name, unique among those that are there: one label of a DNS name, lower case.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// `host:port` of its peer port, as others reach it.
    pub address: String,
    /// What fails together with it (a rack, a data centre); empty where nothing is known.
    pub zone: String,
    /// Its software's version.
    pub version: String,
    /// Of its data directory.
    pub install: InstallId,
}

/// A node, also one that is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeRecord {
    /// Its id, never given again.
    pub id: NodeId,
    /// What it said when it joined; address, zone and version as of its present run.
    pub node: NewNode,
    /// How far it is in its life.
    pub state: NodeState,
    /// Unix seconds since when the leader of the metadata group has not heard of it; none while it does. For the operator's eyes,
    /// and for who may take over its name and its jobs. No wall clock decides about replicas.
    pub lost_since: Option<u64>,
    /// The public key (HPKE, X25519) that key leases are sealed to in its present run; none for coordinators.
    pub lease_key: Option<[u8; 32]>,
}

impl NodeRecord {
    /// Whether it belongs to the deployment: neither removed nor replaced.
    pub fn is_member(&self) -> bool {
        !matches!(self.state, NodeState::Removed | NodeState::Replaced { .. })
    }

    /// Whether replicas may be given to it, as far as its record tells.
    pub fn takes_replicas(&self) -> bool {
        self.state == NodeState::Active && self.lost_since.is_none()
    }
}
