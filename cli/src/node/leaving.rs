//! When a node that serves is to end: it is asked to, or the deployment has let it go.

use crate::admin::Readiness;
use crate::process::Stop;
use sealdex_peer::Channels;

/// Resolves when this node is to finish what is under way and to end; from then on it is no longer ready.
pub(crate) async fn leaving(stop: Stop, channels: &Channels, readiness: &Readiness) {
    tokio::select! {
        () = stop.asked() => {}
        () = channels.removed() => {
            readiness.drain();
            tracing::warn!(
                "this node was removed from the deployment: it finishes what is under way and ends; with an empty data directory it may join anew"
            );
        }
    }
}
