//! A node that is about to be out of the others' reach.

use super::deployment::Deployment;
use crate::{LogIndex, ReadError};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn nobody_waits_at_a_node_that_leaves() {
    let deployment = Deployment::founded(23, 3).await;
    let leader = deployment.leader().await;
    let (_, group) = deployment.running().find(|(node, _)| *node != leader).unwrap();
    let far = LogIndex(group.status().last_log.0 + 1_000);
    let waiting = {
        let group = group.clone();
        tokio::spawn(async move { (group.wait_applied(far).await, Instant::now()) })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    let left = Instant::now();
    group.leave();
    let (waited, at) = waiting.await.unwrap();
    assert!(
        matches!(waited, Err(ReadError::NotLeader { leader: Some(other) }) if other == leader),
        "{waited:?}"
    );
    assert!(
        at - left < Duration::from_millis(100),
        "it went on waiting for {:?}",
        at - left
    );
    let applied = group.status().applied;
    group
        .wait_applied(applied)
        .await
        .expect("what is there already is not waited for");
}
