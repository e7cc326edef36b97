//! Formats that cross a process or outlive one: the entries of the logs and what is stored beside sealed records.
//!
//! Wire types only; no logic, no domain types. Generated types have no `Debug`, so that a record cannot end up in a log
//! line by accident.

/// The version written into every entry and every stored message. A reader refuses what is newer than itself.
pub const ENTRY_VERSION: u32 = 1;

/// The version of what nodes say to each other. A node speaks this one, and takes the one before and the one after.
pub const PEER_VERSION: u32 = 1;

/// As generated, nested like the packages: what one package takes from another it finds by its place.
#[allow(missing_docs, unreachable_pub, clippy::doc_markdown)]
mod packages {
    pub mod catalog {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealdex.catalog.v1.rs"));
        }
    }

    pub mod partition {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealdex.partition.v1.rs"));
        }
    }

    pub mod peer {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealdex.peer.v1.rs"));
        }
    }

    pub mod coordinator {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealdex.coordinator.v1.rs"));
        }
    }

    pub mod shard {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/sealdex.shard.v1.rs"));
        }
    }
}

/// The metadata of a deployment.
pub use packages::catalog::v1 as catalog;
/// What nodes ask of coordinators.
pub use packages::coordinator::v1 as coordinator;
/// The log of one partition.
pub use packages::partition::v1 as partition;
/// Between any two nodes.
pub use packages::peer::v1 as peer;
/// Between coordinators and shard nodes.
pub use packages::shard::v1 as shard;
