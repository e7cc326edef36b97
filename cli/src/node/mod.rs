//! What coordinators and shard nodes of a deployment have in common as processes: options, identity, joining, and the way of consensus
//! between them.

mod closed_door;
mod identity;
mod joining;
mod peers;

pub(crate) use closed_door::ConsensusDoor;
pub(crate) use identity::{Identified, NodeFile};
pub(crate) use joining::{JoinToken, entered, join, knows_none};
pub(crate) use peers::{ConsensusHandler, ConsensusPeers, Doorkeeper};

use clap::Args;
use sealdex_peer::{Credentials, CredentialsError, NodeName, Role};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Options of every node of a deployment.
#[derive(Args)]
pub(crate) struct NodeArgs {
    /// The node's name, which its certificate carries: a-z, 0-9 and hyphens
    #[arg(long, env = "SEALDEX_NAME")]
    pub(crate) name: NodeName,

    /// What fails together with this node (a rack, a zone): replicas are spread over zones
    #[arg(long, env = "SEALDEX_ZONE", default_value = "")]
    pub(crate) zone: String,

    /// Address for other nodes to reach this one at
    #[arg(long, env = "SEALDEX_PEER_ADDRESS", default_value = "0.0.0.0:7000")]
    pub(crate) peer_address: SocketAddr,

    /// What other nodes are told to reach this one at, host:port; by default its name and the port of --peer-address
    #[arg(long, env = "SEALDEX_ADVERTISE")]
    pub(crate) advertise: Option<String>,

    /// Folder with ca.crt, <name>.crt and <name>.key, as `sealdex certs` makes them
    #[arg(long, env = "SEALDEX_TLS_DIR")]
    pub(crate) tls_dir: PathBuf,

    /// Peer addresses of coordinators to join through, host:port, separated by commas
    #[arg(long, env = "SEALDEX_JOIN", value_delimiter = ',', required = true)]
    pub(crate) join: Vec<String>,

    /// File with the token that lets a node join: the same 32 or more characters on all nodes
    #[arg(long, env = "SEALDEX_JOIN_TOKEN_FILE")]
    pub(crate) join_token_file: PathBuf,
}

impl NodeArgs {
    /// Where others reach the node.
    pub(crate) fn advertised(&self) -> String {
        let by_name = || format!("{}:{}", self.name, self.peer_address.port());
        self.advertise.clone().unwrap_or_else(by_name)
    }

    /// The node's certificate, which has to be of this role.
    pub(crate) fn credentials(&self, role: Role) -> Result<Credentials, NodeError> {
        let credentials = Credentials::load(&self.tls_dir, &self.name)?;
        if credentials.identity().role == role {
            Ok(credentials)
        } else {
            Err(NodeError::WrongRole {
                found: credentials.identity().role,
                wanted: role,
            })
        }
    }
}

/// Why a node does not take part. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// It cannot show who it is.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
    /// Its certificate is for something else.
    #[error(
        "the certificate is that of a {found}, and this is a {wanted}; make one with `sealdex certs node --role {wanted}`"
    )]
    WrongRole {
        /// What the certificate says.
        found: Role,
        /// What was started.
        wanted: Role,
    },
    /// Its data directory does not fit.
    #[error("{0}")]
    Identity(#[from] identity::IdentityError),
    /// The token cannot be used.
    #[error("{0}")]
    Token(#[from] joining::TokenError),
    /// Its peer port cannot be served.
    #[error("cannot listen on {0}: {1}; choose another --peer-address or stop what is using it")]
    Listen(SocketAddr, String),
    /// Nobody lets it in, for good.
    #[error("{0}")]
    Refused(String),
}
