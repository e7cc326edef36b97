//! `sealdex certs`: a small certificate authority in a folder, for deployments that have none. Files and words; what stands in a
//! certificate is the peer crate's affair.

mod error;
mod folder;
mod show;

use clap::{Args, Subcommand};
use error::CertsError;
use folder::Folder;
use sealdex_peer::{Authority, Identity, Names, NodeName, Role};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Options of `sealdex certs`.
#[derive(Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the authority: ca.crt, which every node needs, and ca.key, which no node may have
    Init(InitArgs),
    /// Make certificate and key of one node
    Node(NodeArgs),
    /// Tell whose certificates there are and when they expire
    Show(ShowArgs),
}

#[derive(Args)]
struct InitArgs {
    /// The folder; made if it does not exist
    #[arg(long, default_value = "certs")]
    dir: PathBuf,

    /// Days until it expires, and with it everything that it signed
    #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

#[derive(Args)]
struct NodeArgs {
    /// The folder with the authority
    #[arg(long, default_value = "certs")]
    dir: PathBuf,

    /// What the node does: coordinator or shard
    #[arg(long)]
    role: Role,

    /// The node's name, which no other node has
    #[arg(long)]
    name: NodeName,

    /// A host name under which it is reached, besides its name; may be repeated
    #[arg(long)]
    dns: Vec<String>,

    /// An address under which it is reached by nodes that do not know its name yet; may be repeated
    #[arg(long)]
    ip: Vec<IpAddr>,

    /// Days until it expires
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,

    /// Replace the certificate and the key that the node has; without --dns and --ip it keeps its names
    #[arg(long)]
    renew: bool,
}

#[derive(Args)]
struct ShowArgs {
    /// The folder
    #[arg(long, default_value = "certs")]
    dir: PathBuf,
}

/// Carries out a command and prints what came of it.
pub(crate) fn start(args: CertsArgs) -> Result<(), CertsError> {
    match args.command {
        Command::Init(args) => init(&args),
        Command::Node(args) => node(args),
        Command::Show(args) => {
            print!("{}", show::table(&args.dir)?);
            Ok(())
        }
    }
}

fn init(args: &InitArgs) -> Result<(), CertsError> {
    let folder = Folder::create(&args.dir)?;
    let (_, issued) = Authority::generate(args.days * DAY)?;
    folder.put("ca", &issued, false)?;
    println!(
        "{} is the deployment's authority; keep ca.key off every node, and back it up",
        folder.path().join("ca.crt").display()
    );
    Ok(())
}

fn node(args: NodeArgs) -> Result<(), CertsError> {
    if args.name.as_str() == "ca" {
        return Err(CertsError::TakenName);
    }
    let folder = Folder::open(&args.dir)?;
    let authority = folder.authority()?;
    let identity = Identity {
        role: args.role,
        name: args.name,
    };
    let given = Names {
        dns: args.dns,
        ip: args.ip,
    };
    let names = match given.dns.is_empty() && given.ip.is_empty() && args.renew {
        true => folder.names_of(identity.name.as_str()).unwrap_or_default(),
        false => given,
    };
    let issued = authority.issue(&identity, &names, args.days * DAY)?;
    folder.put(identity.name.as_str(), &issued, args.renew)?;
    println!(
        "{identity}: give the node ca.crt, {name}.crt and {name}.key of {folder}",
        name = identity.name,
        folder = folder.path().display()
    );
    Ok(())
}
