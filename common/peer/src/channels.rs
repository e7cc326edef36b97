//! The connections of a node to its peers: one for each peer and purpose, made when it is first used and made again when it breaks.

use crate::credentials::Credentials;
use crate::directory::Directory;
use crate::headers::Headers;
use crate::identity::Role;
use crate::peer_channel::{PeerChannel, Removed};
use parking_lot::Mutex;
use sealdex_core::{DeploymentId, NodeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// A peer that takes longer to connect is as good as gone.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How often a peer is asked for a sign of life, and how long it may take to give one. A peer that stopped without closing its connections
/// is noticed after the sum.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(5);

/// Bytes that may be under way in one stream and in one connection before the receiver says that it took some: a page of items, and several.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// What a connection is for. Each has its own, so that a page of items or a snapshot delays no heartbeat.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lane {
    /// Messages of consensus, and joining.
    Consensus,
    /// Snapshots.
    Snapshots,
    /// What coordinators ask of shard nodes.
    Data,
}

/// Why there is no connection to a node.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChannelError {
    /// Nobody has heard of it, or it was removed.
    #[error("node {0} is not part of the deployment, as far as this node knows")]
    Unknown(NodeId),
    /// Its address is none.
    #[error("'{0}' is no address of a node; write it as host:port")]
    Address(String),
}

/// The connections of one node. Share it in an `Arc`.
pub struct Channels {
    deployment: DeploymentId,
    me: NodeId,
    directory: Arc<Directory>,
    state: Mutex<State>,
    removed: Removed,
}

struct State {
    tls: ClientTlsConfig,
    open: HashMap<(NodeId, Lane), Open>,
}

struct Open {
    address: String,
    channel: Channel,
}

impl Channels {
    /// Of node `me`. Connects to nobody yet.
    pub fn new(
        deployment: DeploymentId,
        me: NodeId,
        credentials: &Credentials,
        directory: Arc<Directory>,
    ) -> Self {
        let state = State {
            tls: credentials.client_tls(),
            open: HashMap::new(),
        };
        Self {
            deployment,
            me,
            directory,
            state: Mutex::new(state),
            removed: Arc::new(watch::Sender::new(false)),
        }
    }

    /// The deployment they are of.
    pub fn deployment(&self) -> DeploymentId {
        self.deployment
    }

    /// The node they are of.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The connection to a node, where the directory says it is now. TLS takes nobody else for it, whatever the address.
    pub fn to(&self, node: NodeId, lane: Lane) -> Result<PeerChannel, ChannelError> {
        let known = self.directory.get(node).filter(|known| !known.removed);
        let known = known.ok_or(ChannelError::Unknown(node))?;
        let headers = Headers::new(self.deployment, self.me, node);
        // Shard nodes have it from coordinators, as this node has.
        let tells = known.identity.role == Role::Coordinator;
        let removed = tells.then(|| Arc::clone(&self.removed));
        let mut state = self.state.lock();
        if let Some(open) = state
            .open
            .get(&(node, lane))
            .filter(|open| open.address == known.address)
        {
            return Ok(PeerChannel::new(open.channel.clone(), headers, removed));
        }
        let tls = state.tls.clone().domain_name(known.identity.name.as_str());
        let channel = endpoint(&known.address, tls)?.connect_lazy();
        let open = Open {
            address: known.address,
            channel: channel.clone(),
        };
        state.open.insert((node, lane), open);
        Ok(PeerChannel::new(channel, headers, removed))
    }

    /// Resolves when a coordinator has answered that this node is part of the deployment no more. That is for good.
    pub async fn removed(&self) {
        let mut told = self.removed.subscribe();
        // Who would tell lives as long as `self`.
        let _ = told.wait_for(|removed| *removed).await;
    }

    /// Shows other credentials from the next connection on, and makes all anew.
    pub fn renew(&self, credentials: &Credentials) {
        let mut state = self.state.lock();
        state.tls = credentials.client_tls();
        state.open.clear();
    }
}

/// A connection to whoever is at `address` and whose certificate names that host, for a node that knows nobody yet and wants to join.
pub fn stranger(credentials: &Credentials, address: &str) -> Result<Channel, ChannelError> {
    Ok(endpoint(address, credentials.client_tls())?.connect_lazy())
}

fn endpoint(address: &str, tls: ClientTlsConfig) -> Result<Endpoint, ChannelError> {
    let wrong = |_| ChannelError::Address(address.to_owned());
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(wrong)?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true);
    endpoint.tls_config(tls).map_err(wrong)
}
