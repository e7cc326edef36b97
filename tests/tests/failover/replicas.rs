//! Every replica of a partition answers reads alike, when it is allowed to: what was acknowledged is in each answer. Asked as a
//! coordinator asks, whose certificate this test shows.

use crate::deployment;
use sealdex_core::{DeploymentId, NodeId};
use sealdex_index::dataplane::ShardError;
use sealdex_peer::payload::error_of_status;
use sealdex_peer::wire::shard::shard_client::ShardClient;
use sealdex_peer::{Channels, Credentials, Directory, Identity, Lane, Registered, Role, allow_any_replica};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::entry::Command;
use sealdex_proto::partition::{DeleteItems, Entry};
use sealdex_proto::shard::answer::Told;
use sealdex_proto::shard::question::Asked;
use sealdex_proto::shard::{Answer, IndexInPartition, IndexesRequest, ProposeRequest, Question, Questions};
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::nodes::{Kind, Nodes};
use std::fs;
use std::sync::Arc;
use tonic::Request;

const PARTITIONS: u32 = 16;

/// The node that began the deployment.
const COORDINATOR: NodeId = NodeId(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_answers_with_what_was_acknowledged() {
    let (nodes, indexes) = deployment().await;
    let asking = Asking::new(&nodes);
    let index = asking.index().await;
    let (mut led, mut redirected) = (0, 0);
    for round in 0..20 {
        let items: Vec<Item> = (0..20)
            .map(|n| Item::bare(format!("r{round}-{n}"), vec![n as f32, round as f32, 1.0]))
            .collect();
        let through: &Index = &indexes[round % indexes.len()];
        through.upsert(&items).await;
        let written = 200 + 20 * (round as u64 + 1);
        for node in &asking.shards {
            let mut counted = 0;
            for partition in 0..PARTITIONS {
                let here = IndexInPartition { index, partition };
                let answer = asking.count(*node, here, true).await;
                let leader = answer.leader.map(NodeId).unwrap();
                let Some(Told::Counted(told)) = answer.told else {
                    panic!("node {node} does not count partition {partition}, led by {leader}");
                };
                counted += told.items;
                // Who does not allow it is told who leads.
                match asking.count(*node, here, false).await.told {
                    Some(Told::Counted(_)) if leader == *node => led += 1,
                    Some(Told::Error(_)) if leader != *node => redirected += 1,
                    _ => panic!("node {node} of partition {partition}, led by {leader}"),
                }
            }
            assert_eq!(counted, written, "node {node} in round {round}");
        }
    }
    assert_eq!((led, redirected), (20 * PARTITIONS, 2 * 20 * PARTITIONS));
}

/// What a replica does not know that follows, or was deposed, may be there all the same: only who leads says that it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_leads_refuses_a_write_for_good() {
    let (nodes, _) = deployment().await;
    let asking = Asking::new(&nodes);
    let mut refused = 0;
    for partition in 0..PARTITIONS {
        let mut redirected = Vec::new();
        for node in &asking.shards {
            match asking.write_to_nowhere(*node, partition).await {
                ShardError::UnknownIndex => refused += 1,
                ShardError::NotLeader { leader } => redirected.push(leader),
                error => panic!("node {node}, partition {partition}: {error}"),
            }
        }
        assert!(redirected.len() == 2 && redirected[0] == redirected[1] && redirected[0].is_some());
    }
    assert_eq!(refused, PARTITIONS);
}

/// As the first coordinator.
struct Asking {
    channels: Channels,
    shards: Vec<NodeId>,
}

impl Asking {
    fn new(nodes: &Nodes) -> Self {
        let directory = Arc::new(Directory::default());
        let mut shards = Vec::new();
        let mut deployment = None;
        for (n, number) in nodes.all(Kind::Shard).into_iter().enumerate() {
            let log = fs::read_to_string(nodes.log(number)).unwrap();
            let said = |name: &str| {
                let from = log.find(&format!("{name}=")).unwrap() + name.len() + 1;
                log[from..].split_whitespace().next().unwrap().to_owned()
            };
            let node = NodeId(said("node").parse().unwrap());
            deployment = Some(said("deployment").parse::<DeploymentId>().unwrap());
            shards.push(node);
            let registered = Registered {
                identity: Identity {
                    role: Role::Shard,
                    name: format!("shard-{}", n + 1).parse().unwrap(),
                },
                address: nodes.peer_address(number),
                removed: false,
            };
            directory.insert(node, registered);
        }
        let certificates = nodes.folder().join("certs");
        let credentials = Credentials::load(&certificates, &"coordinator-1".parse().unwrap()).unwrap();
        Self {
            channels: Channels::new(deployment.unwrap(), COORDINATOR, &credentials, directory),
            shards,
        }
    }

    /// The id of the only index.
    async fn index(&self) -> u64 {
        let mut request = Request::new(IndexesRequest { partition: 0 });
        allow_any_replica(&mut request);
        let channel = self.channels.to(self.shards[0], Lane::Data).unwrap();
        let listed = ShardClient::new(channel).indexes(request).await.unwrap();
        let indexes = listed.into_inner().indexes;
        assert_eq!(indexes.len(), 1);
        indexes[0]
    }

    /// Writes to an index that nobody has made.
    async fn write_to_nowhere(&self, node: NodeId, partition: u32) -> ShardError {
        let entry = Entry {
            version: ENTRY_VERSION,
            index: 99,
            command: Some(Command::DeleteItems(DeleteItems::default())),
        };
        let request = ProposeRequest {
            partition,
            entry: Some(entry),
            signature: vec![0; 64].into(),
        };
        let channel = self.channels.to(node, Lane::Data).unwrap();
        let written = ShardClient::new(channel).propose(request).await;
        error_of_status(&written.map(drop).unwrap_err())
    }

    async fn count(&self, node: NodeId, here: IndexInPartition, anywhere: bool) -> Answer {
        let question = Question {
            any_replica: anywhere,
            asked: Some(Asked::Count(here)),
            ..Question::default()
        };
        let questions = Questions {
            questions: vec![question],
        };
        let channel = self.channels.to(node, Lane::Data).unwrap();
        let answers = ShardClient::new(channel).together(questions).await;
        answers.unwrap().into_inner().message().await.unwrap().unwrap()
    }
}
