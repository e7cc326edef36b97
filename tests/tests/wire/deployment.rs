//! A deployment in miniature: an authority, what nodes know of each other, and a shard node that listens.

use sealdex_consensus::{Host, HostOptions, Space};
use sealdex_coordinator::adapters::shard_grpc::{Routes, ShardGrpc};
use sealdex_core::{DeploymentId, NodeId, PartitionId};
use sealdex_peer::{
    Authority, Channels, Credentials, CurrentCredentials, Directory, Gate, Identity, Names, Registered, Role,
};
use sealdex_shard::api::grpc::ShardService;
use sealdex_shard::{Node, Options, Origin};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const ID: DeploymentId = DeploymentId([0xd1; 16]);
pub(crate) const COORDINATOR: NodeId = NodeId(1);
pub(crate) const SHARD: NodeId = NodeId(2);
pub(crate) const PARTITIONS: u16 = 4;

/// An authority, and a coordinator and a shard node that know of each other.
pub(crate) struct Deployment {
    folder: TempDir,
    authority: Authority,
    pub(crate) directory: Arc<Directory>,
}

pub(crate) fn identity(role: Role, name: &str) -> Identity {
    Identity {
        role,
        name: name.parse().unwrap(),
    }
}

impl Deployment {
    pub(crate) fn new() -> Self {
        let year = Duration::from_secs(365 * 86_400);
        let folder = tempfile::tempdir().unwrap();
        let (authority, issued) = Authority::generate(year).unwrap();
        fs::write(folder.path().join("ca.crt"), &issued.certificate).unwrap();
        let deployment = Self {
            folder,
            authority,
            directory: Arc::default(),
        };
        deployment.register(
            COORDINATOR,
            identity(Role::Coordinator, "coordinator-1"),
            "127.0.0.1:1",
        );
        deployment.register(SHARD, identity(Role::Shard, "shard-1"), "127.0.0.1:1");
        deployment
    }

    pub(crate) fn register(&self, id: NodeId, identity: Identity, address: &str) {
        let node = Registered {
            identity,
            address: address.to_owned(),
            removed: false,
        };
        self.directory.insert(id, node);
    }

    /// A certificate of this deployment's authority for any identity.
    pub(crate) fn credentials(&self, identity: &Identity) -> Credentials {
        let year = Duration::from_secs(365 * 86_400);
        let names = Names {
            dns: Vec::new(),
            ip: vec![[127, 0, 0, 1].into()],
        };
        let issued = self.authority.issue(identity, &names, year).unwrap();
        let path = |kind: &str| self.folder.path().join(format!("{}.{kind}", identity.name));
        fs::write(path("crt"), &issued.certificate).unwrap();
        fs::write(path("key"), &issued.key).unwrap();
        fs::set_permissions(path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        Credentials::load(self.folder.path(), &identity.name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The connections of the coordinator.
    pub(crate) fn channels(&self) -> Arc<Channels> {
        self.channels_of(&identity(Role::Coordinator, "coordinator-1"), COORDINATOR)
    }

    pub(crate) fn channels_of(&self, identity: &Identity, id: NodeId) -> Arc<Channels> {
        let credentials = self.credentials(identity);
        Arc::new(Channels::new(ID, id, &credentials, self.directory.clone()))
    }

    /// The coordinator's port on the one shard node.
    pub(crate) fn shard_client(&self) -> ShardGrpc {
        let routes = Arc::new(Routes::default());
        routes.replace((0..PARTITIONS).map(|partition| (PartitionId(partition), vec![SHARD])));
        ShardGrpc::new(self.channels(), routes)
    }

    /// Lets the shard node listen, on `address` or on a free port, and tells everybody where.
    pub(crate) async fn serve(&self, node: Arc<Node>, address: Option<SocketAddr>) -> Listening {
        let credentials = self.credentials(&identity(Role::Shard, "shard-1"));
        let listener = TcpListener::bind(address.unwrap_or(([127, 0, 0, 1], 0).into()))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        self.register(SHARD, identity(Role::Shard, "shard-1"), &address.to_string());
        let gate = Gate::new(ID, SHARD, self.directory.clone());
        let service = ShardService::new(node.clone(), ID, SHARD, gate);
        let (stop, stopped) = oneshot::channel::<()>();
        let router = sealdex_peer::server().add_service(service);
        let shown = Arc::new(CurrentCredentials::new(credentials));
        let serving = sealdex_peer::serve(router, listener, shown, async {
            let _ = stopped.await;
        });
        Listening {
            node,
            address,
            stop,
            task: tokio::spawn(async { serving.await.unwrap() }),
        }
    }
}

/// A shard node that listens.
pub(crate) struct Listening {
    pub(crate) node: Arc<Node>,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listening {
    /// Finishes what is under way, and closes the node.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        self.node.close().await;
        self.node.host().stop().await;
    }
}

/// A node on a folder, which has all partitions to itself.
pub(crate) async fn open(path: &Path) -> Arc<Node> {
    let options = Options {
        path: path.to_owned(),
        partitions: PARTITIONS,
        block_cache_bytes: 16 << 20,
        threads: 2,
        queue: 256,
    };
    let space = Arc::new(Space::open(path, Some(0)).unwrap());
    let log = HostOptions::alone(path.join("log"), space.clone());
    let me = log.node;
    let node = Node::open(options, space, Host::open(log).unwrap()).unwrap();
    for partition in (0..PARTITIONS).map(PartitionId) {
        node.host_partition(partition, &Origin::Founding([me].into()))
            .await
            .unwrap();
        node.led(partition).await;
    }
    Arc::new(node)
}
