//! `sealdex serve`: coordinator and shard in one process, on one data directory.

mod access;
mod card;
mod config;
mod data_dir;
mod local_lookout;
mod local_shard;
mod stores;

pub(crate) use config::Config;

use crate::admin::Readiness;
use crate::process::{self, ProcessError, Stop};
use crate::storage_error::StorageError;
use crate::telemetry::TelemetryArgs;
use access::{Access, AccessError};
use clap::{Args, Command, FromArgMatches};
use data_dir::DataDir;
use local_lookout::LocalLookout;
use local_shard::LocalShard;
use sealdex_coordinator::adapters::kms::KeyRing;
use sealdex_coordinator::adapters::registry::reload;
use sealdex_coordinator::api::rest::{self, ServerOptions};
use sealdex_coordinator::ports::NoFellows;
use sealdex_coordinator::service::{Service, Settings};
use sealdex_core::{DeploymentId, limits};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stores::Stores;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Options of `sealdex serve`. Each can be given by an environment variable or in the configuration file instead.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Where everything is kept, sealed; made if it does not exist
    #[arg(long, env = "SEALDEX_DATA_DIR", default_value = "./sealdex-data")]
    pub(crate) data_dir: PathBuf,

    /// Address to listen on
    #[arg(long, env = "SEALDEX_HOST", default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "SEALDEX_PORT", default_value_t = 8000)]
    pub(crate) port: u16,

    /// Seconds, at most 60, that an index key which a KMS unwrapped is used before the KMS is asked again; 0 asks every time
    #[arg(long, env = "SEALDEX_KEY_CACHE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=60))]
    key_cache_seconds: u64,

    /// Wrong API keys looked at per address and minute before the next is refused unseen, and wrong keys of an index likewise; 0 looks
    /// at all
    #[arg(long, env = "SEALDEX_FAILED_ATTEMPTS_MAX", default_value_t = 20)]
    pub(crate) failed_attempts_max: u32,

    /// Serve on an address other than loopback although nobody has to authenticate
    #[arg(long, env = "SEALDEX_OPEN_TO_NETWORK")]
    open_to_network: bool,

    /// Partitions of a new data directory; an existing one keeps its own
    #[arg(long, env = "SEALDEX_PARTITIONS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) partitions: Option<u16>,

    /// Threads for scans and for computing; 0 takes one per core
    #[arg(long, env = "SEALDEX_THREADS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    threads: u32,

    /// Memory for sealed pages read from disk, MiB
    #[arg(long, env = "SEALDEX_BLOCK_CACHE_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    block_cache_mib: u32,

    /// Free disk space that is kept back, MiB: writes are refused (507) before it is touched, deletions may use it. By
    /// default 2 % of the disk, at least 128 and at most 1024; 0 refuses nothing
    #[arg(long, env = "SEALDEX_DISK_RESERVE_MIB")]
    disk_reserve_mib: Option<u32>,

    /// Largest request body, MiB
    #[arg(long, env = "SEALDEX_BODY_MAX_MIB", default_value_t = (limits::BODY_BYTES_MAX >> 20) as u32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    body_max_mib: u32,

    /// Connections at a time; one more takes the place of one that is idle, or is answered 503
    #[arg(long, env = "SEALDEX_CONNECTIONS_MAX", default_value_t = limits::CONNECTIONS_MAX as u32, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    connections_max: u32,

    /// Connections of one remote address at a time; behind a proxy, which is one address, as many as of all
    #[arg(long, env = "SEALDEX_CONNECTIONS_PER_ADDRESS", default_value_t = limits::CONNECTIONS_PER_ADDRESS_MAX as u32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_per_address: u32,

    /// Train an untrained index by itself when it holds more items than this; 0 never does
    #[arg(long, env = "SEALDEX_AUTO_TRAIN_ITEMS", default_value_t = 65_536)]
    auto_train_items: u64,

    /// The recall that default parameters of a trained index aim at
    #[arg(long, env = "SEALDEX_RECALL_TARGET", default_value_t = 0.95, value_parser = recall_target)]
    recall_target: f32,

    /// How fast a key rotation seals items again, MiB per second; 0 as fast as it goes
    #[arg(long, env = "SEALDEX_ROTATION_MIB_PER_SECOND", default_value_t = 32.0, value_parser = pace)]
    rotation_mib_per_second: f64,

    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

