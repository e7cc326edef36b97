//! `sealdex status`: how a deployment is, on one screen. A client of the REST API and of nothing else: any coordinator will do.

pub(crate) mod api;
mod error;
pub(crate) mod table;

pub(crate) use error::StatusError;

use crate::connect::ConnectArgs;
use crate::output::{Outcome, Output};
use api::Api;
use clap::Args;
use serde_json::json;

/// Options of `sealdex status`.
#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,

    /// Show all partitions, not only those that are not in good health
    #[arg(long)]
    partitions: bool,
}

/// Asks a coordinator, and prints what it tells.
pub(crate) fn start(args: StatusArgs) -> Result<(), StatusError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(StatusError::Runtime)?.block_on(run(args))
}

async fn run(args: StatusArgs) -> Result<(), StatusError> {
    let mut api = Api::new(&args.connect.endpoint()?, args.connect.timeout());
    let status = api.status().await?;
    let nodes = api.nodes().await?;
    let partitions = api.partitions().await?;
    args.output.print(&Outcome {
        text: table::screen(&status, &nodes, &partitions, args.partitions),
        json: json!({"status": status, "nodes": nodes, "partitions": partitions}),
    });
    Ok(())
}
