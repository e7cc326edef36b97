//! A node with one index, written the way a coordinator does it.

use crate::{Node, Options, Origin};
use prost::Message;
use sealdex_consensus::{Host, HostOptions, Space};
use sealdex_core::{
    BlockId, ClusterLabel, ClusterNo, Dimension, Generation, IndexId, ItemLabel, KeyEpoch, Metric, Op,
    PartitionId, Placement, Precision,
};
use sealdex_crypto::{
    Aad, BatchContext, BatchSigner, BlockAddress, Bundle, DataKeys, LabelKeys, RecordKind, random_16,
    seal_block,
};
use sealdex_index::block::BlockBuilder;
use sealdex_index::dataplane::{Applied, ShardError, Target};
use sealdex_index::distance::encode_f16;
use sealdex_index::kmeans;
use sealdex_index::metadata::Metadata;
use sealdex_index::model::{Model, Probing};
use sealdex_index::quantiser::Quantiser;
use sealdex_index::record::encode_meta;
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition as wire;
use sealdex_proto::partition::entry::Command;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tempfile::TempDir;

pub(super) const INDEX: IndexId = IndexId(0x1234_5678_9abc_def0);
pub(super) const EPOCH: KeyEpoch = KeyEpoch(1);
pub(super) const GENERATION: Generation = Generation(1);
pub(super) const PARTITIONS: u16 = 3;

/// More probes than there are clusters.
pub(super) const EVERYWHERE: usize = 1 << 20;

/// Reproducible numbers (SplitMix64, Steele et al., 2014).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Rows around a few centres, as embeddings are.
    pub(super) fn rows(&mut self, rows: usize, dimension: usize) -> Vec<Vec<f32>> {
        let mut row =
            |spread: f32| -> Vec<f32> { (0..dimension).map(|_| (self.unit() - 0.5) * spread).collect() };
        let centres: Vec<Vec<f32>> = (0..12).map(|_| row(4.0)).collect();
        (0..rows)
            .map(|n| {
                row(1.0)
                    .iter()
                    .zip(&centres[n % 12])
                    .map(|(a, b)| a + b)
                    .collect()
            })
            .collect()
    }
}

/// An item as the oracle knows it.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) op: Op,
    pub(super) vector: Vec<f32>,
    pub(super) colour: u64,
}

pub(super) struct Bench {
    pub(super) home: TempDir,
    pub(super) node: Arc<Node>,
    pub(super) model: Model,
    pub(super) precision: Precision,
    pub(super) labels: LabelKeys,
    pub(super) items: BTreeMap<String, Item>,
    pub(super) placement: Placement,
    pub(super) signer: BatchSigner,
    /// The epoch that is signed under.
    pub(super) epoch: KeyEpoch,
    pub(super) bundle: Arc<Bundle>,
    keys: Vec<Arc<DataKeys>>,
}

impl Bench {
    /// A node that holds nothing but an empty index; its model comes from `sample`.
    pub(super) async fn new(trained: bool, metric: Metric, sample: &[Vec<f32>]) -> Self {
        let bundle = Arc::new(Bundle::generate());
        let home = tempfile::tempdir().unwrap();
        let bench = Self {
            node: open(&home).await,
            home,
            model: model(trained, metric, sample),
            precision: Precision::Float32,
            labels: bundle.labels(),
            signer: bundle.write_cap().signer(),
            epoch: EPOCH,
            items: BTreeMap::new(),
            keys: (0..PARTITIONS)
                .map(|p| Arc::new(bundle.partition_keys(INDEX, EPOCH, PartitionId(p))))
                .collect(),
            placement: Placement::new(PARTITIONS),
            bundle,
        };
        bench.grant();
        for partition in bench.placement.partitions() {
            let command = Command::BeginGeneration(wire::BeginGeneration {
                generation: GENERATION.0,
                epoch: EPOCH.0,
                write_key: bench.bundle.public_keys().write.as_bytes().to_vec().into(),
            });
            bench.propose(partition, command).await.unwrap();
        }
        bench
    }

    pub(super) async fn reopen(self) -> Self {
        self.close().await;
        let Self { home, node, .. } = self;
        drop(node);
        let bench = Self {
            node: open(&home).await,
            home,
            ..self
        };
        bench.grant();
        bench
    }

    /// Closes the node and its log.
    pub(super) async fn close(&self) {
        self.node.close().await;
        self.node.host().stop().await;
    }

