//! `sealdex coordinator`: a node that serves REST, keeps metadata, and asks shard nodes.

mod beginning;
mod door;
mod following;
mod readiness;

use crate::admin::Readiness;
use crate::node::{
    ConsensusHandler, ConsensusPeers, Identified, JoinToken, NodeArgs, NodeError, NodeFile, PeerPort,
    Renewal, leaving, room_to_join,
};
use crate::process::{self, ProcessError, Stop};
use crate::serve::{Config, ServeArgs, reload_on_hangup};
use crate::storage_error::StorageError;
use clap::Args;
use door::Door;
use sealdex_consensus::{Host, HostOptions, Space, Timing};
use sealdex_coordinator::adapters::kms::KeyRing;
use sealdex_coordinator::adapters::shard_grpc::{Routes, ShardGrpc};
use sealdex_coordinator::adapters::{CatalogHandle, FellowsGrpc, LookoutGrpc};
use sealdex_coordinator::api::grpc::CoordinatorService;
use sealdex_coordinator::api::rest::{self, ServerOptions};
use sealdex_coordinator::own_word::OwnWord;
use sealdex_coordinator::reporter::Reporter;
use sealdex_coordinator::service::Service;
use sealdex_coordinator::steward::Steward;
use sealdex_peer::{Channels, CurrentCredentials, Directory, Gate, PeerClient, PeerService, Role};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Options of `sealdex coordinator`: those of every node, and those of `sealdex serve`, which are meant alike.
#[derive(Args)]
pub(crate) struct CoordinatorArgs {
    #[command(flatten)]
    node: NodeArgs,

    /// Begin a new deployment, if no other coordinator of --join knows one; where all have this, the first of --join begins
    #[arg(long, env = "SEALDEX_BOOTSTRAP")]
    bootstrap: bool,

    /// Shard nodes that have to be there before partitions are given to them, when a deployment begins
    #[arg(long, env = "SEALDEX_EXPECTED_SHARDS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=128))]
    expected_shards: u16,

    /// Seconds after SIGTERM for which requests are still taken, so that whoever sends them has noticed that this node is not ready
    #[arg(long, env = "SEALDEX_DRAIN_DELAY_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=600))]
    drain_delay_seconds: u16,

