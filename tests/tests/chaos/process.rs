//! `sealdex serve` as a process of this machine, on a port that it keeps.

use super::machine::{Done, Machine, Role};
use sealdex_tests::server::binary;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// The process and its data; both end with it.
pub(crate) struct Process {
    folder: TempDir,
    address: SocketAddr,
    root_key: String,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// Starts it with nothing on its disk.
    pub(crate) fn begin(root_key: &str) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("sealdex-chaos-").tempdir();
        // Free when it is asked; should another program take it meanwhile, the start fails and says so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let process = Self {
            folder: folder.map_err(|error| error.to_string())?,
            address: port.map_err(|error| error.to_string())?,
            root_key: root_key.to_owned(),
            child: Mutex::default(),
        };
        process.start()?;
        Ok(process)
    }

    /// The folder with its `data` and its log.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: &str) -> Done {
        let child = self.child();
        let child = child.as_ref().ok_or("it does not run")?;
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill {signal}: {other:?}")),
        }
    }

    fn wait(&self) -> Done {
        let ended = self.child().take().map(|mut child| child.wait());
        match ended {
            Some(Err(error)) => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

impl Machine for Process {
    fn name(&self) -> &str {
        "serve"
    }

    fn role(&self) -> Role {
        Role::Embedded
    }

    fn rest(&self) -> Option<SocketAddr> {
        Some(self.address)
    }

    fn kill(&self) -> Done {
        self.signal("-KILL")?;
        self.wait()
    }

    fn stop(&self) -> Done {
        self.signal("-TERM")?;
        self.wait()
    }

    fn start(&self) -> Done {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .map_err(|error| error.to_string())?;
        let child = Command::new(binary())
            .args([
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                &self.address.port().to_string(),
            ])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .env_clear()
            .env("SEALDEX_ROOT_KEY", &self.root_key)
            .env("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        *self.child() = Some(child);
        Ok(())
    }

    fn pause(&self) -> Done {
        self.signal("-STOP")
    }

    fn resume(&self) -> Done {
        self.signal("-CONT")
    }

    fn cut(&self) -> Done {
        Err("a process has no other nodes to be cut off from".to_owned())
    }

    fn mend(&self) -> Done {
        self.cut()
    }

    fn disk(&self) -> Result<PathBuf, String> {
        Ok(self.folder.path().join("data"))
    }

    fn wipe(&self) -> Done {
        std::fs::remove_dir_all(self.folder.path().join("data")).map_err(|error| error.to_string())
    }

    fn is_well(&self) -> bool {
        let runs = matches!(self.child().as_mut().map(Child::try_wait), Some(Ok(None)));
        runs && answers(self.address, "/v1/health")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            // Both fail only when it is gone already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether `path` is answered with a 200, without the clients' patience.
pub(crate) fn answers(address: SocketAddr, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
