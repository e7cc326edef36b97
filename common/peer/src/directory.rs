//! What this node knows of the deployment's nodes: whoever keeps metadata tells it, and every call is compared with it.

use crate::identity::{Identity, Role};
use parking_lot::RwLock;
use sealdex_core::NodeId;
use std::collections::HashMap;

/// A node as the deployment registered it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registered {
    /// Who it is.
    pub identity: Identity,
    /// Where it is reached: host and port.
    pub address: String,
    /// It is part of the deployment no more, and never again under this id.
    pub removed: bool,
}

/// Why a node may not call. One line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stranger {
    /// Nobody here has heard of it.
    #[error("node {0} is not known here; if it has just joined, it is known in a moment")]
    Unknown(NodeId),
    /// It is part of the deployment no more, and never again under this id.
    #[error("node {0} was removed from the deployment; empty its data directory and let it join again")]
    Removed(NodeId),
    /// It is somebody else.
    #[error("node {id} is {registered}, and the certificate is that of {shown}")]
    Other {
        /// Who it says it is.
        id: NodeId,
        /// Who that is.
        registered: Identity,
        /// Who it can be.
        shown: Identity,
    },
}

/// The nodes of the deployment by id, as far as this node has heard. Share it in an `Arc`.
#[derive(Default)]
pub struct Directory {
    nodes: RwLock<HashMap<NodeId, Registered>>,
}

impl Directory {
    /// Takes what metadata says now for all there is.
    pub fn replace(&self, nodes: impl IntoIterator<Item = (NodeId, Registered)>) {
        *self.nodes.write() = nodes.into_iter().collect();
    }

    /// Takes what is said of one node.
    pub fn insert(&self, id: NodeId, node: Registered) {
        self.nodes.write().insert(id, node);
    }

    /// The nodes of a role that are part of the deployment, by id.
    pub fn ids(&self, role: Role) -> Vec<NodeId> {
        let nodes = self.nodes.read();
        let of_role = nodes
            .iter()
            .filter(|(_, node)| node.identity.role == role && !node.removed);
        let mut ids: Vec<NodeId> = of_role.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// What is known of a node.
    pub fn get(&self, id: NodeId) -> Option<Registered> {
        self.nodes.read().get(&id).cloned()
    }

    /// Whether `id` is a node of the deployment at present, and this one.
    pub(crate) fn check(&self, id: NodeId, identity: &Identity) -> Result<(), Stranger> {
        match self.nodes.read().get(&id) {
            None => Err(Stranger::Unknown(id)),
            Some(known) if known.removed => Err(Stranger::Removed(id)),
            Some(known) if known.identity != *identity => Err(Stranger::Other {
                id,
                registered: known.identity.clone(),
                shown: identity.clone(),
            }),
            Some(_) => Ok(()),
        }
    }
}
