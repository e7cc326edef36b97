//! `sealdex shard`: a node that keeps replicas of partitions, and answers coordinators.

use crate::admin::{Condition, Readiness};
use crate::node::{
    ConsensusHandler, ConsensusPeers, Disk, Identified, JoinToken, NodeArgs, NodeError, NodeFile, PeerPort,
    Renewal, entered, join, leaving, room_to_join,
};
use crate::process::{self, ProcessError, Stop};
use crate::storage_error::StorageError;
use crate::telemetry::TelemetryArgs;
use clap::Args;
use sealdex_consensus::{Host, HostOptions, Space, Timing};
use sealdex_core::NodeId;
use sealdex_peer::{
    Channels, CurrentCredentials, Directory, Gate, PeerClient, PeerService, Registered, Role,
};
use sealdex_shard::api::grpc::ShardService;
use sealdex_shard::{Agent, Node, Options, Run};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Requests that may wait before the next is refused as busy.
const REQUESTS_QUEUED: usize = 1024;

/// How long a node that is on its way out still tells coordinators who leads what it led.
const LEADERS_TOLD: Duration = Duration::from_secs(1);

/// Options of `sealdex shard`.
#[derive(Args)]
pub(crate) struct ShardArgs {
    #[command(flatten)]
    node: NodeArgs,

    /// Where everything is kept, sealed; made if it does not exist. An empty directory is a new node
    #[arg(long, env = "SEALDEX_DATA_DIR", default_value = "./sealdex-data")]
    data_dir: PathBuf,

    /// Threads for scans; 0 takes one per core
    #[arg(long, env = "SEALDEX_THREADS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    threads: u32,

    /// Memory for sealed pages read from disk, MiB
    #[arg(long, env = "SEALDEX_BLOCK_CACHE_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    block_cache_mib: u32,

    /// Free disk space that is kept back, MiB; see `sealdex serve --help`
    #[arg(long, env = "SEALDEX_DISK_RESERVE_MIB")]
    disk_reserve_mib: Option<u32>,

    #[command(flatten)]
    telemetry: TelemetryArgs,
}

