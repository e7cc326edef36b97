//! As long as nobody was let in who may write and not read, readers do not look into an index's inbox. Those who are at it when the first
//! one is let in must not miss what that one replaces.
#![allow(clippy::unwrap_used)]

use sealdex_tests::index::{Index, by_id};
use sealdex_tests::item::Item;
use sealdex_tests::server::Home;
use sealdex_tests::users::{ROOT, as_user, caller, make_user, with_users};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const ITEMS: usize = 60;

fn items(version: usize) -> Vec<Item> {
    let item = |n: usize| {
        let vector = vec![n as f32, version as f32, 1.0];
        Item::bare(format!("i{n}"), vector).with_metadata(json!({"version": version}))
    };
    (0..ITEMS).map(item).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_while_the_first_is_let_in_who_may_only_write_misses_nothing() {
    let home = with_users(Home::new());
    let server = home.start().await;
    for round in 0..5 {
        let root = caller(&server, ROOT);
        let owner = Index::new(&root, &format!("first{round}"), KEY);
        owner.must("indexes/create", json!({})).await;
        let ids: Vec<String> = items(0).into_iter().map(|item| item.id).collect();
        owner.upsert(&items(0)).await;
        let over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|_| tokio::spawn(read_all(owner.clone(), ids.clone(), over.clone())))
            .collect();
        let writer = as_user(&server, &owner.name, &make_user(&owner, &["write"]).await);
        for some in items(1).chunks(6) {
            writer.upsert(some).await;
            // Whoever asks from here on sees it.
            let got = by_id(owner.get(&ids).await);
            assert!(some.iter().all(|item| got[&item.id].is_same_as(item)));
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.unwrap() > 0);
        }
    }
    server.stop().await;
}

/// Reads everything in every way until it is over, and finds each id each time. Returns how often.
async fn read_all(index: Index, ids: Vec<String>, over: Arc<AtomicBool>) -> usize {
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        assert_eq!(by_id(index.get(&ids).await).len(), ids.len());
        assert_eq!(index.ids().await.len(), ids.len());
        let found = index.query(&[0.0; 3], ids.len(), json!({})).await;
        assert_eq!(found.len(), ids.len());
        times += 1;
    }
    times
}
