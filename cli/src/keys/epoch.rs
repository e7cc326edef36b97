//! Watching a server seal an index again under a new key epoch. The server does it by itself: whoever stops watching stops
//! nothing.

use super::api::Api;
use super::error::KeysError;
use crate::progress;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Waits until all of the index is of one epoch again.
pub(super) async fn watch(api: &mut Api, index: &str) -> Result<(), KeysError> {
    let bar = progress::bar(0, "preparing");
    loop {
        let seen = api.rotation(index).await?;
        if !seen.rotating {
            bar.finish_and_clear();
            return Ok(());
        }
        if seen.phase == "waiting_for_key" {
            return Err(KeysError::WaitsForKey {
                index: index.to_owned(),
                why: seen.error,
            });
        }
        bar.set_length(seen.items_total);
        bar.set_position(seen.items_done);
        bar.set_prefix(seen.error.unwrap_or(seen.phase));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
