//! What travels under a lease: unreadable for whoever records it, and of no use to whoever sends it again.

use crate::deployment::{COORDINATOR, Deployment, ID, Listening, SHARD, open};
use bytes::Bytes;
use prost::Message;
use sealdex_core::{DeploymentId, Generation, IndexId, ItemLabel, KeyEpoch, Op, PartitionId, Precision};
use sealdex_crypto::{
    Aad, BatchContext, Bundle, CallContext, DataKeys, Direction, LeaseContext, LeasePublicKey, RecordKind,
    SessionKey, random_16,
};
use sealdex_index::dataplane::{FetchRequest, Fields, ShardError, Target};
use sealdex_index::metadata::Metadata;
use sealdex_index::record::encode_meta;
use sealdex_peer::payload::{self, error_of_status, read_refusal};
use sealdex_peer::wire::shard::shard_client::ShardClient;
use sealdex_peer::{Lane, PeerChannel};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{self, entry::Command};
use sealdex_proto::shard as wire;
use sealdex_proto::shard::answer::Told;
use sealdex_proto::shard::question::Asked;
use sealdex_tests::scanner::Scanner;
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

const TARGET: Target = Target {
    index: IndexId(77),
    epoch: KeyEpoch(1),
    other: None,
    partition: PartitionId(2),
};
const LABEL: ItemLabel = ItemLabel([5; 16]);
const ITEM_ID: &str = "the-id-that-nobody-may-read";
const VECTOR: [f32; 8] = [
    0.123_456_7,
    7.654_321,
    -3.241_592_7,
    2.718_281_7,
    1.424_213_5,
    -1.732_050_8,
    0.577_215_7,
    9.8,
];

/// A coordinator by hand: what the real one does, step by step.
struct Hand {
    listening: Listening,
    bundle: Bundle,
    shard: ShardClient<PeerChannel>,
    lease_key: LeasePublicKey,
    _home: TempDir,
}

/// A session, as its two ends know it.
struct Session {
    id: [u8; 16],
    key: SessionKey,
}

impl Hand {
    /// One item lies in the partition.
    async fn new() -> Self {
        let (deployment, home) = (Deployment::new(), tempfile::tempdir().unwrap());
        let listening = deployment.serve(open(home.path()).await, None).await;
        let mut shard = ShardClient::new(deployment.channels().to(SHARD, Lane::Data).unwrap());
        let lease_key = shard
            .lease_key(wire::LeaseKeyRequest {})
            .await
            .unwrap()
            .into_inner();
        let hand = Self {
            listening,
            bundle: Bundle::generate(),
            shard,
            lease_key: LeasePublicKey::from_slice(&lease_key.public_key).unwrap(),
            _home: home,
        };
        hand.write().await;
        hand
    }

    fn keys(&self) -> DataKeys {
        self.bundle
            .partition_keys(TARGET.index, TARGET.epoch, TARGET.partition)
    }

    async fn write(&self) {
        let write_key = self.bundle.public_keys().write.as_bytes().to_vec().into();
        self.propose(Command::BeginGeneration(partition::BeginGeneration {
            generation: 1,
            epoch: TARGET.epoch.0,
            write_key,
        }))
        .await;
        let (keys, op) = (self.keys(), Op(random_16()));
        let seal = |kind, plaintext: &[u8]| {
            let aad = Aad {
                kind,
                part: 0,
                label: LABEL.as_bytes(),
                generation: Generation(0),
                op: op.as_bytes(),
            };
            keys.seal(&aad, plaintext).into()
        };
        let vector: Vec<u8> = VECTOR.iter().flat_map(|value| value.to_le_bytes()).collect();
        let metadata = Metadata::new(json!({"k": "v"}).as_object().unwrap().clone()).unwrap();
        let row = partition::RowPlace {
            generation: 1,
            cluster: vec![9; 16].into(),
        };
        let item = partition::Item {
            label: LABEL.0.to_vec().into(),
            op: op.0.to_vec().into(),
            rows: vec![row],
            vector: seal(RecordKind::Vector, &vector),
            meta: seal(RecordKind::Meta, &encode_meta(ITEM_ID, &metadata)),
            contents: None,
        };
        self.propose(Command::CommitItems(partition::CommitItems { items: vec![item] }))
            .await;
    }

