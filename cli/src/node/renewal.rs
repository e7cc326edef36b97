//! Takes up other certificates while the node runs: when it is told to (SIGHUP), and when it sees that the files have changed. Files with a
//! mistake change nothing. Warns when what is in force comes to its end.

use super::{NodeArgs, NodeError};
use sealdex_peer::{Channels, Credentials, CurrentCredentials, Role};
use sealdex_telemetry::{Certificate, metrics};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

/// How often the files are looked at: what mounts secrets sends no signal.
const LOOK_EVERY: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(86_400);

/// Whatever ends sooner is warned of, once a day.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// The files of a node's certificates, and all that shows them.
pub(crate) struct Renewal {
    files: NodeArgs,
    role: Role,
    current: Arc<CurrentCredentials>,
    channels: Arc<Channels>,
    hangup: Signal,
    /// What is wrong with the files as they are, if it has been said.
    said: Option<String>,
    warned: Option<Instant>,
}

impl Renewal {
    /// Of the node that `args` describe, whose credentials are now `current`.
    pub(crate) fn new(
        args: &NodeArgs,
        current: Arc<CurrentCredentials>,
        channels: Arc<Channels>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            files: args.clone(),
            role: current.get().identity().role,
            current,
            channels,
            hangup: signal(SignalKind::hangup())?,
            said: None,
            warned: None,
        })
    }

    /// Goes on until the task is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            self.tell_of_the_end();
            let asked = tokio::select! {
                told = self.hangup.recv() => told.is_some(),
                () = sleep(LOOK_EVERY) => false,
            };
            let (files, role) = (self.files.clone(), self.role);
            let read = tokio::task::spawn_blocking(move || files.credentials(role)).await;
            if let Ok(read) = read {
                self.take(read, asked);
            }
        }
    }

    /// Puts in force what was read, if it is sound and something else.
    fn take(&mut self, read: Result<Credentials, NodeError>, asked: bool) {
        match read {
            Ok(read) if !read.are_those(&self.current.get()) => {
                let credentials = Arc::new(read);
                self.current.replace(credentials.clone());
                self.channels.renew(&credentials);
                (self.said, self.warned) = (None, None);
                tracing::info!(
                    days_left = days_left(credentials.not_after()),
                    "certificates reloaded"
                );
            }
            Ok(_) => {
                self.said = None;
                if asked {
                    tracing::info!("certificates not reloaded: the files hold those in force");
                }
            }
            Err(error) => {
                let says = error.to_string();
                if asked || self.said.as_ref() != Some(&says) {
                    tracing::error!(%error, "certificates not reloaded; those in force stay");
                }
                self.said = Some(says);
            }
        }
    }

    fn tell_of_the_end(&mut self) {
        let current = self.current.get();
        let ends = [
            (Certificate::Node, current.not_after()),
            (Certificate::Authority, current.authority_not_after()),
        ];
        let told_today = self.warned.is_some_and(|at| at.elapsed() < DAY);
        for (certificate, not_after) in ends {
            metrics().certificates.ends(certificate, not_after);
            if left(not_after) < SOON && !told_today {
                tracing::warn!(
                    certificate = certificate.as_str(),
                    days_left = days_left(not_after),
                    "a certificate expires soon; put a new one in its place, which is taken up without a restart"
                );
                self.warned = Some(Instant::now());
            }
        }
    }
}

fn left(not_after: SystemTime) -> Duration {
    not_after.duration_since(SystemTime::now()).unwrap_or_default()
}

fn days_left(not_after: SystemTime) -> u64 {
    left(not_after).as_secs() / DAY.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use sealdex_core::{DeploymentId, NodeId};
    use sealdex_peer::{Authority, Directory, Identity, Issued, Names};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        node: NodeArgs,
    }

    fn put(folder: &Path, name: &str, issued: &Issued) {
        fs::write(folder.join(format!("{name}.crt")), &issued.certificate).unwrap();
        let key = folder.join(format!("{name}.key"));
        fs::write(&key, &issued.key).unwrap();
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn renewal(folder: &Path) -> Renewal {
        let dir = folder.to_str().unwrap();
        let args = [
            "x",
            "--name",
            "shard-1",
            "--join",
            "a:1",
            "--join-token-file",
            "t",
            "--tls-dir",
            dir,
        ];
        let args = Command::parse_from(args).node;
        let credentials = args.credentials(Role::Shard).ok().unwrap();
        let channels = Channels::new(
            DeploymentId([1; 16]),
            NodeId(1),
            &credentials,
            Arc::new(Directory::default()),
        );
        let current = Arc::new(CurrentCredentials::new(credentials));
        Renewal::new(&args, current, Arc::new(channels)).unwrap()
    }

    #[tokio::test]
    async fn sound_files_are_taken_up_and_others_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (authority, issued) = Authority::generate(400 * DAY).unwrap();
        put(folder.path(), "ca", &issued);
        let node = |role, name: &str, days: u32| {
            let identity = Identity {
                role,
                name: name.parse().unwrap(),
            };
            authority.issue(&identity, &Names::default(), days * DAY).unwrap()
        };
        put(folder.path(), "shard-1", &node(Role::Shard, "shard-1", 10));
        let mut renewal = renewal(folder.path());
        let look = |renewal: &mut Renewal| {
            let read = renewal.files.credentials(renewal.role);
            renewal.take(read, false);
            (days_left(renewal.current.get().not_after()), renewal.said.clone())
        };
        assert_eq!(look(&mut renewal), (9, None));
        put(folder.path(), "shard-1", &node(Role::Shard, "shard-1", 100));
        assert_eq!(look(&mut renewal), (99, None));
        // Of another node, of another role, of another authority, and half written.
        let (foreign, _) = Authority::generate(DAY).unwrap();
        let identity = renewal.current.get().identity().clone();
        for wrong in [
            node(Role::Shard, "shard-2", 200),
            node(Role::Coordinator, "shard-1", 200),
            foreign.issue(&identity, &Names::default(), 200 * DAY).unwrap(),
        ] {
            put(folder.path(), "shard-1", &wrong);
            let (days, said) = look(&mut renewal);
            assert_eq!(days, 99);
            assert!(said.is_some_and(|said| !said.contains('\n')));
        }
        fs::write(folder.path().join("shard-1.crt"), "").unwrap();
        assert!(matches!(look(&mut renewal), (99, Some(_))));
        put(folder.path(), "shard-1", &node(Role::Shard, "shard-1", 300));
        assert_eq!(look(&mut renewal), (299, None));
    }
}
