//! How the deployment is: what is decided about it, and what its nodes have said lately to whoever hears them.

use crate::domain::deployment::{Deployment, Sightings};
use async_trait::async_trait;
use sealdex_core::NodeId;
use std::sync::Arc;

/// Looks at the deployment.
#[async_trait]
pub trait Lookout: Send + Sync {
    /// How it is now. `None` before there is a deployment.
    async fn survey(&self) -> Option<Survey>;
}

/// How a deployment is at a moment.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What is decided.
    pub deployment: Arc<Deployment>,
    /// The coordinator that looked.
    pub asked: NodeId,
    /// What whoever leads the metadata group has heard. `None`: it cannot be asked from here, and `deployment` is what this coordinator
    /// knew last.
    pub sightings: Option<Sightings>,
}
