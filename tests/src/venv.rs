//! The Python environments that `make deps` makes, outside the checkout.

use std::path::{Path, PathBuf};

/// The environment made from `tests/compat/requirements-{name}.txt`.
pub fn venv(name: &str) -> PathBuf {
    let home = || Path::new(&std::env::var("HOME").expect("HOME is set")).join(".cache/sealdex");
    let all = std::env::var("SEALDEX_VENVS").map_or_else(|_| home(), PathBuf::from);
    all.join(format!("venv-{name}"))
}
