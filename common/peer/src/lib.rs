//! How nodes of a deployment know and reach each other: certificates, identity, channels, and what they say in protobuf.
//!
//! - **Who**: [`Identity`] stands in a certificate ([`Credentials`]) that the deployment's [`Authority`] signed. A [`Gate`] compares it,
//!   on every call, with what the deployment knows of its nodes (the [`Directory`]).
//! - **How**: [`Channels`] holds one connection per peer; [`serve`] is the one port of a node.
//! - **What**: [`payload`] turns the data plane's values into messages and back; [`Peer`](PeerService) carries consensus, opaque.
//!
//! This crate must never know a key of an index, what a group of consensus says, or where anything is stored.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod authority;
mod bundles;
mod channels;
mod credentials;
mod directory;
mod gate;
mod headers;
mod identity;
pub mod payload;
mod peer_channel;
mod peer_client;
mod peer_service;
mod replica_reads;
mod server;

/// Clients and servers of the services between nodes, generated.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod wire {
    /// Between any two nodes.
    pub mod peer {
        tonic::include_proto!("sealdex.peer.v1");
    }

    /// What nodes ask of coordinators.
    pub mod coordinator {
        tonic::include_proto!("sealdex.coordinator.v1");
    }

    /// Between coordinators and shard nodes.
    pub mod shard {
        tonic::include_proto!("sealdex.shard.v1");
    }
}

pub use authority::{Authority, AuthorityError, Issued, Names};
pub use bundles::{Bundles, Waiting};
pub use channels::{ChannelError, Channels, Lane, stranger};
pub use credentials::{Credentials, CredentialsError, CurrentCredentials, about, is_of_other_authority};
pub use directory::{Directory, Registered};
pub use gate::{Caller, Gate};
pub use headers::Headers;
pub use identity::{Identity, IdentityError, NodeName, NodeNameError, Role, RoleError};
pub use peer_channel::PeerChannel;
pub use peer_client::{PeerClient, PeerError, join};
pub use peer_service::{PeerHandler, PeerService, SnapshotChunks};
pub use replica_reads::{allow_any_replica, allows_any_replica, tell_leader, told_leader};
pub use server::{serve, server};
