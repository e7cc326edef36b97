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

    /// Whether `id` is a node of the deployment at present, and this one; `Err` says in one line why not.
    pub(crate) fn check(&self, id: NodeId, identity: &Identity) -> Result<(), String> {
        match self.nodes.read().get(&id) {
            None => Err(format!(
                "node {id} is not known here; if it has just joined, it is known in a moment"
            )),
            Some(known) if known.removed => Err(format!(
                "node {id} was removed from the deployment; empty its data directory and let it join again"
            )),
            Some(known) if known.identity != *identity => Err(format!(
                "node {id} is {}, and the certificate is that of {identity}",
                known.identity
            )),
            Some(_) => Ok(()),
        }
    }
}