    /// Goes on with these keys, the ones of another epoch among them.
    pub(super) fn go_on_with(&mut self, keys: impl Fn(PartitionId) -> DataKeys) {
        self.keys = self
            .partitions()
            .map(|partition| Arc::new(keys(partition)))
            .collect();
        self.grant();
    }

    pub(super) fn grant(&self) {
        for partition in self.placement.partitions() {
            self.node.grant(target(partition), self.keys(partition));
        }
    }

    pub(super) fn keys(&self, partition: PartitionId) -> Arc<DataKeys> {
        Arc::clone(&self.keys[partition.0 as usize])
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        self.placement.partitions()
    }

    pub(super) async fn propose(
        &self,
        partition: PartitionId,
        command: Command,
    ) -> Result<Applied, ShardError> {
        let entry = wire::Entry {
            version: ENTRY_VERSION,
            index: INDEX.0,
            command: Some(command),
        };
        let signature = self.sign(partition, &entry);
        self.node.propose(partition, entry, Some(signature)).await
    }

    pub(super) fn sign(&self, partition: PartitionId, entry: &wire::Entry) -> [u8; 64] {
        let context = BatchContext {
            index: INDEX,
            epoch: self.epoch,
            partition,
        };
        self.signer.sign(&context, &entry.encode_to_vec())
    }

    /// Writes rows first and items second. Ids are `<prefix><number>`; the colour is the number modulo ten.
    pub(super) async fn upsert(&mut self, prefix: &str, first: usize, vectors: &[Vec<f32>]) -> Vec<Applied> {
        let mut blocks: HashMap<ClusterNo, BlockBuilder> = HashMap::new();
        let mut commits: BTreeMap<PartitionId, Vec<wire::Item>> = BTreeMap::new();
        for (n, vector) in (first..).zip(vectors) {
            let (id, op, colour) = (format!("{prefix}{n}"), Op(random_16()), n as u64 % 10);
            let metadata = metadata(colour, n);
            let label = self.labels.item(&id);
            let mut prepared = vec![0.0; vector.len()];
            self.model.quantiser.prepare(vector, &mut prepared);
            let cluster = self.model.assign(&prepared, &label.0[..1])[0];
            let mut code = Vec::new();
            self.model.encode(&prepared, cluster, &mut code);
            let builder = || BlockBuilder::new(self.model.quantiser.codec(), self.model.dimension);
            blocks
                .entry(cluster)
                .or_insert_with(builder)
                .push(label, op, &code, &metadata);
            let home = self.placement.of_item(&label);
            let contents = (n % 2 == 0).then(|| format!("contents of {id}").into_bytes());
            commits
                .entry(home)
                .or_default()
                .push(self.seal(&id, op, vector, &metadata, contents, cluster));
            self.items.insert(
                id,
                Item {
                    op,
                    vector: vector.clone(),
                    colour,
                },
            );
        }
        let mut replies = Vec::new();
        for (cluster, builder) in blocks {
            replies.push(self.append(cluster, builder).await.unwrap());
        }
        for (partition, items) in commits {
            let commit = Command::CommitItems(wire::CommitItems { items });
            replies.push(self.propose(partition, commit).await.unwrap());
        }
        replies
    }

    async fn append(&self, cluster: ClusterNo, builder: BlockBuilder) -> Result<Applied, ShardError> {
        let (label, block, segments) = (self.cluster(cluster), BlockId(random_16()), builder.finish());
        let partition = self.placement.of_cluster(&label);
        let at = BlockAddress {
            label,
            generation: GENERATION,
            block,
        };
        let plain = [
            segments.codes.as_slice(),
            &segments.identities,
            &segments.metadata,
        ];
        let sealed = seal_block(&self.keys(partition), &at, segments.rows, plain).into();
        let block = wire::Block {
            id: block.0.to_vec().into(),
            rows: segments.rows,
            sealed,
        };
        let clusters = vec![wire::ClusterBlocks {
            cluster: label.0.to_vec().into(),
            blocks: vec![block],
        }];
        let command = wire::AppendBlocks {
            generation: GENERATION.0,
            clusters,
        };
        self.propose(partition, Command::AppendBlocks(command)).await
    }

