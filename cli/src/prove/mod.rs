//! `sealdex prove --at-rest`: shows that nothing that is entrusted to a server can be read in its files. Writes secrets that nobody
//! else knows through the REST API, as any client would, then looks for each of them, in every form in which it might have been
//! written by mistake, in every byte of the data directory and the log. First of all it shows that it would find them.

mod canaries;
mod error;
mod life;
mod own_server;
mod planted;

use crate::connect::ConnectArgs;
use canaries::Canaries;
use clap::Args;
use error::ProveError;
use life::Life;
use own_server::OwnServer;
use sealdex_canary::{Report, Scanner, forms, vector_forms};
use std::path::{Path, PathBuf};

/// Options of `sealdex prove`.
#[derive(Args)]
pub(crate) struct ProveArgs {
    /// Prove it of what is on disk
    #[arg(long, required = true)]
    at_rest: bool,

    /// Check the running server at --url, whose data directory this is, by means of an index that is deleted afterwards; without it
    /// a server is started for the purpose, on a directory that is removed afterwards. Repeatable
    #[arg(long, value_name = "DIR")]
    data_dir: Vec<PathBuf>,

    /// The log of the running server, or another file of its to look into. Repeatable
    #[arg(long, value_name = "FILE", requires = "data_dir")]
    log: Vec<PathBuf>,

    /// Items to write
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(500..=1_000_000))]
    items: u32,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Where to look.
struct Places {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

/// Writes, looks, and prints what was found. An error if anything is readable.
pub(crate) fn start(args: ProveArgs) -> Result<(), ProveError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let report = runtime.map_err(ProveError::Io)?.block_on(run(args))?;
    match report.finds.len() {
        0 => Ok(()),
        places => Err(ProveError::Readable { places }),
    }
}

async fn run(args: ProveArgs) -> Result<Report, ProveError> {
    let canaries = Canaries::draw(args.items as usize)?;
    let scanner = canaries.scanner();
    let planted = planted::all_are_found(&canaries, &scanner)?;
    println!("scanner     finds all of {planted} planted canaries, and none in noise");
    if args.data_dir.is_empty() {
        return of_own_server(canaries, scanner).await;
    }
    let places = Places {
        folders: args.data_dir,
        files: args.log,
    };
    let mut life = Life::new(args.connect.endpoint()?, args.connect.timeout(), canaries);
    let lived = life.live().await;
    let looked = lived.and_then(|()| look(&places, scanner, &life));
    // The index goes whatever came of it, unless the server is gone too.
    let deleted = life.end().await;
    let report = looked?;
    deleted?;
    Ok(report)
}

/// Three looks: while the server runs, after it was killed and has read its files back, and after it has stopped.
async fn of_own_server(canaries: Canaries, scanner: Scanner) -> Result<Report, ProveError> {
    let mut server = OwnServer::start()?;
    let mut life = Life::new(server.endpoint()?, OWN_SERVER_TIME_MAX, canaries);
    life.live().await?;
    let places = Places {
        folders: vec![server.data()],
        files: vec![server.log()],
    };
    let mut scanner = scanner;
    life.add_secrets(&mut scanner);
    scanner.add_text("root key", server.root_key().as_bytes());
    let mut report = scan(&places, &scanner, &life)?;
    server.kill()?;
    server.start_again()?;
    life.reach(server.endpoint()?);
    life.query().await?;
    report.finds.extend(scan(&places, &scanner, &life)?.finds);
    server.stop()?;
    let last = scan(&places, &scanner, &life)?;
    report.finds.extend(last.finds);
    let report = Report {
        files: last.files,
        bytes: last.bytes,
        finds: report.finds,
    };
    tell(&places, &scanner, &report);
    Ok(report)
}

fn look(places: &Places, mut scanner: Scanner, life: &Life) -> Result<Report, ProveError> {
    life.add_secrets(&mut scanner);
    let report = scan(places, &scanner, life)?;
    tell(places, &scanner, &report);
    Ok(report)
}

/// Looks everywhere once. The name of an index is no secret and stands in the catalogue: where it is not found, the data is not.
fn scan(places: &Places, scanner: &Scanner, life: &Life) -> Result<Report, ProveError> {
    let mut name = Scanner::default();
    name.add_text("index name", life.index_letters().as_bytes());
    let mut seen = false;
    let mut report = Report::default();
    for folder in &places.folders {
        seen |= !name.scan_folder(folder)?.finds.is_empty();
        let found = scanner.scan_folder(folder)?;
        report.files += found.files;
        report.bytes += found.bytes;
        report.finds.extend(found.finds);
    }
    for file in &places.files {
        if !file.is_file() {
            return Err(ProveError::NoSuchFile(file.clone()));
        }
        scanner.scan_file(file, &mut report)?;
    }
    match seen {
        true => Ok(report),
        false => Err(ProveError::Elsewhere(places.folders.clone())),
    }
}

fn tell(places: &Places, scanner: &Scanner, report: &Report) {
    let shown = |path: &PathBuf| path.display().to_string();
    let everywhere: Vec<String> = places.folders.iter().chain(&places.files).map(shown).collect();
    println!(
        "scanned     {} files, {} bytes: {}",
        report.files,
        report.bytes,
        everywhere.join(", ")
    );
    let kinds = forms(&[0; 32]).len() + vector_forms(&[0.0]).len() + 1;
    println!(
        "looked for  {} patterns in {kinds} forms: raw, hex, base64, UTF-16, float16, float32, float64, decimal",
        scanner.patterns()
    );
    if report.finds.is_empty() {
        println!("found       nothing readable");
    }
    for find in report.finds.iter().take(FINDS_TOLD_MAX) {
        println!(
            "found       {} in {}, byte {}",
            find.what,
            shown_path(&find.file),
            find.offset
        );
    }
}

/// A path may hold anything, also what moves a terminal's cursor.
fn shown_path(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

/// Enough to go by.
const FINDS_TOLD_MAX: usize = 50;

const OWN_SERVER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(120);
