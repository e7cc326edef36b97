//! `sealdex nodes`: which nodes a deployment has and had, and letting one go for good. A client of the REST API.

use crate::connect::ConnectArgs;
use crate::output::{Outcome, Output};
use crate::progress;
use crate::status::StatusError;
use crate::status::api::{Api, Node};
use crate::status::table;
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Options of `sealdex nodes`.
#[derive(Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    connect: ConnectArgs,

    /// How to print what was found or done
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List nodes, also those that are gone
    List,
    /// Let a node go for good: its replicas move to other nodes while requests go on, then it is removed and its process ends
    Decommission(DecommissionArgs),
    /// Keep a node that was to go, if it is not gone yet
    Recommission(NodeArgs),
}

#[derive(Args)]
struct NodeArgs {
    /// The node's name, as `sealdex status` shows it
    node: String,
}

#[derive(Args)]
struct DecommissionArgs {
    #[command(flatten)]
    of: NodeArgs,

    /// Wait until it is gone. Ending the command does not keep the node
    #[arg(long)]
    wait: bool,
}

/// Carries out a command and prints what came of it.
pub(crate) fn start(args: NodesArgs) -> Result<(), StatusError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(StatusError::Runtime)?.block_on(run(args))
}

async fn run(args: NodesArgs) -> Result<(), StatusError> {
    let mut api = Api::new(&args.connect.endpoint()?, args.connect.timeout());
    let outcome = match args.command {
        Command::List => listed(&api.nodes().await?),
        Command::Decommission(decommission) => decommissioned(decommission, &mut api).await?,
        Command::Recommission(NodeArgs { node }) => {
            api.recommission(&node).await?;
            Outcome {
                text: format!("Node '{node}' stays.\n"),
                json: json!({"recommissioned": node}),
            }
        }
    };
    args.output.print(&outcome);
    Ok(())
}

fn listed(nodes: &[Node]) -> Outcome {
    let all: Vec<&Node> = nodes.iter().collect();
    Outcome {
        text: table::lines(&table::nodes(&all)),
        json: json!({"nodes": nodes}),
    }
}

async fn decommissioned(args: DecommissionArgs, api: &mut Api) -> Result<Outcome, StatusError> {
    let name = args.of.node;
    // Nodes of that name may have been before: it is this one that goes.
    let before = api.nodes().await?;
    let id = before
        .iter()
        .find(|node| node.name == name && !node.is_gone())
        .map(|node| node.id);
    api.decommission(&name).await?;
    let is_gone = match id {
        Some(id) if args.wait => {
            until_gone(id, api).await?;
            true
        }
        _ => false,
    };
    let text = match is_gone {
        true => format!(
            "Node '{name}' is gone, and its process ends: see to it that nothing starts it again. Its disk holds nothing that is needed any more.\n"
        ),
        false => format!(
            "Node '{name}' is being decommissioned: its replicas move to other nodes, then it is removed and its process ends. \
             `sealdex status` shows how far that is.\n"
        ),
    };
    Ok(Outcome {
        text,
        json: json!({"decommissioned": name, "id": id, "gone": is_gone}),
    })
}

/// Replicas move one after another; each takes as long as its copy.
async fn until_gone(id: u64, api: &mut Api) -> Result<(), StatusError> {
    let bar = progress::bar(0, "moving replicas");
    loop {
        let nodes = api.nodes().await?;
        let Some(node) = nodes.iter().find(|node| node.id == id && !node.is_gone()) else {
            bar.finish_and_clear();
            return Ok(());
        };
        let left = node.replicas as u64;
        let all = bar.length().unwrap_or(0).max(left);
        bar.set_length(all);
        bar.set_position(all - left);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
