//! `sealdex serve`: coordinator and shard in one process, on one data directory.

mod access;
mod card;
mod config;
mod data_dir;
mod local_shard;

use crate::admin::{self, AdminAddress, Condition, Readiness};
use crate::telemetry::{TelemetryArgs, TelemetryError};
use access::Access;
use clap::{Args, Command, FromArgMatches};
use config::Config;
use data_dir::DataDir;
use local_shard::LocalShard;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use sealdex_coordinator::adapters::kms::KeyRing;
use sealdex_coordinator::adapters::registry::reload;
use sealdex_coordinator::api::rest::{self, ServerOptions};
use sealdex_coordinator::service::{Service, Settings};
use sealdex_core::limits;
use sealdex_shard::{Node, Options};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Requests that may wait in the shard before the next is refused as busy.
const REQUESTS_QUEUED: usize = 1024;

/// Options of `sealdex serve`. Each can be given by an environment variable or in the configuration file instead.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Where everything is kept, sealed; made if it does not exist
    #[arg(long, env = "SEALDEX_DATA_DIR", default_value = "./sealdex-data")]
    data_dir: PathBuf,

    /// Address to listen on
    #[arg(long, env = "SEALDEX_HOST", default_value = "127.0.0.1")]
    host: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "SEALDEX_PORT", default_value_t = 8000)]
    port: u16,

    /// Seconds that an index key which a KMS unwrapped is used before the KMS is asked again; 0 asks every time
    #[arg(long, env = "SEALDEX_KEY_CACHE_SECONDS", default_value_t = 60)]
    key_cache_seconds: u64,

    /// Wrong API keys looked at per address and minute before the next is refused unseen, and wrong keys of an index likewise; 0 looks
    /// at all
    #[arg(long, env = "SEALDEX_FAILED_ATTEMPTS_MAX", default_value_t = 20)]
    failed_attempts_max: u32,

    /// Serve on an address other than loopback although nobody has to authenticate
    #[arg(long, env = "SEALDEX_OPEN_TO_NETWORK")]
    open_to_network: bool,

    /// Partitions of a new data directory; an existing one keeps its own
    #[arg(long, env = "SEALDEX_PARTITIONS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    partitions: Option<u16>,

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
    telemetry: TelemetryArgs,
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
    /// The data directory cannot be used.
    #[error("{0}")]
    DataDir(#[from] data_dir::DataDirError),
    /// Storage cannot be opened.
    #[error("cannot open the data directory: {0}")]
    Storage(String),
    /// Storage cannot be opened because its disk is full.
    #[error("cannot open {0}: its disk is full; free some MiB on it and start again, nothing is lost ({1})")]
    DiskFull(PathBuf, String),
    /// The address of the admin port is taken or not ours.
    #[error("cannot listen on {0}: {1}; choose another --admin-address or stop what is using it")]
    ListenAdmin(SocketAddr, std::io::Error),
    /// Log or traces cannot be started.
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    /// Anything else the operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The arguments of `serve`, with what is configured as defaults, from the whole command line as `command` describes it. Whoever
/// calls has parsed it once without: what is wrong with it was said then.
pub(crate) fn configured(command: Command) -> Result<(ServeArgs, Config), ServeError> {
    let config = Config::load(Path::new("."), &environment)?;
    let serve = command.find_subcommand("serve").cloned().unwrap_or_default();
    let serve = config.fill(serve, &environment)?;
    let matches = command.mut_subcommand("serve", |_| serve).get_matches();
    let matches = matches.subcommand_matches("serve").cloned().unwrap_or_default();
    let args = ServeArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    Ok((args, config))
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs until SIGTERM or SIGINT, then finishes what is under way.
pub(crate) fn run(args: ServeArgs, config: &Config) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let within = runtime.enter();
    let traces = args.telemetry.start()?;
    drop(within);
    leave_no_core()?;
    raise_file_limit()?;
    if let Some(path) = config.path() {
        let slots = config.registry().slots.len();
        tracing::info!(path = %path.display(), slots, "configuration read");
    }
    let access = Access::configured(config, &environment);
    if access.asks_nobody() && !args.host.is_loopback() && !args.open_to_network {
        return Err(ServeError::OpenToNetwork(args.host));
    }
    runtime.block_on(async {
        let outcome = serve(args, access, config).await;
        if let Some(traces) = traces {
            traces.stop().await;
        }
        outcome
    })
}

/// A core dump would put the keys of the moment on disk, and a debugger of the same user could read them.
fn leave_no_core() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Each connection takes a file, and so does much of what storage keeps open; the usual soft limit is 1,024.
fn raise_file_limit() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?)
}

