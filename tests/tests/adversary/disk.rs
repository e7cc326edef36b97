//! A user's token and a copy of every disk: they give what was granted, and nothing else.

use crate::deployment::{Deployment, KEY, PARTITIONS, User};
use crate::files::Files;
use prost::Message;
use sealdex_coordinator::domain::{IndexRecord, UserRecord};
use sealdex_core::{ItemLabel, KeyEpoch, PartitionId, Placement};
use sealdex_crypto::{
    BatchContext, BatchSigner, Bundle, DataKeys, IndexKey, ReadCap, ReadGrant, WriteCap, WriteGrant,
};
use sealdex_index::dataplane::{FetchRequest, Fetched, Fields, ShardError, Target, WalkRequest};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{
    AppendBlocks, CommitItems, DeleteItems, Entry, PutBlobs, ReplaceBlocks, entry,
};
use sealdex_shard::Node;
use sealdex_tests::folder::copy_of;
use sealdex_tests::scanner::{Scanner, files_under};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

fn partitions() -> impl Iterator<Item = PartitionId> {
    (0..PARTITIONS).map(PartitionId)
}

pub(crate) fn read_grant(user: &UserRecord) -> ReadGrant {
    ReadGrant::from_bytes(user.grants.read.as_deref().unwrap())
}

fn write_grant(user: &UserRecord) -> WriteGrant {
    WriteGrant::from_bytes(user.grants.write.as_deref().unwrap())
}

/// All items of an index that can be opened with keys that are told of each partition.
async fn opened(
    node: &Node,
    record: &IndexRecord,
    keys: impl Fn(PartitionId) -> DataKeys,
) -> Result<Vec<Fetched>, ShardError> {
    opened_in(node, record, record.key.epoch, keys).await
}