    async fn propose(&self, command: Command) {
        let entry = partition::Entry {
            version: ENTRY_VERSION,
            index: TARGET.index.0,
            command: Some(command),
        };
        let context = BatchContext {
            index: TARGET.index,
            epoch: TARGET.epoch,
            partition: TARGET.partition,
        };
        let signature = self
            .bundle
            .write_cap()
            .signer()
            .sign(&context, &entry.encode_to_vec());
        let request = wire::ProposeRequest {
            partition: u32::from(TARGET.partition.0),
            entry: Some(entry),
            signature: signature.to_vec().into(),
        };
        self.shard.clone().propose(request).await.unwrap();
    }

    async fn grant(&self, term_seconds: u8) -> Session {
        let session = Session {
            id: random_16(),
            key: SessionKey::generate(),
        };
        let granted = self.grant_as(lease(), term_seconds, &session).await;
        granted.unwrap();
        session
    }

    async fn grant_as(
        &self,
        lease: LeaseContext,
        term_seconds: u8,
        session: &Session,
    ) -> Result<(), ShardError> {
        let request = wire::GrantRequest {
            target: Some(payload::target(&TARGET)),
            session: session.id.to_vec().into(),
            sealed: self
                .lease_key
                .seal(&lease, &self.keys(), &session.key, term_seconds)
                .into(),
        };
        let granted = self.shard.clone().grant(request).await;
        granted.map(drop).map_err(|status| error_of_status(&status))
    }

    /// The sealed answer.
    async fn fetch(&self, call: wire::SealedCall) -> Result<Bytes, ShardError> {
        let question = wire::Question {
            asked: Some(Asked::Fetch(call)),
            ..wire::Question::default()
        };
        let questions = wire::Questions {
            questions: vec![question],
        };
        let answers = self.shard.clone().together(questions).await;
        let mut answers = answers.map_err(|status| error_of_status(&status))?.into_inner();
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.position, answer.leader), (0, None));
        match answer.told.unwrap() {
            Told::Sealed(reply) => Ok(reply.sealed),
            Told::Error(refusal) => Err(read_refusal(refusal).unwrap()),
            Told::Counted(_) => panic!("it was not asked to count"),
        }
    }
}

fn lease() -> LeaseContext {
    LeaseContext {
        deployment: ID,
        from: COORDINATOR,
        to: SHARD,
        index: TARGET.index,
        epoch: TARGET.epoch,
        other: TARGET.other,
        partition: TARGET.partition,
    }
}

fn context(method: &str, call: u64) -> CallContext<'_> {
    CallContext {
        deployment: ID,
        from: COORDINATOR,
        to: SHARD,
        method,
        index: TARGET.index,
        epoch: TARGET.epoch,
        partition: TARGET.partition,
        call,
    }
}

impl Session {
    /// A fetch of everything that there is of the item.
    fn call(&self, context: &CallContext<'_>) -> wire::SealedCall {
        let request = FetchRequest {
            target: TARGET,
            precision: Precision::Float32,
            fields: Fields {
                vector: true,
                meta: true,
                contents: true,
            },
            items: vec![(LABEL, None)],
            since: None,
            bytes_max: 1 << 20,
        };
        let message = payload::fetch_request(&request);
        let write = |out: &mut Vec<u8>| message.encode(out).unwrap();
        wire::SealedCall {
            target: Some(payload::target(&TARGET)),
            session: self.id.to_vec().into(),
            call: context.call,
            sealed: self.key.seal(Direction::Call, context, 64, write).into(),
        }
    }

    fn open(&self, call: u64, reply: &[u8]) -> wire::FetchReply {
        let opened = self
            .key
            .open(Direction::Reply, &context("fetch", call), reply)
            .unwrap();
        wire::FetchReply::decode(opened.as_slice()).unwrap()
    }
}

fn scanner() -> Scanner {
    let mut scanner = Scanner::default();
    scanner.add_text("id", ITEM_ID.as_bytes());
    scanner.add_vector("vector", &VECTOR);
    scanner
}

#[tokio::test]
async fn what_travels_under_tls_holds_no_plaintext() {
    let hand = Hand::new().await;
    let session = hand.grant(60).await;
    let call = session.call(&context("fetch", 0));
    let reply = hand.fetch(call.clone()).await.unwrap();
    assert_eq!(scanner().scan(&call.encode_to_vec(), 9), []);
    assert_eq!(scanner().scan(&reply, 9), []);
    let opened = session.open(0, &reply);
    let item = opened.items[0].item.as_ref().unwrap();
    assert_eq!(item.id, ITEM_ID);
    let found = scanner().scan(&opened.encode_to_vec(), 9);
    assert!(found.len() >= 2, "the scanner finds what is there: {found:?}");
    hand.listening.stop().await;
}