async fn serve(args: ServeArgs, access: Access, config: &Config) -> Result<(), ServeError> {
    let readiness = Readiness::new();
    if let Some(address) = args.telemetry.admin_address {
        let AdminAddress(listens) = address;
        let started = admin::start(address, readiness.clone()).await;
        started.map_err(|e| ServeError::ListenAdmin(listens, e))?;
    }
    let data_dir = DataDir::open(&args.data_dir, args.partitions)?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| ServeError::Listen(address, e))?;
    let threads = match args.threads {
        0 => std::thread::available_parallelism()?.get(),
        n => n as usize,
    };
    let disk_reserve_bytes = args.disk_reserve_mib.map(|mib| u64::from(mib) << 20);
    let options = Options {
        path: data_dir.shard(),
        partitions: data_dir.partitions(),
        block_cache_bytes: (args.block_cache_mib as usize) << 20,
        threads,
        queue: REQUESTS_QUEUED,
        disk_reserve_bytes,
    };
    let node = tokio::task::spawn_blocking(move || Node::open(options))
        .await
        .map_err(|e| ServeError::Storage(e.to_string()))?
        .map_err(|e| not_opened(&data_dir, e.to_string()))?;
    let node = Arc::new(node);
    let settings = Settings {
        partitions: data_dir.partitions(),
        deployment: data_dir.deployment(),
        key_cache: Duration::from_secs(args.key_cache_seconds),
        failed_attempts_max: args.failed_attempts_max,
        compute_threads: threads,
        auto_train_items: (args.auto_train_items > 0).then_some(args.auto_train_items),
        recall_target: args.recall_target,
        reseal_bytes_per_second: (args.rotation_mib_per_second * 1_048_576.0) as u64,
        disk_reserve_bytes,
        ..Settings::new(data_dir.catalog())
    };
    let key_ring = Arc::new(KeyRing::new(config.registry().clone()));
    let service = Service::start(
        settings,
        Arc::new(LocalShard::new(node.clone())),
        key_ring.clone(),
    )
    .await
    .map_err(|e| not_opened(&data_dir, e.context().unwrap_or(e.detail()).to_owned()))?;
    readiness.depend("disk", {
        let node = Arc::downgrade(&node);
        move || {
            let closed = || Condition::Bad("closed".to_owned());
            node.upgrade().map_or_else(closed, |node| disk_condition(&node))
        }
    });
    readiness.serve();
    reload_on_hangup(key_ring, config)?;
    card::print(listener.local_addr()?, data_dir.path(), access.key_variable());
    let server = ServerOptions {
        body_bytes_max: (args.body_max_mib as usize) << 20,
        connections_max: args.connections_max as usize,
        connections_per_address: args.connections_per_address as usize,
        ..ServerOptions::default()
    };
    rest::serve(
        listener,
        service.clone(),
        access.authenticator(args.failed_attempts_max),
        server,
        drain_at(stop_signal()?, readiness),
    )
    .await?;
    tracing::info!("stopping");
    service.stop().await;
    node.close().await;
    Ok(())
}

/// A full disk is no reason to send requests elsewhere: it takes no growth, but answers all else.
fn disk_condition(node: &Node) -> Condition {
    match node.room() {
        Some(room) if room.free_bytes < room.needed_bytes => Condition::Impaired(format!(
            "writes are refused: {} bytes are free of {} needed; free some space",
            room.free_bytes, room.needed_bytes
        )),
        _ => Condition::Good,
    }
}

async fn drain_at(stop: impl Future<Output = ()>, readiness: Readiness) {
    stop.await;
    readiness.drain();
    tracing::info!("draining: requests under way are finished, none is taken any more");
}

fn not_opened(data_dir: &DataDir, reason: String) -> ServeError {
    if reason.contains("No space left on device") {
        ServeError::DiskFull(data_dir.path().to_owned(), reason)
    } else {
        ServeError::Storage(reason)
    }
}

/// Reads the key registry again whenever the process gets a SIGHUP.
fn reload_on_hangup(key_ring: Arc<KeyRing>, config: &Config) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let path = config.path().map(Path::to_owned);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match path.clone() {
                None => tracing::warn!("nothing to reload: no configuration file was read at the start"),
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

fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
