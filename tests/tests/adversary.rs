//! What somebody gets who has a user's token and a copy of every disk, or who may edit the catalogue: the steps of each attack, taken
//! with everything that the attacker holds, beside the same steps taken by whoever has the right, which succeed.
//!
//! The attacker needs none of our binaries: the steps call the crates directly, on the files that a real server left behind.
#![allow(clippy::unwrap_used)]

use prost::Message;
use sealdex_coordinator::adapters::CatalogHandle;
use sealdex_coordinator::domain::{Command, IndexRecord, UserRecord};
use sealdex_core::{IndexId, KeyEpoch, PartitionId, Placement, UserId};
use sealdex_crypto::{
    BatchContext, BatchSigner, Bundle, DataKeys, IndexKey, ReadCap, ReadGrant, TokenAuthority, UserGrants,
    UserToken, WriteCap, WriteGrant,
};
use sealdex_index::dataplane::{FetchRequest, Fetched, Fields, ShardError, Target, WalkRequest};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{
    AppendBlocks, CommitItems, DeleteItems, Entry, PutBlobs, ReplaceBlocks, entry,
};
use sealdex_shard::{Node, Options};
use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::scanner::files_under;
use sealdex_tests::server::{Home, Server};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = "the root key of this test";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
const PARTITIONS: u16 = 4;

/// A deployment with the indexes `mine` and `other`, two items in each.
struct Deployment {
    home: Home,
}

/// A user as the server made it.
struct User {
    id: UserId,
    text: String,
}

impl Deployment {
    async fn new() -> (Self, Server) {
        let home = Home::new()
            .with_variable("SEALDEX_ROOT_KEY", ROOT)
            .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
            .with_variable("SEALDEX_PARTITIONS", &PARTITIONS.to_string());
        let server = home.start().await;
        let root = Arc::new(server.http.with_header("x-api-key", ROOT));
        for (name, key) in [("mine", KEY), ("other", OTHER_KEY)] {
            let index = Index::create(&root, name, key, json!({"dimension": 2})).await;
            let items = [("a", [1.0, 2.0]), ("b", [3.0, 4.0])];
            let items = items.map(|(id, vector)| {
                Item::bare(id, vector.to_vec()).with_contents(format!("the secret of {id} in {name}"))
            });
            index.upsert(&items).await;
        }
        (Self { home }, server)
    }

    async fn start(&self) -> Server {
        self.home.start().await
    }

    /// The catalogue of a stopped server, as whoever may write its files has it.
    fn catalog(&self) -> CatalogHandle {
        CatalogHandle::open(&self.home.data().join("catalog")).unwrap()
    }
}

impl User {
    async fn new(server: &Server, index: &str, permissions: &[&str]) -> Self {
        let root = server.http.with_header("x-api-key", ROOT);
        let key = if index == "mine" { KEY } else { OTHER_KEY };
        let body = json!({"permissions": permissions, "index_key": key});
        let made = root
            .post(&format!("/v1/indexes/{index}/users"), &body)
            .await
            .unwrap()
            .ok();
        Self {
            id: made["user_id"].as_str().unwrap().parse().unwrap(),
            text: made["api_key"].as_str().unwrap().to_owned(),
        }
    }

    /// What the text holds. The root key stands here for taking the text apart, which needs none.
    fn token(&self) -> UserToken {
        TokenAuthority::new(ROOT).verify(&self.text).unwrap()
    }

    fn client(&self, server: &Server) -> Http {
        server.http.with_header("x-api-key", &self.text)
    }

    fn record(&self, index: &IndexRecord) -> UserRecord {
        index
            .users
            .iter()
            .find(|user| user.id == self.id)
            .unwrap()
            .clone()
    }
}

fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in files_under(folder).unwrap() {
        let to = copy.path().join(file.strip_prefix(folder).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, &to).unwrap();
    }
    copy
}

/// A shard on these files.
fn shard(data: &Path) -> Node {
    let options = Options {
        path: data.join("shard"),
        partitions: PARTITIONS,
        block_cache_bytes: 8 << 20,
        threads: 1,
        queue: 64,
    };
    Node::open(options).unwrap()
}

fn partitions() -> impl Iterator<Item = PartitionId> {
    (0..PARTITIONS).map(PartitionId)
}

fn read_grant(user: &UserRecord) -> ReadGrant {
    ReadGrant::from_bytes(user.read_grant.as_deref().unwrap())
}

fn write_grant(user: &UserRecord) -> WriteGrant {
    WriteGrant::from_bytes(user.write_grant.as_deref().unwrap())
}

