//! Who may not call a shard node, and what the one line says that they get.

use crate::deployment::{COORDINATOR, Deployment, ID, SHARD, identity, open};
use sealdex_coordinator::adapters::shard_grpc::{Routes, ShardGrpc};
use sealdex_coordinator::ports::ShardClient as _;
use sealdex_core::{DeploymentId, NodeId, PartitionId};
use sealdex_index::dataplane::ShardError;
use sealdex_peer::wire::shard::shard_client::ShardClient;
use sealdex_peer::{Channels, Directory, Identity, Lane, Registered, Role};
use sealdex_proto::shard as wire;
use std::sync::Arc;
use tonic::{Code, Status};

fn coordinator() -> Identity {
    identity(Role::Coordinator, "coordinator-1")
}

/// A directory that knows the shard node at `address`, and calls it `to`.
fn knowing(to: NodeId, address: &str) -> Arc<Directory> {
    let directory = Directory::default();
    let node = Registered {
        identity: identity(Role::Shard, "shard-1"),
        address: address.to_owned(),
        removed: false,
    };
    directory.insert(to, node);
    Arc::new(directory)
}

async fn call(channels: &Channels, to: NodeId) -> Result<(), Status> {
    let mut shard = ShardClient::new(channels.to(to, Lane::Data).unwrap());
    shard
        .indexes(wire::IndexesRequest { partition: 0 })
        .await
        .map(drop)
}

#[tokio::test]
async fn whoever_is_no_coordinator_of_the_deployment_is_refused() {
    let (deployment, home) = (Deployment::new(), tempfile::tempdir().unwrap());
    let listening = deployment.serve(open(home.path()).await, None).await;
    let address = listening.address.to_string();
    deployment.register(NodeId(3), identity(Role::Shard, "shard-2"), "127.0.0.1:1");
    deployment.register(
        NodeId(4),
        identity(Role::Coordinator, "coordinator-1"),
        "127.0.0.1:1",
    );
    let mut removed = deployment.directory.get(NodeId(4)).unwrap();
    removed.removed = true;
    deployment.directory.insert(NodeId(4), removed);
    assert!(call(&deployment.channels(), SHARD).await.is_ok());

    let cases: [(Identity, DeploymentId, NodeId, NodeId, Code, &str); 6] = [
        (
            coordinator(),
            DeploymentId([9; 16]),
            COORDINATOR,
            SHARD,
            Code::FailedPrecondition,
            "belongs to deployment d1d1",
        ),
        (
            coordinator(),
            ID,
            COORDINATOR,
            NodeId(9),
            Code::FailedPrecondition,
            "this is node 2, not 9",
        ),
        (
            coordinator(),
            ID,
            NodeId(4),
            SHARD,
            Code::PermissionDenied,
            "was removed",
        ),
        (
            coordinator(),
            ID,
            NodeId(5),
            SHARD,
            Code::PermissionDenied,
            "not known here",
        ),
        (
            identity(Role::Coordinator, "coordinator-9"),
            ID,
            COORDINATOR,
            SHARD,
            Code::PermissionDenied,
            "the certificate is that of coordinator coordinator-9",
        ),
        (
            identity(Role::Shard, "shard-2"),
            ID,
            NodeId(3),
            SHARD,
            Code::PermissionDenied,
            "its role may not",
        ),
    ];
    for (identity, id, from, to, code, says) in cases {
        let credentials = deployment.credentials(&identity);
        let channels = Channels::new(id, from, &credentials, knowing(to, &address));
        let refused = call(&channels, to).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(says), "{}", refused.message());
        assert!(!refused.message().contains('\n'));
    }
    listening.stop().await;
}

#[tokio::test]
async fn another_authority_and_another_name_do_not_get_through_tls() {
    let (deployment, home) = (Deployment::new(), tempfile::tempdir().unwrap());
    let listening = deployment.serve(open(home.path()).await, None).await;
    let address = listening.address.to_string();
    let foreign = Deployment::new().credentials(&coordinator());
    let channels = Channels::new(ID, COORDINATOR, &foreign, knowing(SHARD, &address));
    assert!(call(&channels, SHARD).await.is_err());
    // The server's side: an address that is another node's by now.
    let mine = deployment.credentials(&coordinator());
    let directory = Directory::default();
    let node = Registered {
        identity: identity(Role::Shard, "shard-7"),
        address,
        removed: false,
    };
    directory.insert(SHARD, node);
    let channels = Channels::new(ID, COORDINATOR, &mine, Arc::new(directory));
    let refused = call(&channels, SHARD).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    listening.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_is_not_let_in_or_finds_nobody_says_busy() {
    let (deployment, home) = (Deployment::new(), tempfile::tempdir().unwrap());
    let listening = deployment.serve(open(home.path()).await, None).await;
    let routes = || {
        let routes = Routes::default();
        routes.replace([(PartitionId(0), vec![SHARD])]);
        Arc::new(routes)
    };
    let mine = deployment.credentials(&coordinator());
    let stale = Channels::new(ID, NodeId(8), &mine, deployment.directory.clone());
    let client = ShardGrpc::new(Arc::new(stale), routes());
    assert_eq!(client.indexes(PartitionId(0)).await, Err(ShardError::Busy));
    let client = ShardGrpc::new(deployment.channels(), routes());
    assert_eq!(client.indexes(PartitionId(0)).await, Ok(Vec::new()));
    assert_eq!(
        client.indexes(PartitionId(1)).await,
        Err(ShardError::Busy),
        "nobody holds it"
    );
    let address = listening.address;
    listening.stop().await;
    assert_eq!(
        client.indexes(PartitionId(0)).await,
        Err(ShardError::Busy),
        "nobody is at {address}"
    );
}
