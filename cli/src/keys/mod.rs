//! `sealdex keys`: who holds the keys of a server's indexes, and how that is changed. A client of the REST API and of nothing else:
//! it knows no storage, and no key passes through it but the ones that its caller hands over.

mod api;
mod epoch;
mod error;
mod list;
mod revoke;
mod rotate;

use crate::connect::ConnectArgs;
use crate::output::{Outcome, Output};
use api::Api;
use clap::{Args, Subcommand};
use error::KeysError;

/// Options of `sealdex keys`.
#[derive(Args)]
pub(crate) struct KeysArgs {
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
    /// Tell of every index who holds its key, and which users it has
    List(list::ListArgs),
    /// Exchange the key of an index; its items are not touched, and no request fails
    Rotate(rotate::RotateArgs),
    /// Revoke users of an index: their tokens open nothing from the next request on
    Revoke(revoke::RevokeArgs),
}

/// Carries out a command and prints what came of it.
pub(crate) fn start(args: KeysArgs) -> Result<(), KeysError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(KeysError::Runtime)?.block_on(run(args))
}

async fn run(args: KeysArgs) -> Result<(), KeysError> {
    let api = Api::new(args.connect.endpoint()?, args.connect.timeout());
    let outcome = match args.command {
        Command::List(list) => list::run(list, api).await?,
        Command::Rotate(rotate) => rotate::run(rotate, api).await?,
        Command::Revoke(revoke) => revoke::run(revoke, api).await?,
    };
    args.output.print(&outcome);
    Ok(())
}
