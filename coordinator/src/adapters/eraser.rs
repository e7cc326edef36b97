//! Keeps what was erased from the metadata out of the files of the group's log, on every node that has a copy: whoever asked for
//! an erasure waits for it where it was decided, and other nodes follow when they apply it.

use super::metadata_store::MetadataStore;
use sealdex_consensus::Group;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long whoever asked for an erasure waits for it. The log goes on being needed as long as entries are on their way to a node that does
/// not answer, and nobody shall wait for that one.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Until a rewriting that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Rewrites the log's files behind erasures, for as long as the state machine is there.
pub(super) struct Eraser {
    /// How many erasures were applied here.
    erasures: watch::Receiver<u64>,
    /// The erasures before which the files were rewritten, or could not be.
    attempted: watch::Receiver<u64>,
}

impl Eraser {
    pub(super) fn start(group: Group<MetadataStore>, erasures: watch::Receiver<u64>) -> Self {
        let (attempt, attempted) = watch::channel(0);
        tokio::spawn(run(group, erasures.clone(), attempt));
        Self { erasures, attempted }
    }

    /// The same, for as long as the sender of a request can be asked to wait. It is done in any case.
    pub(super) async fn done_soon(&self) {
        if timeout(WAIT_MAX, self.done()).await.is_err() {
            tracing::warn!(
                "sealed keys that were erased stay in a file of the log until a node that does not answer needs it no more"
            );
        }
    }

    /// Waits until the files were rewritten behind every erasure that is applied here. Those that cannot be are tried again later.
    pub(super) async fn done(&self) {
        let due = *self.erasures.borrow();
        let mut attempted = self.attempted.clone();
        // Whoever stops is not waited for: its next start does it.
        let _ = attempted.wait_for(|attempted| *attempted >= due).await;
    }
}

async fn run(group: Group<MetadataStore>, mut erasures: watch::Receiver<u64>, attempted: watch::Sender<u64>) {
    loop {
        let due = *erasures.borrow_and_update();
        let purged = group.purge_applied().await;
        attempted.send_replace(due);
        let next = match purged {
            Ok(()) => erasures.changed().await,
            Err(error) => {
                tracing::warn!(%error, "sealed keys that were erased stay in a file of the log for now");
                timeout(RETRY, erasures.changed()).await.unwrap_or(Ok(()))
            }
        };
        if next.is_err() {
            return;
        }
    }
}
