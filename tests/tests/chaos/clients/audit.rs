//! The last look, when everything is well again and nobody writes: every coordinator shows every item.

use super::{Client, PATIENCE, PROBES, Work, probe, worker};
use sealdex_tests::history::Id;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads everything through every coordinator, into the history.
pub(crate) async fn audit(work: &Arc<Work>) -> Result<(), String> {
    let shared = (0..worker::IDS).map(|i| Id(i as u32));
    let ids: Vec<Id> = shared.chain((0..PROBES).map(probe::id)).collect();
    for coordinator in 0..work.coordinators.len() {
        let mut client = Client::new(work, 0, PATIENCE);
        client.at = coordinator;
        let given_up = Instant::now() + SERVES_WITHIN;
        while client.read_all(&ids).await.is_none() {
            if Instant::now() > given_up {
                return Err(format!(
                    "{SERVES_WITHIN:?} after all was well, {} does not serve, or counts other items than it lists",
                    work.coordinators[coordinator]
                ));
            }
            client.at = coordinator;
        }
    }
    Ok(())
}

impl Client {
    async fn read_all(&mut self, ids: &[Id]) -> Option<()> {
        for part in ids.chunks(500) {
            self.get(part).await?;
        }
        let listed = self.list().await?;
        let counted = self.read("vectors/num_vectors", json!({})).await?;
        // They may differ while something goes on that nobody waited for, but not for long.
        (counted["result"] == listed).then_some(())
    }
}

const SERVES_WITHIN: Duration = Duration::from_secs(60);