fn recall_target(text: &str) -> Result<f32, String> {
    let target: f32 = text.parse().map_err(|_| "a recall is a number".to_owned())?;
    if (0.5..1.0).contains(&target) {
        Ok(target)
    } else {
        Err("a recall to aim at is at least 0.5 and below 1".to_owned())
    }
}

fn pace(text: &str) -> Result<f64, String> {
    let pace: f64 = text.parse().map_err(|_| "a pace is a number".to_owned())?;
    if pace.is_finite() && pace >= 0.0 {
        Ok(pace)
    } else {
        Err("a pace is at least 0".to_owned())
    }
}

/// Why `serve` did not start or did not end well. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The address is not loopback and nobody has to authenticate.
    #[error(
        "{0} can be reached from the network, but this server asks nobody for credentials; \
         set SEALDEX_ROOT_KEY, listen on 127.0.0.1, or pass --open-to-network if something else guards it"
    )]
    OpenToNetwork(IpAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {0}: {1}; choose another --port or stop what is using it")]
    Listen(SocketAddr, std::io::Error),
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(#[from] config::LoadError),
    /// The keys that callers are to show do not go together.
    #[error("{0}")]
    Access(#[from] AccessError),
    /// The data directory cannot be used.
    #[error("{0}")]
    DataDir(#[from] data_dir::DataDirError),
    /// Storage cannot be opened.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The process cannot be set up.
    #[error("{0}")]
    Process(#[from] ProcessError),
    /// Anything else the operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The arguments of a role that takes those of `serve`, with what is configured as defaults, from the whole command line as `command`
/// describes it. Whoever calls has parsed it once without: what is wrong with it was said then.
pub(crate) fn configured<A: FromArgMatches>(command: Command, role: &str) -> Result<(A, Config), ServeError> {
    let config = Config::load(Path::new("."), &environment)?;
    let own = command.find_subcommand(role).cloned().unwrap_or_default();
    let own = config.fill(own, &environment)?;
    let matches = command.mut_subcommand(role, |_| own).get_matches();
    let matches = matches.subcommand_matches(role).cloned().unwrap_or_default();
    let args = A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    Ok((args, config))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl ServeArgs {
    /// Which credential callers must show. Says what else is configured.
    pub(crate) fn access(&self, config: &Config) -> Result<Access, ServeError> {
        if let Some(path) = config.path() {
            let slots = config.registry().slots.len();
            tracing::info!(path = %path.display(), slots, "configuration read");
        }
        let access = Access::configured(config, &environment)?;
        if access.asks_nobody() {
            if !self.host.is_loopback() && !self.open_to_network {
                return Err(ServeError::OpenToNetwork(self.host));
            }
            tracing::warn!(host = %self.host, "nobody is asked for credentials: whoever reaches this address may use the server; set SEALDEX_ROOT_KEY or SEALDEX_API_KEY to change that; CYBORGDB_API_KEY is asked for with REQUIRE_API_KEY=true alone");
        }
        Ok(access)
    }

    /// Threads that compute.
    pub(crate) fn threads(&self) -> std::io::Result<usize> {
        match self.threads {
            0 => Ok(std::thread::available_parallelism()?.get()),
            n => Ok(n as usize),
        }
    }

    /// Free space to keep back; `None` chooses by the size of the disk.
    pub(crate) fn disk_reserve_bytes(&self) -> Option<u64> {
        self.disk_reserve_mib.map(|mib| u64::from(mib) << 20)
    }

    /// What the service is told, in a deployment with so many partitions.
    pub(crate) fn settings(&self, partitions: u16, deployment: [u8; 16]) -> std::io::Result<Settings> {
        Ok(Settings {
            partitions,
            deployment,
            key_cache: Duration::from_secs(self.key_cache_seconds),
            failed_attempts_max: self.failed_attempts_max,
            compute_threads: self.threads()?,
            auto_train_items: (self.auto_train_items > 0).then_some(self.auto_train_items),
            recall_target: self.recall_target,
            reseal_bytes_per_second: (self.rotation_mib_per_second * 1_048_576.0) as u64,
            ..Settings::default()
        })
    }

    /// What the REST edge is told.
    pub(crate) fn server_options(&self) -> ServerOptions {
        ServerOptions {
            body_bytes_max: (self.body_max_mib as usize) << 20,
            connections_max: self.connections_max as usize,
            connections_per_address: self.connections_per_address as usize,
            ..ServerOptions::default()
        }
    }
}

/// Runs until SIGTERM or SIGINT, then finishes what is under way.
pub(crate) fn run(args: ServeArgs, config: &Config) -> Result<(), ServeError> {
    let readiness = Readiness::new();
    process::run(&args.telemetry, readiness.clone(), |stop| {
        serve(&args, config, readiness, stop)
    })
}

async fn serve(
    args: &ServeArgs,
    config: &Config,
    readiness: Readiness,
    stop: Stop,
) -> Result<(), ServeError> {
    let access = args.access(config)?;
    let data_dir = DataDir::open(&args.data_dir, args.partitions)?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| ServeError::Listen(address, e))?;
    let stores = Stores::open(args, &data_dir, &readiness)
        .await
        .map_err(|reason| StorageError::of(data_dir.path(), reason))?;
    let Stores { node, catalog, host } = stores;
    let catalog = Arc::new(catalog);
    let settings = args.settings(data_dir.partitions(), data_dir.deployment())?;
    let key_ring = Arc::new(KeyRing::new(config.registry().clone()));
    let shards = Arc::new(LocalShard::new(node.clone()));
    let id = DeploymentId(data_dir.deployment());
    let lookout = LocalLookout::new(id, data_dir.partitions(), catalog.clone(), node.clone());
    let service = Service::start(
        settings,
        catalog.clone(),
        shards,
        Arc::new(NoFellows),
        Arc::new(lookout),
        key_ring.clone(),
    )
    .await
    .map_err(|e| StorageError::of(data_dir.path(), e.context().unwrap_or(e.detail())))?;
    readiness.serve();
    reload_on_hangup(key_ring, config)?;
    card::print(listener.local_addr()?, data_dir.path(), access.key_variable());
    let served = rest::serve(
        listener,
        service.clone(),
        access.authenticator(args.failed_attempts_max),
        args.server_options(),
        stop.asked(),
    );
    tokio::select! {
        served = served => served?,
        fault = catalog.failed() => return Err(StorageError::of(data_dir.path(), fault).into()),
    }
    tracing::info!("stopping");
    service.stop().await;
    node.close().await;
    host.stop().await;
    Ok(())
}

/// Reads the key registry again whenever the process gets a SIGHUP.
pub(crate) fn reload_on_hangup(key_ring: Arc<KeyRing>, config: &Config) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let file = config.reloads();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match file() {
                None => tracing::warn!(
                    "nothing to reload: there is no configuration file; write sealdex.yaml in the folder that the server was started in, or start it with SEALDEX_CONFIG_FILE"
                ),
                Some(path) => {
                    let key_ring = key_ring.clone();
                    // It logs what came of it.
                    let read = tokio::task::spawn_blocking(move || reload(&key_ring, &path, &environment));
                    let _ = read.await;
                }
            }
        }
    });
    Ok(())
}