    /// Seconds without word of a shard node after which its replicas are built anew on others, set when a deployment begins
    #[arg(long, env = "SEALDEX_GRACE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    grace_seconds: u32,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// Why a coordinator does not run. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CoordinatorError {
    /// It does not take part.
    #[error("{0}")]
    Node(#[from] NodeError),
    /// The process cannot be set up.
    #[error("{0}")]
    Process(#[from] ProcessError),
    /// Its REST edge cannot be set up.
    #[error("{0}")]
    Serve(#[from] crate::serve::ServeError),
    /// An address is taken or not ours.
    #[error("cannot listen on {0}: {1}; choose another address or stop what is using it")]
    Listen(SocketAddr, std::io::Error),
    /// Storage cannot be opened, or fails.
    #[error("{0}")]
    Storage(#[from] StorageError),
}

/// Runs until SIGTERM or SIGINT, or until the deployment has let it go; then hands over what it leads and finishes what is under way.
pub(crate) fn run(args: CoordinatorArgs, config: &Config) -> Result<(), CoordinatorError> {
    let readiness = Readiness::new();
    process::run(&args.serve.telemetry, readiness.clone(), |stop| {
        serve(&args, config, readiness, stop)
    })
}

async fn serve(
    args: &CoordinatorArgs,
    config: &Config,
    readiness: Readiness,
    stop: Stop,
) -> Result<(), CoordinatorError> {
    let access = args.serve.access(config)?;
    let credentials = args.node.credentials(Role::Coordinator)?;
    let token = Arc::new(JoinToken::read(&args.node.join_token_file).map_err(NodeError::from)?);
    let mut file = NodeFile::open(&args.serve.data_dir, args.node.name.as_str()).map_err(NodeError::from)?;
    let space = space(args, &readiness)?;
    if file.identified().map_err(NodeError::from)?.is_none() {
        room_to_join(&args.serve.data_dir, &space)?;
    }
    let directory = Arc::new(Directory::default());
    let credentials = Arc::new(CurrentCredentials::new(credentials));
    let me = beginning::identified(args, &credentials, &token, &mut file, &directory).await?;
    tracing::info!(node = %me.node, deployment = %me.deployment, "part of the deployment");

    let rest_address = SocketAddr::new(args.serve.host, args.serve.port);
    let rest_listener = listen(rest_address).await?;
    let peer_listener = PeerPort::bind(args.node.peer_address).await?;
    let channels = Arc::new(Channels::new(
        me.deployment,
        me.node,
        &credentials.get(),
        directory.clone(),
    ));
    let renewal = Renewal::new(&args.node, credentials.clone(), channels.clone());
    let mut tasks = vec![tokio::spawn(renewal.map_err(ProcessError::from)?.run())];
    let (host, catalog) = open(args, me, channels.clone(), space).await?;
    readiness::depend_on_metadata(&readiness, &catalog);
    let own = Arc::new(OwnWord::new(catalog.clone()));
    let steward = Arc::new(Steward::new(me.node, catalog.clone(), own.clone()));
    let service = Arc::new(OnceLock::new());
    let door = Door::new(me.node, catalog.clone(), token);
    let handler = Arc::new(ConsensusHandler::new(host.clone()));
    handler.open_door(Arc::new(door));
    let gate = Gate::new(me.deployment, me.node, directory.clone());
    let coordinator =
        CoordinatorService::new(catalog.clone(), steward.clone(), service.clone(), gate.clone());
    let router = sealdex_peer::server()
        .add_service(PeerService::new(gate, handler))
        .add_service(coordinator);
    let peers = PeerPort::start(peer_listener, credentials, router);

    beginning::found(args, me, &file, &catalog).await?;
    let routes = Arc::new(Routes::default());
    let follow = following::follow(catalog.clone(), directory.clone(), routes.clone());
    tasks.push(tokio::spawn(follow));
    tasks.push(tokio::spawn(steward.clone().run()));
    let reporter = Arc::new(Reporter::new(
        catalog.clone(),
        channels.clone(),
        directory,
        own.clone(),
        args.node.advertised(),
        args.node.zone.clone(),
        env!("CARGO_PKG_VERSION").to_owned(),
    ));
    tasks.push(tokio::spawn(reporter.run()));
    tokio::select! {
        () = following::deployment_known(&catalog) => {}
        error = end_of(args, &catalog, &channels) => return Err(error),
    }
    let key_ring = Arc::new(KeyRing::new(config.registry().clone()));
    let shards = Arc::new(ShardGrpc::new(channels.clone(), routes));
    let fellows = Arc::new(FellowsGrpc::new(channels.clone(), catalog.clone()));
    let lookout = Arc::new(LookoutGrpc::new(catalog.clone(), steward, channels.clone()));
    let settings = args.serve.settings(me.partitions, me.deployment.0);
    let settings = settings.map_err(ProcessError::from)?;
    let starting = Service::start(
        settings,
        catalog.clone(),
        shards,
        fellows,
        lookout,
        key_ring.clone(),
    );
    let started = tokio::select! {
        started = starting => started,
        error = end_of(args, &catalog, &channels) => return Err(error),
    };
    let started = started
        .map_err(|error| StorageError::of(&args.serve.data_dir, error.context().unwrap_or(error.detail())))?;
    // Nobody else sets it.
    let _ = service.set(started.clone());
    own.serves(&started);
    reload_on_hangup(key_ring, config).map_err(ProcessError::from)?;
    tracing::info!(address = %rest_address, "serving REST");
    let authenticator = access.authenticator(args.serve.failed_attempts_max);
    readiness.serve();
    let end = async {
        leaving(stop, &channels, &readiness).await;
        own.stop();
        hand_over(&catalog).await;
    };
    let served = rest::serve(
        rest_listener,
        started.clone(),
        authenticator,
        ServerOptions {
            drain_delay: Duration::from_secs(args.drain_delay_seconds.into()),
            ..args.serve.server_options()
        },
        end,
    );
    tokio::select! {
        served = served => served.map_err(ProcessError::from)?,
        fault = catalog.failed() => return Err(StorageError::of(&args.serve.data_dir, fault).into()),
    }

    tracing::info!("stopping");
    // It may have been elected again meanwhile.
    hand_over(&catalog).await;
    started.stop().await;
    peers.stop().await?;
    tasks.iter().for_each(JoinHandle::abort);
    host.stop().await;
    Ok(())
}

/// What a coordinator ends with that does not serve yet.
async fn end_of(args: &CoordinatorArgs, catalog: &CatalogHandle, channels: &Channels) -> CoordinatorError {
    tokio::select! {
        fault = catalog.failed() => CoordinatorError::from(StorageError::of(&args.serve.data_dir, fault)),
        () = channels.removed() => CoordinatorError::from(NodeError::Removed),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, CoordinatorError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|cause| CoordinatorError::Listen(address, cause))
}

async fn hand_over(catalog: &CatalogHandle) {
    if let Err(error) = catalog.relinquish().await {
        tracing::info!(%error, "the metadata group was not handed over; it elects another leader");
    }
}

fn space(args: &CoordinatorArgs, readiness: &Readiness) -> Result<Arc<Space>, StorageError> {
    let folder = &args.serve.data_dir;
    let space = Space::open(&folder.join("log"), args.serve.disk_reserve_bytes());
    let space = Arc::new(space.map_err(|error| StorageError::of(folder, error))?);
    readiness.depend_on_disk(&space);
    Ok(space)
}

async fn open(
    args: &CoordinatorArgs,
    me: Identified,
    channels: Arc<Channels>,
    space: Arc<Space>,
) -> Result<(Arc<Host>, Arc<CatalogHandle>), StorageError> {
    let folder = &args.serve.data_dir;
    let storage = |error: String| StorageError::of(folder, error);
    let log = HostOptions {
        path: folder.join("log"),
        node: me.node,
        space: space.clone(),
        timing: Timing::default(),
        peers: Arc::new(ConsensusPeers(PeerClient::new(channels.clone()))),
    };
    let host = tokio::task::spawn_blocking(move || Host::open(log)).await;
    let host = host
        .map_err(|error| storage(error.to_string()))?
        .map_err(|error| storage(error.to_string()))?;
    let catalog = CatalogHandle::open(&folder.join("catalog"), space, &host, Some(channels)).await;
    Ok((
        host,
        Arc::new(catalog.map_err(|error| storage(error.to_string()))?),
    ))
}
