//! Who may call a node: whoever shows a certificate of a node that the deployment has, means this deployment and this node, and speaks a
//! version that this one understands. Asked on every call, because a node may be removed while its connections live.

use crate::directory::{Directory, Stranger};
use crate::headers::Received;
use crate::identity::{Identity, Role};
use crate::peer_channel::tell_removed;
use sealdex_core::{DeploymentId, NodeId};
use sealdex_proto::PEER_VERSION;
use std::sync::Arc;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// A node that may call. Only a [`Gate`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    node: NodeId,
    identity: Identity,
}

impl Caller {
    /// Its id.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Lets calls in or not. Cheap to clone. As an interceptor it leaves the [`Caller`] in the request's extensions.
#[derive(Clone)]
pub struct Gate {
    deployment: DeploymentId,
    me: NodeId,
    directory: Arc<Directory>,
    only: Option<Role>,
}

impl Gate {
    /// The gate of node `me`.
    pub fn new(deployment: DeploymentId, me: NodeId, directory: Arc<Directory>) -> Self {
        Self {
            deployment,
            me,
            directory,
            only: None,
        }
    }

    /// For nodes of one role.
    pub fn only(self, role: Role) -> Self {
        Self {
            only: Some(role),
            ..self
        }
    }

    /// The caller, or one line that says why it may not.
    pub fn admit<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let identity = certified(request)?;
        let received = Received::of(request.metadata()).map_err(|header| {
            Status::failed_precondition(format!("header {header} is missing or malformed"))
        })?;
        self.check_addressed(&received)?;
        if let Err(stranger) = self.directory.check(received.from, &identity) {
            let mut refused = Status::permission_denied(stranger.to_string());
            if matches!(stranger, Stranger::Removed(_)) {
                tell_removed(&mut refused);
            }
            return Err(refused);
        }
        if self.only.is_some_and(|role| role != identity.role) {
            let why = format!("{identity} may not call this service: its role may not");
            return Err(Status::permission_denied(why));
        }
        Ok(Caller {
            node: received.from,
            identity,
        })
    }

    /// Whether the call was meant for this node.
    fn check_addressed(&self, received: &Received) -> Result<(), Status> {
        let refused = if received.deployment != self.deployment {
            format!(
                "this node belongs to deployment {}, not {}",
                self.deployment, received.deployment
            )
        } else if received.to != self.me {
            format!(
                "this is node {}, not {}: it was set up anew, or its address is now another's",
                self.me, received.to
            )
        } else if received.version.abs_diff(PEER_VERSION) > 1 {
            format!(
                "versions {} and {PEER_VERSION} do not understand each other; upgrade node by node, one version at a time",
                received.version
            )
        } else {
            return Ok(());
        };
        Err(Status::failed_precondition(refused))
    }
}

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.admit(&request)?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Who the caller's certificate says it is. TLS has seen that the authority signed it.
pub(crate) fn certified<T>(request: &Request<T>) -> Result<Identity, Status> {
    let chain = request.peer_certs();
    let first = chain.as_ref().and_then(|chain| chain.first());
    let certificate = first.ok_or_else(|| Status::unauthenticated("no client certificate was shown"))?;
    Identity::of_certificate(certificate)
        .map_err(|error| Status::unauthenticated(format!("the client certificate {error}")))
}
