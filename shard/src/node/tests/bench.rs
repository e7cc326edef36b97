//! A node with one index, written and asked the way a coordinator does it, and an oracle beside it.

use crate::{Node, Options};
use sealdex_core::{
    BlockId, ClusterLabel, ClusterNo, Dimension, Generation, IndexId, ItemLabel, KeyEpoch, Metric, Op,
    PartitionId, Placement, Precision,
};
use sealdex_crypto::{Aad, BlockAddress, Bundle, DataKeys, LabelKeys, RecordKind, random_16, seal_block};
use sealdex_index::block::BlockBuilder;
use sealdex_index::dataplane::{
    Applied, Candidate, ClusterProbe, ResolveRequest, ScanQuery, ScanReply, ScanRequest, ShardError, Target,
};
use sealdex_index::distance::{encode_f16, exact};
use sealdex_index::filter::Filter;
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
    keys: Vec<Arc<DataKeys>>,
    placement: Placement,
}

impl Bench {
    /// A node that holds nothing but an empty index; its model comes from `sample`.
    pub(super) async fn new(trained: bool, metric: Metric, sample: &[Vec<f32>]) -> Self {
        let bundle = Bundle::generate();
        let home = tempfile::tempdir().unwrap();
        let bench = Self {
            node: open(&home),
            home,
            model: model(trained, metric, sample),
            precision: Precision::Float32,
            labels: bundle.labels(),
            items: BTreeMap::new(),
            keys: (0..PARTITIONS)
                .map(|p| Arc::new(bundle.partition_keys(INDEX, EPOCH, PartitionId(p))))
                .collect(),
            placement: Placement::new(PARTITIONS),
        };
        bench.grant();
        for partition in bench.placement.partitions() {
            let command = Command::BeginGeneration(wire::BeginGeneration {
                generation: GENERATION.0,
            });
            bench.propose(partition, command).await.unwrap();
        }
        bench
    }

