//! What coordinators and shard nodes of a deployment have in common as processes: options, identity, joining, and the way of consensus
//! between them.

mod closed_door;
mod identity;
mod joining;
mod leaving;
mod peer_port;
mod peers;
mod renewal;
mod twin;

pub(crate) use closed_door::ConsensusDoor;
pub(crate) use identity::{Identified, NodeFile};
pub(crate) use joining::{ASK_AT, Disk, JoinToken, entered, join, knows_none};
pub(crate) use leaving::leaving;
pub(crate) use peer_port::PeerPort;
pub(crate) use peers::{ConsensusHandler, ConsensusPeers, Doorkeeper};
pub(crate) use renewal::Renewal;
pub(crate) use twin::no_twin;

use crate::storage_error::StorageError;
use clap::Args;
use sealdex_consensus::{Purpose, Space};
use sealdex_core::DeploymentId;
use sealdex_peer::{Credentials, CredentialsError, NodeName, Role};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a node writes before it has been of any use: logs and tables, empty.
const BEGINNING_BYTES: u64 = 8 << 20;

/// Options of every node of a deployment.
#[derive(Args, Clone)]
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

    /// Folder with ca.crt, NAME.crt and NAME.key, as `sealdex certs` makes them
    #[arg(long, env = "SEALDEX_TLS_DIR")]
    pub(crate) tls_dir: PathBuf,

    /// Peer addresses of coordinators to join through, host:port, separated by commas
    #[arg(long, env = "SEALDEX_JOIN", value_delimiter = ',', required = true, value_parser = host_and_port)]
    pub(crate) join: Vec<String>,

    /// Seconds to go on asking to be let in before the node ends with an error; 0 never ends
    #[arg(long, env = "SEALDEX_JOIN_PATIENCE_SECONDS", default_value_t = 600)]
    pub(crate) join_patience_seconds: u64,

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

    /// Where the certificate of the authority is that the node believes.
    pub(crate) fn authority(&self) -> PathBuf {
        self.tls_dir.join("ca.crt")
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

fn host_and_port(text: &str) -> Result<String, String> {
    let is_one = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    match text.rsplit_once(':').is_some_and(is_one) {
        true => Ok(text.to_owned()),
        false => Err("write it as host:port".to_owned()),
    }
}

/// Refuses to join with a disk on which the node could not begin: it would be of the deployment, and of no use to it.
pub(crate) fn room_to_join(folder: &Path, space: &Space) -> Result<(), StorageError> {
    let room = space.check(Purpose::Grow, BEGINNING_BYTES);
    room.map_err(|full| StorageError::DiskFull {
        folder: folder.to_owned(),
        reason: full.to_string(),
    })
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
    /// Its peer port cannot be served any more.
    #[error("cannot serve other nodes: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// Nobody let it in for too long.
    #[error(
        "not let in within {0} s; see to it that the coordinators run, that --join names where this node reaches them, and that their ca.crt has the authority of this node's certificate (last, {1})"
    )]
    Alone(u64, String),
    /// Whoever is there cannot show that it is of this node's deployment.
    #[error(
        "the certificate of the node at {address} is not signed by the authority in {}; give this node ca.crt and a certificate from that deployment's own folder (`sealdex certs node`), or name the right coordinators with --join",
        ca.display()
    )]
    OtherAuthority {
        /// Who was asked.
        address: String,
        /// The file of the authority that this node believes.
        ca: PathBuf,
    },
    /// Its disk is another's.
    #[error("the data directory belongs to another node or deployment than {0}; empty it to join anew")]
    OtherNode(DeploymentId),
    /// The deployment has let it go.
    #[error("this node was removed from the deployment; start it with an empty data directory to join anew")]
    Removed,
    /// Nobody lets it in, for good.
    #[error("{0}")]
    Refused(String),
}