/// Why a shard node does not run. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardRoleError {
    /// It does not take part.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The process cannot be set up.
    #[error("{0}")]
    Process(#[from] ProcessError),
    /// Storage cannot be opened.
    #[error("{0}")]
    Storage(#[from] StorageError),
}

/// Runs until SIGTERM or SIGINT, or until the deployment has let it go; then hands over what it leads and finishes what is under way.
pub(crate) fn run(args: ShardArgs) -> Result<(), ShardRoleError> {
    let readiness = Readiness::new();
    process::run(&args.telemetry, readiness.clone(), |stop| {
        serve(&args, readiness, stop)
    })
}

async fn serve(args: &ShardArgs, readiness: Readiness, stop: Stop) -> Result<(), ShardRoleError> {
    let credentials = args.node.credentials(Role::Shard)?;
    let token = JoinToken::read(&args.node.join_token_file).map_err(NodeError::from)?;
    let mut file = NodeFile::open(&args.data_dir, args.node.name.as_str()).map_err(NodeError::from)?;
    let known = file.identified().map_err(NodeError::from)?;
    let listener = PeerPort::bind(args.node.peer_address).await?;
    let space = space(args, &readiness)?;
    if known.is_none() {
        room_to_join(&args.data_dir, &space)?;
    }
    let install = file.install().map_err(NodeError::from)?;
    let disk = Disk {
        install,
        of: known.map(|known| known.deployment),
    };
    let joined = join(&args.node, &credentials, &token, disk).await?;
    let me = joined.identified;
    if known.is_some_and(|known| known != me) {
        return Err(NodeError::OtherNode(me.deployment).into());
    }
    file.identify(me).map_err(NodeError::from)?;
    tracing::info!(node = %me.node, deployment = %me.deployment, "joined");

    let directory = Arc::new(Directory::default());
    entered(&directory, &joined.members);
    enter_self(&directory, me.node, &args.node, &credentials);
    let channels = Arc::new(Channels::new(
        me.deployment,
        me.node,
        &credentials,
        directory.clone(),
    ));
    let (host, node) = open(args, me, channels.clone(), space).await?;
    let credentials = Arc::new(CurrentCredentials::new(credentials));
    let renewal = Renewal::new(&args.node, credentials.clone(), channels.clone());
    let renewing = tokio::spawn(renewal.map_err(ProcessError::from)?.run());

    let gate = Gate::new(me.deployment, me.node, directory.clone());
    let handler = Arc::new(ConsensusHandler::new(host.clone()));
    let router = sealdex_peer::server()
        .add_service(PeerService::new(gate.clone(), handler))
        .add_service(ShardService::new(node.clone(), me.deployment, me.node, gate));
    let port = PeerPort::start(listener, credentials, router);
    let run = Run {
        address: args.node.advertised(),
        zone: args.node.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let agent = Arc::new(Agent::new(node.clone(), channels.clone(), directory, run));
    let reporting = tokio::spawn(agent.clone().run());

    depend_on_partitions(&readiness, &agent, &node);
    readiness.serve();

    leaving(stop, &channels, &readiness).await;
    agent.stop();
    node.relinquish().await;
    // Whoever asks here meanwhile is told who leads now, and asks there the next time.
    sleep(LEADERS_TOLD).await;
    node.leave();
    port.stop().await?;
    renewing.abort();
    reporting.abort();
    node.close().await;
    host.stop().await;
    Ok(())
}

/// A node knows itself, whatever the coordinator has heard yet.
fn enter_self(directory: &Directory, me: NodeId, args: &NodeArgs, credentials: &sealdex_peer::Credentials) {
    let registered = Registered {
        identity: credentials.identity().clone(),
        address: args.advertised(),
        removed: false,
    };
    directory.insert(me, registered);
}

/// What has to hold, besides that it serves, for a shard node to be one that others can do without.
fn depend_on_partitions(readiness: &Readiness, agent: &Arc<Agent>, node: &Arc<Node>) {
    let agent = Arc::downgrade(agent);
    readiness.depend("replicas", move || match agent.upgrade() {
        Some(agent) if agent.is_settled() => Condition::Good,
        _ => Condition::Bad("not yet as the coordinators want them".to_owned()),
    });
    let node = Arc::downgrade(node);
    readiness.depend("partitions", move || {
        match node.upgrade().map(|node| node.leaderless().len()) {
            Some(0) => Condition::Good,
            Some(leaderless) => Condition::Bad(format!(
                "{leaderless} are without a leader; a majority of their nodes has to be up"
            )),
            None => Condition::Bad("closed".to_owned()),
        }
    });
}

fn space(args: &ShardArgs, readiness: &Readiness) -> Result<Arc<Space>, StorageError> {
    let reserve = args.disk_reserve_mib.map(|mib| u64::from(mib) << 20);
    let space = Space::open(&args.data_dir.join("log"), reserve);
    let space = Arc::new(space.map_err(|error| StorageError::of(&args.data_dir, error))?);
    readiness.depend_on_disk(&space);
    Ok(space)
}

async fn open(
    args: &ShardArgs,
    me: Identified,
    channels: Arc<Channels>,
    space: Arc<Space>,
) -> Result<(Arc<Host>, Arc<Node>), StorageError> {
    let storage = |error: String| StorageError::of(&args.data_dir, error);
    let log = HostOptions {
        path: args.data_dir.join("log"),
        node: me.node,
        space: space.clone(),
        timing: Timing::default(),
        peers: Arc::new(ConsensusPeers(PeerClient::new(channels))),
    };
    let threads = match args.threads {
        0 => std::thread::available_parallelism().map_or(2, |cores| cores.get()),
        threads => threads as usize,
    };
    let options = Options {
        path: args.data_dir.join("shard"),
        partitions: me.partitions,
        block_cache_bytes: (args.block_cache_mib as usize) << 20,
        threads,
        queue: REQUESTS_QUEUED,
    };
    let open = move || {
        let host = Host::open(log).map_err(|error| error.to_string())?;
        let node = Node::open(options, space, host.clone()).map_err(|error| error.to_string())?;
        Ok::<_, String>((host, Arc::new(node)))
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened
        .map_err(|error| storage(error.to_string()))?
        .map_err(storage)
}
