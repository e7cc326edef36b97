//! The catalogue to edit: no grant is forged, swapped or carried over, and keys that are exchanged open nothing.

use crate::deployment::{Deployment, KEY, ROOT, User};
use sealdex_coordinator::domain::{Command, Grants, IndexRecord, UserRecord};
use sealdex_core::{IndexId, KeyEpoch, UserId};
use sealdex_crypto::{Bundle, UserGrants};
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::Server;
use serde_json::json;
use std::sync::Arc;

/// What a user is answered on `index`: get, list, query, upsert, delete.
async fn answers(server: &Server, user: &User, index: &str) -> [u16; 5] {
    let http = user.client(server);
    let mut statuses = [0; 5];
    for (status, (route, body)) in statuses.iter_mut().zip([
        ("get", json!({"ids": ["a"]})),
        ("list_ids", json!({})),
        ("query", json!({"query_vectors": [1, 2]})),
        ("upsert", json!({"items": [{"id": "forged", "vector": [9, 9]}]})),
        ("delete", json!({"ids": ["b"]})),
    ]) {
        let mut body = body;
        body["index_name"] = json!(index);
        let reply = http.post(&format!("/v1/vectors/{route}"), &body).await.unwrap();
        assert!(
            !reply.text().contains("the secret of") || reply.status == 200,
            "{}",
            reply.text()
        );
        *status = reply.status;
    }
    statuses
}

/// The ids of `mine`, as its owner sees them.
async fn ids(server: &Server) -> Vec<String> {
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    Index::new(&root, "mine", KEY).ids().await
}

const ALL_REFUSED: [u16; 5] = [403; 5];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_edits_the_catalogue_forges_no_grant_and_swaps_none() {
    let (deployment, server) = Deployment::new().await;
    let reader = User::new(&server, "mine", &["read"]).await;
    let both = User::new(&server, "mine", &["read", "write"]).await;
    let outsider = User::new(&server, "other", &["read", "write"]).await;
    assert_eq!(answers(&server, &outsider, "mine").await, ALL_REFUSED);
    assert_eq!(answers(&server, &reader, "mine").await, [200, 200, 200, 403, 403]);
    server.stop().await;
    let catalog = deployment.catalog().await;
    let (record, other) = (catalog.get("mine").unwrap(), catalog.get("other").unwrap());
    let (reads, writes) = (reader.record(&record), both.record(&record));
    let outside = outsider.record(&other);

    // Each forgery by itself, in the place of what was there.
    let forged_by_stranger = forged(&outsider, record.id, record.key.epoch);
    let forgeries: Vec<(&str, &User, UserRecord)> = vec![
        ("moved to another index", &outsider, outside.clone()),
        ("granted by a stranger", &outsider, forged_by_stranger.clone()),
        (
            "a stranger's grants under a signature of this index",
            &outsider,
            with(&forged_by_stranger, |grants| {
                grants.signature = writes.grants.signature
            }),
        ),
        (
            "another user's record under one's own name and key",
            &outsider,
            UserRecord {
                id: outsider.id,
                public_key: outside.public_key,
                ..writes.clone()
            },
        ),
        (
            "a write grant added to a reader",
            &reader,
            with(&reads, |grants| grants.write = writes.grants.write.clone()),
        ),
        (
            "a write grant of one's own making",
            &reader,
            with(&reads, |grants| {
                grants.write = forged(&reader, record.id, record.key.epoch).grants.write
            }),
        ),
        (
            "grants of two users swapped",
            &reader,
            with(&reads, |grants| *grants = writes.grants.clone()),
        ),
        (
            "another user's record under one's own name",
            &reader,
            UserRecord {
                id: reader.id,
                ..writes.clone()
            },
        ),
        (
            "a right taken away",
            &both,
            with(&writes, |grants| grants.read = None),
        ),
        (
            "one bit of a grant",
            &reader,
            with(&reads, |grants| grants.read.as_mut().unwrap()[40] ^= 1),
        ),
    ];
    catalog.stop().await;
    drop(catalog);
    for (what, user, forgery) in forgeries {
        let kept = if record.users.iter().any(|known| known.id == user.id) {
            Some(user.record(&record))
        } else {
            None
        };
        put(&deployment, &record, user.id, Some(forgery)).await;
        let server = deployment.start().await;
        assert_eq!(answers(&server, user, "mine").await, ALL_REFUSED, "{what}");
        assert_eq!(ids(&server).await, ["a", "b"], "{what}");
        server.stop().await;
        put(&deployment, &record, user.id, kept).await;
    }
    // What was put back as it was is good again: it was the forgery that was refused.
    let server = deployment.start().await;
    assert_eq!(answers(&server, &reader, "mine").await, [200, 200, 200, 403, 403]);
    assert_eq!(answers(&server, &both, "mine").await, [200; 5]);
    assert_eq!(ids(&server).await, ["a", "forged"]);
}

/// A user record that gives `user` keys of the attacker's own making, signed by the attacker.
fn forged(user: &User, index: IndexId, epoch: KeyEpoch) -> UserRecord {
    let (bundle, to) = (Bundle::generate(), user.token().public_key());
    let read = bundle.grant_read(index, epoch, user.id, &to);
    let write = bundle.grant_write(index, epoch, user.id, &to);
    let signature = bundle.sign_user(&UserGrants {
        index,
        epoch,
        user: user.id,
        public_key: &to,
        read: Some(&read),
        write: Some(&write),
    });
    UserRecord {
        id: user.id,
        public_key: *to.as_bytes(),
        grants: Grants {
            read: Some(read.as_bytes().to_vec()),
            write: Some(write.as_bytes().to_vec()),
            signature: *signature.as_bytes(),
        },
        other: None,
    }
}

