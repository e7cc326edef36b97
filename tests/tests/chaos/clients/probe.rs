//! A client that writes one item over and over, to see for how long it cannot.

use super::{Client, worker};
use sealdex_tests::history::Id;
use std::time::Duration;

/// Works until the run is over.
pub(super) async fn work(mut client: Client, number: usize) {
    while !client.work.is_over() {
        let item = (id(number), client.work.token());
        if client.upsert(&[item]).await {
            let now = client.work.recorder.now();
            client.work.notes().acknowledged[number].push(now);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The item that a probe writes.
pub(super) fn id(number: usize) -> Id {
    Id((worker::IDS + number) as u32)
}

/// Short against any failover, long enough to leave the machine to others.
const PAUSE: Duration = Duration::from_millis(100);
