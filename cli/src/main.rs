//! The `sealdex` binary: parses the command line and starts a role or an operator's command. Nothing else lives here.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod bench;
mod certs;
mod client;
mod connect;
mod coordinator;
mod directory_lock;
mod health;
mod keys;
mod node;
mod nodes;
mod output;
mod process;
mod progress;
mod prove;
mod serve;
mod shard;
mod status;
mod storage_error;
mod telemetry;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "sealdex",
    version,
    about = "An encrypted, sharded vector database",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run coordinator and shard in one process, on one data directory
    Serve(Box<serve::ServeArgs>),
    /// Run a coordinator of a deployment: serves REST, keeps metadata, asks shard nodes
    Coordinator(Box<coordinator::CoordinatorArgs>),
    /// Run a shard node of a deployment: keeps replicas of partitions
    Shard(Box<shard::ShardArgs>),
    /// Measure a server over REST: ingest, training, recall against queries per second
    Bench(Box<bench::BenchArgs>),
    /// Make the certificates by which the nodes of a deployment know each other
    Certs(Box<certs::CertsArgs>),
    /// Ask a node whether it is ready; the exit code tells
    Health(health::HealthArgs),
    /// Tell who holds the keys of a server's indexes; exchange a key; revoke users
    Keys(Box<keys::KeysArgs>),
    /// Tell which nodes a deployment has, and let one go for good
    Nodes(Box<nodes::NodesArgs>),
    /// Write secrets into a scratch index, and show that none of them can be read in a server's files
    Prove(Box<prove::ProveArgs>),
    /// Tell on one screen how a deployment is: nodes, leaders, partitions, disks, leases, jobs
    Status(Box<status::StatusArgs>),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(_) => serve::configured(Cli::command(), "serve")
            .and_then(|(args, config)| serve::run(args, &config))
            .map_err(|e| e.to_string()),
        Command::Coordinator(_) => serve::configured(Cli::command(), "coordinator")
            .map_err(|e| e.to_string())
            .and_then(|(args, config)| coordinator::run(args, &config).map_err(|e| e.to_string())),
        Command::Shard(args) => shard::run(*args).map_err(|e| e.to_string()),
        Command::Bench(args) => bench::start(*args).map_err(|e| e.to_string()),
        Command::Certs(args) => certs::start(*args).map_err(|e| e.to_string()),
        Command::Health(args) => health::start(args).map_err(|e| e.to_string()),
        Command::Keys(args) => keys::start(*args).map_err(|e| e.to_string()),
        Command::Nodes(args) => nodes::start(*args).map_err(|e| e.to_string()),
        Command::Prove(args) => prove::start(*args).map_err(|e| e.to_string()),
        Command::Status(args) => status::start(*args).map_err(|e| e.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
