//! A node with a disk that goes back in time: at its second death it is put back to where it was at its first.

use super::machine::{Done, Machine, Role};
use super::process::Process;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// The node.
pub(crate) struct Forgetful(Process);

impl Forgetful {
    /// That process, from now on forgetful.
    pub(crate) fn of(process: Process) -> Self {
        Self(process)
    }

    fn copy(&self, from: &str, to: &str) -> Done {
        let (from, to) = (self.0.folder().join(from), self.0.folder().join(to));
        let copied = Command::new("cp").arg("-a").args([&from, &to]).status();
        match copied {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("cp {} {}: {other:?}", from.display(), to.display())),
        }
    }
}

impl Machine for Forgetful {
    fn kill(&self) -> Done {
        self.0.kill()?;
        if !self.0.folder().join("copy").exists() {
            return self.copy("data", "copy");
        }
        self.0.wipe()?;
        self.copy("copy", "data")
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn role(&self) -> Role {
        self.0.role()
    }

    fn rest(&self) -> Option<SocketAddr> {
        self.0.rest()
    }

    fn stop(&self) -> Done {
        self.0.stop()
    }

    fn start(&self) -> Done {
        self.0.start()
    }

    fn pause(&self) -> Done {
        self.0.pause()
    }

    fn resume(&self) -> Done {
        self.0.resume()
    }

    fn cut(&self) -> Done {
        self.0.cut()
    }

    fn mend(&self) -> Done {
        self.0.mend()
    }

    fn disk(&self) -> Result<PathBuf, String> {
        self.0.disk()
    }

    fn wipe(&self) -> Done {
        self.0.wipe()
    }

    fn is_well(&self) -> bool {
        self.0.is_well()
    }
}
