//! What every long-running role does with its process: what it tells of itself from the start on, what it keeps off the disk, and when it
//! ends.

use crate::admin::{self, AdminAddress, Readiness};
use crate::telemetry::{TelemetryArgs, TelemetryError};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::net::SocketAddr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Why a process cannot be set up. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// Log or traces cannot be started.
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    /// The address of the admin port is taken or not ours.
    #[error("cannot listen on {0}: {1}; choose another --admin-address or stop what is using it")]
    ListenAdmin(SocketAddr, std::io::Error),
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Runs a role until its end. Log, traces and admin port are there before it begins; the role tells `readiness` how far it is. Asked to
/// end before it serves, it is left where it is: whatever it had begun by then, the next start finishes or begins again.
pub(crate) fn run<E: From<ProcessError>, F: Future<Output = Result<(), E>>>(
    telemetry: &TelemetryArgs,
    readiness: Readiness,
    role: impl FnOnce(Stop) -> F,
) -> Result<(), E> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(ProcessError::from)?.block_on(async {
        let stop = Stop::on_signals(readiness.clone())?;
        let traces = telemetry.start().map_err(ProcessError::from)?;
        leave_no_core().map_err(ProcessError::from)?;
        raise_file_limit().map_err(ProcessError::from)?;
        if let Some(address) = telemetry.admin_address {
            let AdminAddress(listens) = address;
            let started = admin::start(address, readiness).await;
            started.map_err(|cause| ProcessError::ListenAdmin(listens, cause))?;
        }
        let outcome = tokio::select! {
            outcome = role(stop.clone()) => outcome,
            () = stop.reaches(Wish::End) => Ok(()),
        };
        if let Some(traces) = traces {
            traces.stop().await;
        }
        outcome
    })
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

/// The wish that the process ends, as SIGTERM and SIGINT bring it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<Wish>);

#[derive(Clone, Copy, Eq, PartialEq)]
enum Wish {
    /// There is none.
    None,
    /// What is under way is to be finished first.
    Drain,
    /// Nothing is under way.
    End,
}

impl Stop {
    fn on_signals(readiness: Readiness) -> Result<Self, ProcessError> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (wish, stop) = watch::channel(Wish::None);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let wished = match readiness.drain() {
                true => {
                    tracing::info!("draining: what is under way is finished");
                    Wish::Drain
                }
                false => {
                    tracing::info!("asked to end before it served; ending");
                    Wish::End
                }
            };
            wish.send_replace(wished);
        });
        Ok(Self(stop))
    }

    /// Resolves when a process that serves is asked to end; from then on it is no longer ready.
    pub(crate) async fn asked(self) {
        self.reaches(Wish::Drain).await;
    }

    async fn reaches(mut self, wish: Wish) {
        if self.0.wait_for(|now| *now == wish).await.is_err() {
            // It was another wish.
            std::future::pending().await
        }
    }
}