/// All items of an index that can be opened with keys that are told of each partition.
async fn opened(
    node: &Node,
    record: &IndexRecord,
    keys: impl Fn(PartitionId) -> DataKeys,
) -> Result<Vec<Fetched>, ShardError> {
    let mut items = Vec::new();
    for partition in partitions() {
        let target = Target {
            index: record.id,
            epoch: record.key.epoch,
            partition,
        };
        node.grant(target, Arc::new(keys(partition)));
        let request = WalkRequest {
            target,
            precision: record.precision,
            fields: Fields {
                vector: true,
                meta: true,
                contents: true,
            },
            after: None,
            limit: 100,
        };
        items.extend(node.walk(request).await?);
    }
    Ok(items)
}

/// What only a writer can have signed.
fn batches(record: &IndexRecord, label: &[u8]) -> Vec<Entry> {
    let commands = [
        entry::Command::DeleteItems(DeleteItems {
            labels: vec![label.to_vec().into()],
        }),
        entry::Command::CommitItems(CommitItems::default()),
        entry::Command::AppendBlocks(AppendBlocks::default()),
        entry::Command::ReplaceBlocks(ReplaceBlocks::default()),
        entry::Command::PutBlobs(PutBlobs::default()),
    ];
    let entry = |command| Entry {
        version: ENTRY_VERSION,
        index: record.id.0,
        command: Some(command),
    };
    commands.into_iter().map(entry).collect()
}

fn sign(signer: &BatchSigner, record: &IndexRecord, partition: PartitionId, entry: &Entry) -> [u8; 64] {
    let context = BatchContext {
        index: record.id,
        epoch: record.key.epoch,
        partition,
    };
    signer.sign(&context, &entry.encode_to_vec())
}

/// Every run of 64 bytes in every file: if a signature that fits is lying about, it is among them.
fn runs_of_64(folder: &Path) -> impl Iterator<Item = [u8; 64]> {
    let files: Vec<Vec<u8>> = files_under(folder)
        .unwrap()
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    files.into_iter().flat_map(|bytes| {
        let runs: Vec<[u8; 64]> = bytes
            .windows(64)
            .step_by(RUN_STEP)
            .map(|run| run.try_into().unwrap())
            .collect();
        runs
    })
}