    pub(super) async fn reopen(self) -> Self {
        self.node.close().await;
        let Self { home, node, .. } = self;
        drop(node);
        let bench = Self {
            node: open(&home),
            home,
            ..self
        };
        bench.grant();
        bench
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
        self.node.propose(partition, entry).await
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
            let cluster = match self.model.trained {
                true => self.model.assign(&prepared)[0],
                false => ClusterNo(label.0[0] as u32 % self.model.clusters()),
            };
            let mut code = Vec::new();
            self.model
                .quantiser
                .encode(&prepared, self.model.centroids.get(cluster), &mut code);
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

    /// Scan requests for all queries together, one for each partition that has a probed cluster.
    pub(super) fn scans(
        &self,
        queries: &[Vec<f32>],
        filter: Option<&Value>,
        keep: usize,
        n_probes: usize,
    ) -> Vec<ScanRequest> {
        let mut probes: BTreeMap<PartitionId, BTreeMap<ClusterLabel, Vec<(u32, f32)>>> = BTreeMap::new();
        let mut prepared = vec![0.0; self.model.dimension.get()];
        let mut scan_queries = Vec::new();
        for (n, query) in (0..).zip(queries) {
            self.model.quantiser.prepare(query, &mut prepared);
            for probe in self.model.route(&prepared, n_probes) {
                let cluster = self.cluster(probe.cluster);
                let of_partition = probes.entry(self.placement.of_cluster(&cluster)).or_default();
                of_partition.entry(cluster).or_default().push((n, probe.base));
            }
            let filter = filter.map(|filter| Filter::parse(filter).unwrap().unwrap());
            scan_queries.push(ScanQuery {
                scorer: self.model.quantiser.scorer(&prepared),
                filter,
                keep,
            });
        }
        let queries: Arc<[ScanQuery]> = scan_queries.into();
        let request =
            |(partition, probes): (PartitionId, BTreeMap<ClusterLabel, Vec<(u32, f32)>>)| ScanRequest {
                target: target(partition),
                generation: GENERATION,
                probes: probes
                    .into_iter()
                    .map(|(cluster, asked_by)| ClusterProbe { cluster, asked_by })
                    .collect(),
                queries: Arc::clone(&queries),
            };
        probes.into_iter().map(request).collect()
    }

    /// Scans all partitions and merges.
    pub(super) async fn scan(
        &self,
        queries: &[Vec<f32>],
        filter: Option<&Value>,
        keep: usize,
        n_probes: usize,
    ) -> ScanReply {
        let mut merged = ScanReply {
            candidates: vec![Vec::new(); queries.len()],
            scored: vec![0; queries.len()],
        };
        for request in self.scans(queries, filter, keep, n_probes) {
            let reply = self.node.scan(request).await.unwrap();
            for (n, found) in reply.candidates.into_iter().enumerate() {
                assert!(found.len() <= keep && found.is_sorted_by(|a, b| a.estimate <= b.estimate));
                merged.candidates[n].extend(found);
                merged.scored[n] += reply.scored[n];
            }
        }
        for candidates in &mut merged.candidates {
            candidates.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
            candidates.truncate(keep);
        }
        merged
    }

    /// Exact distances of one query's candidates; those that are not current are left out. Nearest first.
    pub(super) async fn resolve(&self, query: &[f32], candidates: &[Candidate]) -> Vec<(f64, ItemLabel)> {
        let mut by_home: BTreeMap<PartitionId, Vec<(u32, ItemLabel, Op)>> = BTreeMap::new();
        for Candidate { label, op, .. } in candidates {
            by_home
                .entry(self.placement.of_item(label))
                .or_default()
                .push((0, *label, *op));
        }
        let mut found = Vec::new();
        for (partition, candidates) in by_home {
            let request = self.resolve_request(partition, query, candidates.clone());
            let distances = self.node.resolve(request).await.unwrap();
            assert_eq!(distances.len(), candidates.len());
            let current = candidates
                .iter()
                .zip(distances)
                .filter_map(|((_, label, _), d)| Some((d?, *label)));
            found.extend(current);
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found
    }

    pub(super) fn resolve_request(
        &self,
        partition: PartitionId,
        queries: &[f32],
        candidates: Vec<(u32, ItemLabel, Op)>,
    ) -> ResolveRequest {
        ResolveRequest {
            target: target(partition),
            metric: self.model.metric,
            precision: self.precision,
            queries: queries.into(),
            dimension: self.model.dimension,
            candidates,
        }
    }

    /// The nearest items by exhaustive search.
    pub(super) fn nearest(&self, query: &[f32], k: usize, colour: Option<u64>) -> Vec<(f64, ItemLabel)> {
        let matching = self
            .items
            .iter()
            .filter(|(_, item)| colour.is_none_or(|colour| colour == item.colour));
        let distance = |item: &Item| exact(self.model.metric, query, &item.vector);
        let mut all: Vec<(f64, ItemLabel)> = matching
            .map(|(id, item)| (distance(item), self.labels.item(id)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        all
    }

    /// The share of the `k` nearest that a query finds when it resolves `keep` candidates.
    pub(super) async fn recall(
        &self,
        queries: &[Vec<f32>],
        colour: Option<u64>,
        (k, keep, n_probes): (usize, usize, usize),
    ) -> f64 {
        let filter = colour.map(|colour| json!({ "colour": colour }));
        let reply = self.scan(queries, filter.as_ref(), keep, n_probes).await;
        let mut hits = 0;
        let mut wanted = 0;
        for (query, candidates) in queries.iter().zip(&reply.candidates) {
            let mut found = self.resolve(query, candidates).await;
            found.truncate(k);
            let nearest = self.nearest(query, k, colour);
            hits += nearest
                .iter()
                .filter(|(_, label)| found.iter().any(|(_, found)| found == label))
                .count();
            wanted += nearest.len();
        }
        hits as f64 / wanted as f64
    }
}

pub(super) fn target(partition: PartitionId) -> Target {
    Target {
        index: INDEX,
        epoch: EPOCH,
        partition,
    }
}

fn options(home: &TempDir) -> Options {
    let path = home.path().to_path_buf();
    Options {
        path,
        partitions: PARTITIONS,
        block_cache_bytes: 16 << 20,
        threads: 2,
        queue: 256,
    }
}

fn open(home: &TempDir) -> Arc<Node> {
    Arc::new(Node::open(options(home)).unwrap())
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
    }
}
