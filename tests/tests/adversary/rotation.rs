//! After a rotation of the key epoch: whatever opened records before opens none of those that are there now, also for somebody who
//! kept it and has a copy of every disk.

use crate::deployment::{Deployment, KEY, OTHER_KEY, ROOT, User};
use crate::disk::{bytes_of, opened_in, read_grant};
use crate::files::Files;
use sealdex_core::KeyEpoch;
use sealdex_crypto::{Bundle, IndexKey, ReadCap};
use sealdex_tests::folder::copy_of;
use sealdex_tests::server::Server;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn rotated(server: &Server, body: Value) {
    let root = server.http.with_header("x-api-key", ROOT);
    root.post("/v1/indexes/mine/rotate", &body).await.unwrap().ok();
    let given_up = Instant::now() + Duration::from_secs(120);
    loop {
        let now = root.get("/v1/indexes/mine/rotation").await.unwrap().ok();
        if now["rotating"] == false {
            return;
        }
        assert!(Instant::now() < given_up, "{now}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_opened_records_before_a_rotation_opens_none_after_it() {
    let (deployment, server) = Deployment::new().await;
    let reader = User::new(&server, "mine", &["read"]).await;
    server.stop().await;
    let copy = copy_of(&deployment.home.data());
    let then = Files::open(copy.path()).await;
    let before = then.get("mine").unwrap();
    let (id, first) = (before.id, before.key.epoch);
    let owners = IndexKey::from_slice(&bytes_of(KEY)).unwrap();
    let bundle = Bundle::open(&before.key.bundle, &owners, id, first).unwrap();
    let grant = read_grant(&reader.record(&before));
    let kept: [ReadCap; 2] = [
        bundle.read_cap(),
        reader.token().open_read(&grant, id, first).unwrap(),
    ];
    for cap in &kept {
        let found = opened_in(&then.node, &before, first, |p| cap.partition_keys(id, first, p)).await;
        assert_eq!(found.unwrap().len(), 2, "they opened everything");
    }
    then.stop().await;

    let server = deployment.start().await;
    rotated(
        &server,
        json!({"index_key": KEY, "epoch": true, "new_index_key": OTHER_KEY}),
    )
    .await;
    server.stop().await;
    let now = Files::open(&deployment.home.data()).await;
    let after = now.get("mine").unwrap();
    let second = after.key.epoch;
    assert_eq!(second, KeyEpoch(first.0 + 1));
    for cap in &kept {
        for (keys, target) in [(first, first), (first, second), (second, first), (second, second)] {
            let found = opened_in(&now.node, &after, target, |p| cap.partition_keys(id, keys, p)).await;
            assert!(
                found.is_err(),
                "{keys:?} {target:?}: {} opened",
                found.unwrap().len()
            );
        }
    }
    for key in [KEY, OTHER_KEY] {
        let key = IndexKey::from_slice(&bytes_of(key)).unwrap();
        assert!(Bundle::open(&before.key.bundle, &key, id, second).is_err());
        assert!(Bundle::open(&after.key.bundle, &key, id, first).is_err());
    }
    let owners = IndexKey::from_slice(&bytes_of(OTHER_KEY)).unwrap();
    let cap = Bundle::open(&after.key.bundle, &owners, id, second)
        .unwrap()
        .read_cap();
    let found = opened_in(&now.node, &after, second, |p| cap.partition_keys(id, second, p)).await;
    assert_eq!(found.unwrap().len(), 2, "the new keys open everything");
    now.stop().await;
}
