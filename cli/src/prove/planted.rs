//! Shows that the scanner finds what it is to look for, before anybody trusts its silence: plants every kind of secret in every form
//! into files full of noise, and looks.

use super::canaries::{Canaries, Random};
use super::error::ProveError;
use sealdex_canary::{Scanner, forms, vector_forms};
use std::path::{Path, PathBuf};

/// Bytes of noise before a planted secret, and behind it.
const NOISE_BYTES: usize = 3_000;

/// Bytes of a vector that are planted: what one cache line of it is.
const VECTOR_BYTES: usize = 64;

/// How many were planted, each in a file of its own, and found there. An error if one was not, or if noise was taken for a secret.
pub(super) fn all_are_found(canaries: &Canaries, scanner: &Scanner) -> Result<usize, ProveError> {
    let folder = scratch_folder("sealdex-prove-planted")?;
    let outcome = plant_and_look(canaries, scanner, &folder);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

fn plant_and_look(canaries: &Canaries, scanner: &Scanner, folder: &Path) -> Result<usize, ProveError> {
    let mut planted = Vec::new();
    for (what, text) in canaries.sample_texts() {
        planted.extend(
            forms(text)
                .into_iter()
                .map(|(form, bytes)| (format!("{what} as {form}"), bytes)),
        );
    }
    for (what, vector) in canaries.sample_vectors() {
        let part = |(form, bytes, _): (&str, Vec<u8>, usize)| {
            let bytes = bytes[..VECTOR_BYTES.min(bytes.len())].to_vec();
            (format!("{what} as {form}"), bytes)
        };
        planted.extend(vector_forms(vector).map(part));
    }
    for (n, (_, secret)) in planted.iter().enumerate() {
        let bytes = [noise()?, secret.clone(), noise()?].concat();
        std::fs::write(folder.join(n.to_string()), bytes)?;
    }
    std::fs::write(folder.join("noise"), [noise()?, noise()?].concat())?;
    let report = scanner.scan_folder(folder)?;
    let found = |file: PathBuf| report.finds.iter().any(|find| find.file == file);
    for (n, (what, _)) in planted.iter().enumerate() {
        if !found(folder.join(n.to_string())) {
            return Err(ProveError::Blind(what.clone()));
        }
    }
    match found(folder.join("noise")) {
        true => Err(ProveError::Blind(
            "the difference between a secret and noise".into(),
        )),
        false => Ok(planted.len()),
    }
}

fn noise() -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; NOISE_BYTES];
    Random.fill(&mut bytes)?;
    Ok(bytes)
}

/// A new folder that only its owner can look into.
pub(super) fn scratch_folder(purpose: &str) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = std::env::temp_dir().join(format!("{purpose}-{}", Random.text()?));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}