/// The same, in a key epoch that the attacker names.
pub(crate) async fn opened_in(
    node: &Node,
    record: &IndexRecord,
    epoch: KeyEpoch,
    keys: impl Fn(PartitionId) -> DataKeys,
) -> Result<Vec<Fetched>, ShardError> {
    let mut items = Vec::new();
    for partition in partitions() {
        let target = Target {
            index: record.id,
            epoch,
            other: None,
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
            bytes_max: 1 << 20,
        };
        items.extend(node.walk(request).await?.items);
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

/// Every run of 64 bytes around each place in any file where these bytes are: if what was written there was stored with its signature, that
/// is among them.
fn runs_around(folder: &Path, bytes: &[u8]) -> Vec<[u8; 64]> {
    let mut runs = Vec::new();
    for file in files_under(folder).unwrap() {
        let file = std::fs::read(file).unwrap();
        let places = file.windows(bytes.len()).enumerate();
        for (at, _) in places.filter(|(_, here)| *here == bytes) {
            let around = &file[at.saturating_sub(AROUND)..file.len().min(at + bytes.len() + AROUND)];
            runs.extend(around.windows(64).map(|run| <[u8; 64]>::try_from(run).unwrap()));
        }
    }
    runs
}

const AROUND: usize = 2_048;

/// A batch that a writer signs and a shard takes; it deletes what is not there.
async fn applied(data: &Path, user: &User) -> (Entry, [u8; 64]) {
    let files = Files::open(data).await;
    let record = files.get("mine").unwrap();
    let grant = write_grant(&user.record(&record));
    let cap = user
        .token()
        .open_write(&grant, record.id, record.key.epoch)
        .unwrap();
    let label = cap.labels().item("never written");
    let batch = batches(&record, label.as_bytes()).swap_remove(0);
    let home = Placement::new(PARTITIONS).of_item(&label);
    let signature = sign(&cap.signer(), &record, home, &batch);
    let taken = files.node.propose(home, batch.clone(), Some(signature)).await;
    assert!(taken.is_ok());
    files.stop().await;
    (batch, signature)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_with_a_copy_of_the_disk_makes_no_batch_that_a_shard_accepts() {
    let (deployment, server) = Deployment::new().await;
    let reader = User::new(&server, "mine", &["read"]).await;
    let writer = User::new(&server, "mine", &["read", "write"]).await;
    let elsewhere = User::new(&server, "other", &["read", "write"]).await;
    server.stop().await;
    let data = deployment.home.data();
    let (written, signature) = applied(&data, &writer).await;
    let copy = copy_of(&data);

    let catalog = Files::open(copy.path()).await;
    let (record, other) = (catalog.get("mine").unwrap(), catalog.get("other").unwrap());
    let (id, epoch) = (record.id, record.key.epoch);
    // The attacker reads everything there is, which is their right.
    let token = reader.token();
    let cap = token
        .open_read(&read_grant(&reader.record(&record)), id, epoch)
        .unwrap();
    let readable = opened(&catalog.node, &record, |partition| {
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
    let files = Files::open(&data).await;
    let node = &files.node;
    let before = node.count(home, id).await.unwrap().items;
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
        tried.extend(record.users.iter().map(|user| Some(user.grants.signature)));
        for signature in tried {
            let refused = node.propose(home, batch.clone(), signature).await;
            assert_eq!(refused.err(), Some(ShardError::NotSigned));
        }
    }
    // What was signed and taken lies on the disk, its signature does not: nobody has it taken again.
    let Some(entry::Command::DeleteItems(deleted)) = &written.command else {
        panic!("what was written is not what is tried again");
    };
    let (written_home, deleted) = (Placement::new(PARTITIONS), &deleted.labels[0]);
    let written_home = written_home.of_item(&ItemLabel(deleted[..].try_into().unwrap()));
    let runs = runs_around(copy.path(), deleted);
    assert!(
        runs.len() > 64,
        "the batch is not where its signature is looked for"
    );
    for found in runs {
        let refused = node.propose(written_home, written.clone(), Some(found)).await;
        assert_eq!(refused.err(), Some(ShardError::NotSigned));
    }
    let mut scanner = Scanner::default();
    scanner.add_text("signature", &signature);
    let report = scanner.scan_folder(copy.path()).unwrap();
    assert!(report.finds.is_empty(), "{:?}", report.finds);
    let delete = &batches(&record, label.as_bytes())[0];
    assert_eq!(
        node.count(home, id).await.unwrap().items,
        before,
        "nothing has changed"
    );

    // The same batch, signed by whoever may write.
    let writer = writer
        .token()
        .open_write(&write_grant(&others), id, epoch)
        .unwrap();
    let signature = sign(&writer.signer(), &record, home, delete);
    assert!(node.propose(home, delete.clone(), Some(signature)).await.is_ok());
    files.stop().await;
    drop(files);
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
    let catalog = Files::open(copy.path()).await;
    let (record, other) = (catalog.get("mine").unwrap(), catalog.get("other").unwrap());
    let (id, epoch) = (record.id, record.key.epoch);

    // What the token opens: it names items and signs, and nothing that opens comes of it.
    let token = writer.token();
    let stored = writer.record(&record);
    assert!(stored.grants.read.is_none());
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
    let node = &catalog.node;
    for cap in &caps {
        for index in [id, other.id] {
            let found = opened(node, &record, |partition| {
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
    let items = opened(node, &record, |partition| {
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
        bytes_max: 1 << 20,
        target: Target {
            index: id,
            epoch,
            other: None,
            partition: Placement::new(PARTITIONS).of_item(&label),
        },
        precision: record.precision,
        fields: Fields {
            vector: false,
            meta: true,
            contents: false,
        },
        items: vec![(label, None)],
        since: None,
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
    user.grants
        .read
        .iter()
        .chain(&user.grants.write)
        .cloned()
        .collect()
}

/// A label, filled up to the length of a key.
fn label_key(label: &[u8]) -> Box<[u8; 32]> {
    let mut key = Box::new([0; 32]);
    key[..label.len()].copy_from_slice(label);
    key
}

pub(crate) fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}