/// Runs that are tried; all would take minutes.
const RUN_STEP: usize = 997;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_with_a_copy_of_the_disk_makes_no_batch_that_a_shard_accepts() {
    let (deployment, server) = Deployment::new().await;
    let reader = User::new(&server, "mine", &["read"]).await;
    let writer = User::new(&server, "mine", &["read", "write"]).await;
    let elsewhere = User::new(&server, "other", &["read", "write"]).await;
    server.stop().await;
    let data = deployment.home.data();
    let copy = copy_of(&data);

    let catalog = CatalogHandle::open(&copy.path().join("catalog")).unwrap();
    let (record, other) = (catalog.get("mine").unwrap(), catalog.get("other").unwrap());
    let (id, epoch) = (record.id, record.key.epoch);
    // The attacker reads everything there is, which is their right.
    let token = reader.token();
    let cap = token
        .open_read(&read_grant(&reader.record(&record)), id, epoch)
        .unwrap();
    let readable = opened(&shard(copy.path()), &record, |partition| {
        cap.partition_keys(id, epoch, partition)
    })
    .await;
    assert_eq!(readable.unwrap().len(), 2);
    // And tries to sign with all that can be had: grants of others, and grants of their own taken for what they are not.
    let others = writer.record(&record);
    assert!(token.open_write(&write_grant(&others), id, epoch).is_err());
    let mine = WriteGrant::from_bytes(read_grant(&reader.record(&record)).as_bytes());
    assert!(token.open_write(&mine, id, epoch).is_err());
    let own_elsewhere = elsewhere.token();
    let other_cap =
        own_elsewhere.open_write(&write_grant(&elsewhere.record(&other)), other.id, other.key.epoch);
    let signers = [
        Bundle::generate().write_cap().signer(),
        other_cap.unwrap().signer(),
    ];

    let label = cap.labels().item("a");
    let home = Placement::new(PARTITIONS).of_item(&label);
    let node = shard(&data);
    let before = node.count(home, id).await.unwrap();
    for batch in batches(&record, label.as_bytes()) {
        let mut tried: Vec<Option<[u8; 64]>> = vec![None, Some([0; 64])];
        tried.extend(
            signers
                .iter()
                .map(|signer| Some(sign(signer, &record, home, &batch))),
        );
        tried.extend(
            signers
                .iter()
                .map(|signer| Some(sign(signer, &other, home, &batch))),
        );
        tried.extend(record.users.iter().map(|user| Some(user.signature)));
        for signature in tried {
            let refused = node.propose(home, batch.clone(), signature).await;
            assert_eq!(refused.err(), Some(ShardError::NotSigned));
        }
    }
    let delete = &batches(&record, label.as_bytes())[0];
    for found in runs_of_64(copy.path()) {
        let refused = node.propose(home, delete.clone(), Some(found)).await;
        assert_eq!(refused.err(), Some(ShardError::NotSigned));
    }
    assert_eq!(node.count(home, id).await.unwrap(), before, "nothing has changed");

    // The same batch, signed by whoever may write.
    let writer = writer
        .token()
        .open_write(&write_grant(&others), id, epoch)
        .unwrap();
    let signature = sign(&writer.signer(), &record, home, delete);
    assert!(node.propose(home, delete.clone(), Some(signature)).await.is_ok());
    node.close().await;
    drop(node);
    let server = deployment.start().await;
    let left = reader
        .client(&server)
        .post("/v1/vectors/list_ids", &json!({"index_name": "mine"}))
        .await;
    assert_eq!(left.unwrap().ok(), json!({"ids": ["b"], "count": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_with_a_copy_of_the_disk_opens_no_row() {
    let (deployment, server) = Deployment::new().await;
    let writer = User::new(&server, "mine", &["write"]).await;
    let reader = User::new(&server, "mine", &["read"]).await;
    let elsewhere = User::new(&server, "other", &["read", "write"]).await;
    server.stop().await;
    let copy = copy_of(&deployment.home.data());
    let catalog = CatalogHandle::open(&copy.path().join("catalog")).unwrap();
    let (record, other) = (catalog.get("mine").unwrap(), catalog.get("other").unwrap());
    let (id, epoch) = (record.id, record.key.epoch);

    // What the token opens: it names items and signs, and nothing that opens comes of it.
    let token = writer.token();
    let stored = writer.record(&record);
    assert!(stored.read_grant.is_none());
    let cap: WriteCap = token.open_write(&write_grant(&stored), id, epoch).unwrap();
    let label = cap.labels().item("a");
    let mut caps: Vec<ReadCap> = vec![Bundle::generate().read_cap()];
    for grant in record.users.iter().chain(&other.users).flat_map(grants) {
        let grant = ReadGrant::from_bytes(&grant);
        for (index, epoch) in [(id, epoch), (other.id, epoch), (id, KeyEpoch(epoch.0 + 1))] {
            assert!(
                token.open_read(&grant, index, epoch).is_err(),
                "a grant opens that is not theirs"
            );
        }
    }
    // Where they may read, they read: with those keys nothing opens here.
    let theirs = elsewhere.token();
    let grant = read_grant(&elsewhere.record(&other));
    caps.push(theirs.open_read(&grant, other.id, other.key.epoch).unwrap());
    let node = shard(copy.path());
    for cap in &caps {
        for index in [id, other.id] {
            let found = opened(&node, &record, |partition| {
                cap.partition_keys(index, epoch, partition)
            })
            .await;
            assert!(found.is_err(), "a row opened");
        }
    }
    // The bundle holds all keys, under the index key alone.
    for guess in [[0; 32], *label_key(label.as_bytes()), record.key.commitment] {
        let guess = IndexKey::from_slice(&guess).unwrap();
        assert!(Bundle::open(&record.key.bundle, &guess, id, epoch).is_err());
    }

    // The same steps with the right to read.
    let rightful = reader
        .token()
        .open_read(&read_grant(&reader.record(&record)), id, epoch)
        .unwrap();
    let items = opened(&node, &record, |partition| {
        rightful.partition_keys(id, epoch, partition)
    })
    .await
    .unwrap();
    let mut contents: Vec<Vec<u8>> = items.into_iter().filter_map(|item| item.contents).collect();
    contents.sort();
    assert_eq!(
        contents,
        [
            b"the secret of a in mine".to_vec(),
            b"the secret of b in mine".to_vec()
        ]
    );
    let one = FetchRequest {
        target: Target {
            index: id,
            epoch,
            partition: Placement::new(PARTITIONS).of_item(&label),
        },
        precision: record.precision,
        fields: Fields {
            vector: false,
            meta: true,
            contents: false,
        },
        items: vec![(label, None)],
    };
    let found = node.fetch(one).await.unwrap();
    assert_eq!(
        found[0].as_ref().unwrap().id,
        "a",
        "the writer's name of the item was right"
    );
    let right = IndexKey::from_slice(&bytes_of(KEY)).unwrap();
    assert!(Bundle::open(&record.key.bundle, &right, id, epoch).is_ok());
}

fn grants(user: &UserRecord) -> Vec<Vec<u8>> {
    user.read_grant.iter().chain(&user.write_grant).cloned().collect()
}

/// A label, filled up to the length of a key.
fn label_key(label: &[u8]) -> Box<[u8; 32]> {
    let mut key = Box::new([0; 32]);
    key[..label.len()].copy_from_slice(label);
    key
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

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
    let catalog = deployment.catalog();
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
            UserRecord {
                signature: writes.signature,
                ..forged_by_stranger.clone()
            },
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
            UserRecord {
                write_grant: writes.write_grant.clone(),
                ..reads.clone()
            },
        ),
        (
            "a write grant of one's own making",
            &reader,
            UserRecord {
                write_grant: forged(&reader, record.id, record.key.epoch).write_grant,
                ..reads.clone()
            },
        ),
        (
            "grants of two users swapped",
            &reader,
            UserRecord {
                read_grant: writes.read_grant.clone(),
                write_grant: writes.write_grant.clone(),
                signature: writes.signature,
                ..reads.clone()
            },
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
            UserRecord {
                read_grant: None,
                ..writes.clone()
            },
        ),
        (
            "one bit of a grant",
            &reader,
            UserRecord {
                read_grant: reads.read_grant.clone().map(|mut grant| {
                    grant[40] ^= 1;
                    grant
                }),
                ..reads.clone()
            },
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
        read_grant: Some(read.as_bytes().to_vec()),
        write_grant: Some(write.as_bytes().to_vec()),
        signature: *signature.as_bytes(),
    }
}

/// Replaces a user's record in the catalogue of the stopped server, or removes it.
async fn put(deployment: &Deployment, record: &IndexRecord, user: UserId, stored: Option<UserRecord>) {
    let catalog = deployment.catalog();
    let (name, id) = (record.name.clone(), record.id);
    let remove = Command::RemoveUser {
        name: name.clone(),
        id,
        user,
    };
    catalog.change(remove).await.unwrap();
    if let Some(stored) = stored {
        let user = Box::new(stored);
        catalog.change(Command::AddUser { name, id, user }).await.unwrap();
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
    let catalog = deployment.catalog();
    let record = catalog.get("mine").unwrap();
    let (id, epoch) = (record.id, record.key.epoch);
    let bundle = Bundle::generate();
    let public = bundle.public_keys();
    let mut envelope = record.key.clone();
    envelope.public.admin = *public.admin.as_bytes();
    envelope.public.write = *public.write.as_bytes();
    envelope.public.inbox = *public.inbox.as_bytes();
    let rewrap = |key| Command::Rewrap {
        name: "mine".into(),
        id,
        replaces: record.key.commitment,
        key: Box::new(key),
    };
    catalog.change(rewrap(envelope)).await.unwrap();
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
        read_grant: Some(read.as_bytes().to_vec()),
        write_grant: Some(write.as_bytes().to_vec()),
        signature: *signature.as_bytes(),
    };
    let add = Command::AddUser {
        name: "mine".into(),
        id,
        user: Box::new(user),
    };
    catalog.change(add).await.unwrap();
    catalog.stop().await;
    drop(catalog);

    let server = deployment.start().await;
    let answered = answers(&server, &outsider, "mine").await;
    assert!(
        answered.iter().all(|&status| status != 200 || status == 0),
        "{answered:?}"
    );
    server.stop().await;

    // The owner is told rather than served from forged keys; put right, all is there.
    let catalog = deployment.catalog();
    let user = outsider.id;
    let remove = Command::RemoveUser {
        name: "mine".into(),
        id,
        user,
    };
    catalog.change(remove).await.unwrap();
    catalog.stop().await;
    drop(catalog);
    let server = deployment.start().await;
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    let owner = Index::new(&root, "mine", KEY);
    let told = owner.call("vectors/list_ids", json!({})).await.unwrap();
    assert_eq!(told.status, 500, "{}", told.text());
    server.stop().await;
    let catalog = deployment.catalog();
    catalog.change(rewrap(record.key.clone())).await.unwrap();
    catalog.stop().await;
    drop(catalog);
    let server = deployment.start().await;
    assert_eq!(ids(&server).await, ["a", "b"]);
}

/// An index of the same name is another index: users of the old one, put back from a copy, are nobody there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_a_deleted_index_cannot_be_put_back_into_its_successor() {
    let (deployment, server) = Deployment::new().await;
    let ghost = User::new(&server, "mine", &["read", "write"]).await;
    assert_eq!(answers(&server, &ghost, "mine").await, [200; 5]);
    server.stop().await;
    let catalog = deployment.catalog();
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
    let catalog = deployment.catalog();
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