/// The record with its grants changed.
fn with(record: &UserRecord, change: impl FnOnce(&mut Grants)) -> UserRecord {
    let mut record = record.clone();
    change(&mut record.grants);
    record
}

/// Replaces a user's record in the catalogue of the stopped server, or removes it.
async fn put(deployment: &Deployment, record: &IndexRecord, user: UserId, stored: Option<UserRecord>) {
    let catalog = deployment.catalog().await;
    let (name, id) = (record.name.clone(), record.id);
    let remove = Command::RemoveUser {
        name: name.clone(),
        id,
        user,
    };
    catalog.change(remove).await.unwrap();
    if let Some(stored) = stored {
        let user = Box::new(stored);
        let epochs = record.key.epochs();
        let add = Command::AddUser {
            name,
            id,
            epochs,
            user,
        };
        catalog.change(add).await.unwrap();
    }
    catalog.stop().await;
}

/// With the admin key exchanged beside the bundle, the forger's grants hold together, and open nothing: the bundle no longer fits,
/// rows are sealed under other keys, and shards ask for the signature that they pinned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_exchanges_the_public_keys_too_still_reads_and_writes_nothing() {
    let (deployment, server) = Deployment::new().await;
    let outsider = User::new(&server, "other", &["read", "write"]).await;
    server.stop().await;
    let catalog = deployment.catalog().await;
    let record = catalog.get("mine").unwrap();
    catalog.stop().await;
    drop(catalog);
    let (id, epoch) = (record.id, record.key.epoch);
    let bundle = Bundle::generate();
    let public = bundle.public_keys();
    let mut forged = (*record).clone();
    forged.key.public.admin = *public.admin.as_bytes();
    forged.key.public.write = *public.write.as_bytes();
    forged.key.public.inbox = *public.inbox.as_bytes();
    let rightful_users = forged.users.clone();
    let to = outsider.token().public_key();
    let (read, write) = (
        bundle.grant_read(id, epoch, outsider.id, &to),
        bundle.grant_write(id, epoch, outsider.id, &to),
    );
    let signature = bundle.sign_user(&UserGrants {
        index: id,
        epoch,
        user: outsider.id,
        public_key: &to,
        read: Some(&read),
        write: Some(&write),
    });
    let user = UserRecord {
        id: outsider.id,
        public_key: *to.as_bytes(),
        grants: Grants {
            read: Some(read.as_bytes().to_vec()),
            write: Some(write.as_bytes().to_vec()),
            signature: *signature.as_bytes(),
        },
        other: None,
    };
    forged.users.push(user);
    replace(&deployment, forged.clone()).await;

    let server = deployment.start().await;
    let [got, listed, found, written, deleted] = answers(&server, &outsider, "mine").await;
    assert!(
        [listed, found, written, deleted]
            .iter()
            .all(|&status| status != 200),
        "{listed} {found} {written} {deleted}"
    );
    // Under forged keys an item has another name: by that name there is none.
    if got == 200 {
        let body = json!({"index_name": "mine", "ids": ["a", "b"]});
        let nothing = outsider
            .client(&server)
            .post("/v1/vectors/get", &body)
            .await
            .unwrap();
        assert_eq!(nothing.ok(), json!({"results": []}));
    }
    server.stop().await;

    // The owner is told rather than served from forged keys; put right, all is there.
    forged.users = rightful_users;
    replace(&deployment, forged).await;
    let server = deployment.start().await;
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    let owner = Index::new(&root, "mine", KEY);
    let told = owner.call("vectors/list_ids", json!({})).await.unwrap();
    assert_eq!(told.status, 500, "{}", told.text());
    server.stop().await;
    replace(&deployment, (*record).clone()).await;
    let server = deployment.start().await;
    assert_eq!(ids(&server).await, ["a", "b"]);
}

/// Puts another record of the same index into the catalogue of the stopped server. No single command exchanges everything.
async fn replace(deployment: &Deployment, record: IndexRecord) {
    let catalog = deployment.catalog().await;
    let (name, id) = (record.name.clone(), record.id);
    catalog.change(Command::Delete { name, id }).await.unwrap();
    catalog.change(Command::Create(Box::new(record))).await.unwrap();
    catalog.stop().await;
}

/// An index of the same name is another index: users of the old one, put back from a copy, are nobody there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_a_deleted_index_cannot_be_put_back_into_its_successor() {
    let (deployment, server) = Deployment::new().await;
    let ghost = User::new(&server, "mine", &["read", "write"]).await;
    assert_eq!(answers(&server, &ghost, "mine").await, [200; 5]);
    server.stop().await;
    let catalog = deployment.catalog().await;
    let old = catalog.get("mine").unwrap();
    let stored = ghost.record(&old);
    catalog.stop().await;
    drop(catalog);
    let server = deployment.start().await;
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    Index::new(&root, "mine", KEY)
        .must("indexes/delete", json!({}))
        .await;
    let again = Index::create(&root, "mine", KEY, json!({"dimension": 2})).await;
    again.upsert(&[Item::bare("a", vec![1.0, 2.0])]).await;
    server.stop().await;
    let catalog = deployment.catalog().await;
    let new = catalog.get("mine").unwrap();
    assert_ne!(new.id, old.id);
    catalog.stop().await;
    drop(catalog);
    put(&deployment, &new, ghost.id, Some(stored)).await;
    let server = deployment.start().await;
    assert_eq!(answers(&server, &ghost, "mine").await, ALL_REFUSED);
    let user = User::new(&server, "mine", &["read"]).await;
    assert_eq!(
        answers(&server, &user, "mine").await,
        [200, 200, 200, 403, 403],
        "whom the owner lets in is in"
    );
}