#[tokio::test]
async fn a_call_is_answered_once_and_at_its_place_alone() {
    let hand = Hand::new().await;
    let session = hand.grant(60).await;
    let first = session.call(&context("fetch", 3));
    assert!(hand.fetch(first.clone()).await.is_ok());
    assert_eq!(
        hand.fetch(first).await,
        Err(ShardError::LeaseRequired),
        "replayed"
    );
    let next = session.call(&context("fetch", 4));
    // Under another number, method, partition, or as what the node itself said.
    let mut renumbered = next.clone();
    renumbered.call = 5;
    assert_eq!(hand.fetch(renumbered).await, Err(payload::MALFORMED));
    let walked = hand
        .shard
        .clone()
        .walk(next.clone())
        .await
        .map_err(|status| error_of_status(&status));
    assert_eq!(walked.map(drop), Err(payload::MALFORMED));
    let mut elsewhere = next.clone();
    elsewhere.target.as_mut().unwrap().partition = 1;
    assert_eq!(hand.fetch(elsewhere).await, Err(ShardError::LeaseRequired));
    for wrong in [
        CallContext {
            deployment: DeploymentId([0; 16]),
            ..context("fetch", 6)
        },
        CallContext {
            from: SHARD,
            ..context("fetch", 6)
        },
        CallContext {
            to: COORDINATOR,
            ..context("fetch", 6)
        },
        CallContext {
            index: IndexId(1),
            ..context("fetch", 6)
        },
        CallContext {
            epoch: KeyEpoch(9),
            ..context("fetch", 6)
        },
    ] {
        assert_eq!(
            hand.fetch(session.call(&wrong)).await,
            Err(payload::MALFORMED),
            "{wrong:?}"
        );
    }
    let answered = hand.fetch(session.call(&context("fetch", 7))).await.unwrap();
    let reflected = wire::SealedCall {
        sealed: answered,
        ..session.call(&context("fetch", 7))
    };
    assert_eq!(hand.fetch(reflected).await, Err(payload::MALFORMED));
    // None of that used up a number, and those that are late still count.
    assert!(hand.fetch(next).await.is_ok());
    assert!(hand.fetch(session.call(&context("fetch", 1))).await.is_ok());
    let other = Session {
        id: session.id,
        key: SessionKey::generate(),
    };
    assert_eq!(
        hand.fetch(other.call(&context("fetch", 8))).await,
        Err(payload::MALFORMED)
    );
    hand.listening.stop().await;
}

#[tokio::test]
async fn a_lease_ends_and_is_granted_again() {
    let hand = Hand::new().await;
    let unknown = Session {
        id: random_16(),
        key: SessionKey::generate(),
    };
    let call = unknown.call(&context("fetch", 0));
    assert_eq!(
        hand.fetch(call).await,
        Err(ShardError::LeaseRequired),
        "nobody granted it"
    );
    let session = hand.grant(1).await;
    assert!(hand.fetch(session.call(&context("fetch", 0))).await.is_ok());
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let late = session.call(&context("fetch", 1));
    assert_eq!(
        hand.fetch(late).await,
        Err(ShardError::LeaseRequired),
        "its term is over"
    );
    let renewed = hand.grant(1).await;
    assert!(hand.fetch(renewed.call(&context("fetch", 0))).await.is_ok());
    hand.listening.stop().await;
}

#[tokio::test]
async fn a_lease_for_somebody_else_is_none() {
    let hand = Hand::new().await;
    let session = Session {
        id: random_16(),
        key: SessionKey::generate(),
    };
    for other in [
        LeaseContext {
            deployment: DeploymentId([0; 16]),
            ..lease()
        },
        LeaseContext {
            from: SHARD,
            ..lease()
        },
        LeaseContext {
            to: COORDINATOR,
            ..lease()
        },
        LeaseContext {
            partition: PartitionId(1),
            ..lease()
        },
        LeaseContext {
            other: Some(KeyEpoch(2)),
            ..lease()
        },
    ] {
        let granted = hand.grant_as(other, 60, &session).await;
        assert_eq!(granted, Err(ShardError::LeaseRequired), "{other:?}");
    }
    assert_eq!(
        hand.fetch(session.call(&context("fetch", 0))).await,
        Err(ShardError::LeaseRequired)
    );
    hand.listening.stop().await;
}
