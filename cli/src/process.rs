//! What every long-running role does with its process: where it logs, what it keeps off the disk, and when it ends.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::io::IsTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Why a process cannot be set up. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// The log filter does not parse.
    #[error("--log: {0}")]
    LogFilter(String),
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Logs what `filter` lets through. Of consensus, which tells of its every step, only what goes wrong, unless the filter names it.
pub(crate) fn log_to_stderr(filter: &str) -> Result<(), ProcessError> {
    let filter = if filter.contains("openraft") { filter.to_owned() } else { format!("{filter},openraft=error") };
    let filter = EnvFilter::try_new(filter).map_err(|error| ProcessError::LogFilter(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

/// Leaves no core, and lets the process open as many files as it may.
pub(crate) fn harden() -> Result<(), ProcessError> {
    leave_no_core()?;
    Ok(raise_file_limit()?)
}

/// A core dump would put the keys of the moment on disk, and a debugger of the same user could read them.
fn leave_no_core() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Each connection takes a file, and so does much of what storage keeps open; the usual soft limit is 1,024.
fn raise_file_limit() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?)
}

/// Comes when the process is asked to end.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, ProcessError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
