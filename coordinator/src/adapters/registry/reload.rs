//! What a SIGHUP asks for: the registry is read again, and put in force only if it is sound.

use super::{ConfigError, ConfigFile, Variables};
use crate::adapters::kms::KeyRing;
use std::path::Path;

/// Reads the registry from `path` again and puts it in force at once for all that comes after. A file that cannot be read or is
/// wrong changes nothing: the error is logged here, where it ends, and returned for whoever wants to know.
pub fn reload(ring: &KeyRing, path: &Path, variables: Variables<'_>) -> Result<(), ConfigError> {
    match ConfigFile::read(path, variables) {
        Ok(file) => {
            let slots = file.registry.slots.len();
            ring.replace(file.registry);
            tracing::info!(path = %path.display(), slots, "key registry reloaded");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%error, "key registry not reloaded; the one in force stays");
            Err(error)
        }
    }
}
