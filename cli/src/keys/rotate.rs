//! `sealdex keys rotate`: another key for an index, from its owner or from a slot of the registry, without touching its items; or
//! a new key epoch, under which its items are sealed again.

use super::Outcome;
use super::api::{Api, Rotation};
use super::epoch;
use super::error::KeysError;
use super::list::table;
use crate::connect::{IndexKeyArgs, hex, index_key};
use clap::Args;
use sealdex_core::SecretText;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Options of `sealdex keys rotate`.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("exchange").required(true).multiple(true)))]
pub(super) struct RotateArgs {
    /// The index
    index: String,

    #[command(flatten)]
    index_key: IndexKeyArgs,

    #[command(flatten)]
    target: Target,

    /// Begin a new key epoch, with or without another index key: the server seals everything again in the background, and
    /// this command shows how far it is. Ending the command does not end that
    #[arg(long, group = "exchange")]
    epoch: bool,
}

/// Who holds the key from now on.
#[derive(Args)]
#[group(multiple = false)]
struct Target {
    /// Let this slot of the key registry wrap a new key; the same slot again wraps another
    #[arg(long, value_name = "SLOT", group = "exchange")]
    to_slot: Option<String>,

    /// Take the key in this file: 64 hexadecimal digits or 32 bytes, - for standard input
    #[arg(long, value_name = "FILE", group = "exchange")]
    new_key_file: Option<PathBuf>,

    /// Make a new key and keep it in this file, which must not exist yet
    #[arg(long, value_name = "FILE", group = "exchange")]
    make_key_file: Option<PathBuf>,
}

pub(super) async fn run(args: RotateArgs, mut api: Api) -> Result<Outcome, KeysError> {
    let before = api.key(&args.index).await?;
    let old_key = api.owners_key(&before, &args.index_key)?;
    let target = &args.target;
    let new_key = match (&target.new_key_file, &target.make_key_file) {
        (Some(path), _) => Some(index_key(path)?),
        (None, Some(path)) => Some(make_key(path)?),
        (None, None) => None,
    };
    let rotation = Rotation {
        index_key: old_key.as_ref().map(|key| key.expose()),
        new_index_key: new_key.as_ref().map(|key| key.expose()),
        new_kms_name: target.to_slot.as_deref(),
        epoch: args.epoch,
    };
    let rotated = api.rotate(&args.index, &rotation).await;
    if let (Err(error), Some(path)) = (&rotated, &target.make_key_file)
        && error.is_refusal()
    {
        // Nothing is kept under it. Whoever cannot remove it can do without.
        let _ = std::fs::remove_file(path);
    }
    rotated.map_err(|source| match &target.make_key_file {
        Some(path) if !source.is_refusal() => KeysError::Doubt {
            path: path.clone(),
            source,
        },
        _ => source.into(),
    })?;
    if args.epoch {
        epoch::watch(&mut api, &args.index).await?;
    }
    let info = api.key(&args.index).await?;
    let done = match args.epoch {
        true => format!(
            "Index '{}' is sealed under key epoch {}, all of it.",
            args.index, info.epoch
        ),
        false => format!("The key of index '{}' was exchanged.", args.index),
    };
    Ok(Outcome {
        text: format!("{done}\n{}", table(std::slice::from_ref(&info))),
        json: json!({"rotated": info}),
    })
}

/// A new key, synced to a file that only its owner can read before anything is sealed under it.
fn make_key(path: &Path) -> Result<SecretText, KeysError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|error| KeysError::Random(error.to_string()))?;
    let key = hex(&*bytes);
    write_new(path, key.expose()).map_err(|cause| KeysError::NewKey {
        path: path.to_owned(),
        cause,
    })?;
    Ok(key)
}

fn write_new(path: &Path, key: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(key.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