    fn seal(
        &self,
        id: &str,
        op: Op,
        vector: &[f32],
        metadata: &Metadata,
        contents: Option<Vec<u8>>,
        cluster: ClusterNo,
    ) -> wire::Item {
        let label = self.labels.item(id);
        let keys = self.keys(self.placement.of_item(&label));
        let seal = |kind, plaintext: &[u8]| -> bytes::Bytes {
            keys.seal(
                &Aad {
                    kind,
                    part: 0,
                    label: &label.0,
                    generation: Generation(0),
                    op: &op.0,
                },
                plaintext,
            )
            .into()
        };
        let mut plain = Vec::new();
        match self.precision {
            Precision::Float32 => plain.extend(vector.iter().flat_map(|value| value.to_le_bytes())),
            Precision::Float16 => assert!(encode_f16(vector, &mut plain)),
        }
        let cluster = self.cluster(cluster).0.to_vec().into();
        wire::Item {
            label: label.0.to_vec().into(),
            op: op.0.to_vec().into(),
            rows: vec![wire::RowPlace {
                generation: GENERATION.0,
                cluster,
            }],
            vector: seal(RecordKind::Vector, &plain),
            meta: seal(RecordKind::Meta, &encode_meta(id, metadata)),
            contents: contents.map(|contents| seal(RecordKind::Contents, &contents)),
        }
    }

    pub(super) async fn delete(&mut self, ids: &[&str]) -> u64 {
        let mut removed = 0;
        for id in ids {
            let label = self.labels.item(id);
            let command = wire::DeleteItems {
                labels: vec![label.0.to_vec().into()],
            };
            let applied = self
                .propose(self.placement.of_item(&label), Command::DeleteItems(command))
                .await;
            removed += applied.unwrap().removed;
            self.items.remove(*id);
        }
        removed
    }

    pub(super) fn cluster(&self, cluster: ClusterNo) -> ClusterLabel {
        self.labels.cluster(GENERATION, cluster)
    }

    pub(super) fn home(&self, label: &ItemLabel) -> Target {
        target(self.placement.of_item(label))
    }

    pub(super) fn target_of(&self, cluster: ClusterNo) -> Target {
        target(self.placement.of_cluster(&self.cluster(cluster)))
    }
}

pub(super) fn target(partition: PartitionId) -> Target {
    Target {
        index: INDEX,
        epoch: EPOCH,
        other: None,
        partition,
    }
}

/// Opens what is on disk, as the only node there is. An error of a partition is the node's.
pub(super) async fn try_open(home: &TempDir) -> Result<Arc<Node>, ShardError> {
    let options = Options {
        path: home.path().to_path_buf(),
        partitions: PARTITIONS,
        block_cache_bytes: 16 << 20,
        threads: 2,
        queue: 256,
    };
    let space = Arc::new(Space::open(home.path(), Some(0)).unwrap());
    let log = HostOptions::alone(home.path().join("log"), Arc::clone(&space));
    let me = log.node;
    let node = Arc::new(Node::open(options, space, Host::open(log).unwrap())?);
    for partition in (0..PARTITIONS).map(PartitionId) {
        let founded = node
            .host_partition(partition, &Origin::Founding([me].into()))
            .await;
        if let Err(error) = founded {
            node.close().await;
            node.host().stop().await;
            return Err(error);
        }
    }
    for partition in node.hosted() {
        node.led(partition).await;
    }
    Ok(node)
}

async fn open(home: &TempDir) -> Arc<Node> {
    try_open(home).await.unwrap()
}

pub(super) fn metadata(colour: u64, n: usize) -> Metadata {
    let Value::Object(object) = json!({ "colour": colour, "n": n, "tags": ["x", format!("t{}", n % 3)] })
    else {
        unreachable!("an object")
    };
    Metadata::new(object).unwrap()
}

fn model(trained: bool, metric: Metric, sample: &[Vec<f32>]) -> Model {
    let dimension = Dimension::new(sample[0].len() as u64).unwrap();
    let sample: Vec<f32> = sample.concat();
    if !trained {
        return Model::untrained(GENERATION, metric, dimension, &sample, 5);
    }
    let quantiser = Quantiser::train(dimension, metric, &sample, 1);
    let settings = kmeans::Settings {
        clusters: 16,
        max_iterations: 10,
        tolerance: 0.001,
        batch: None,
        seed: 1,
    };
    let values = kmeans::balanced(dimension, &quantiser.prepare_all(&sample), &settings, &|_| {});
    let centroids = sealdex_index::model::Centroids::new(dimension.get(), values);
    let probing = Probing::everywhere(centroids.len());
    Model {
        generation: GENERATION,
        trained,
        metric,
        dimension,
        quantiser,
        centroids,
        probing,
        reach: sealdex_index::model::Reach::unlimited(),
        lineage: sealdex_index::model::Lineage::default(),
    }
}
