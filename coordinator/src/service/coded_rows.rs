//! Rows on their way into the clusters of one generation: assigned, encoded, and sealed into blocks.

use super::session::{LoadedModel, Session};
use rayon::prelude::*;
use sealdex_core::{BlockId, ClusterNo, IndexId, ItemLabel, Op, PartitionId, Placement};
use sealdex_crypto::{BlockAddress, DataKeys, random_16, seal_block};
use sealdex_index::block::{BlockBuilder, rows_per_block};
use sealdex_index::dataplane::Fetched;
use sealdex_index::metadata::Metadata;
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{AppendBlocks, Block, ClusterBlocks, Entry, entry};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Sealed bytes after which an entry is full. A partition's log has to hold, and a replica to receive, an entry whole.
const ENTRY_BYTES: usize = 8 << 20;

/// A row to be encoded. The vector is as it will be read back: rounded, if the index rounds.
pub(crate) struct NewRow<'v, 'm> {
    pub(crate) label: ItemLabel,
    pub(crate) op: Op,
    pub(crate) vector: &'v [f32],
    pub(crate) metadata: Cow<'m, Metadata>,
}

impl<'v> NewRow<'v, '_> {
    /// The same row, its metadata borrowed.
    pub(crate) fn borrowed(&self) -> NewRow<'v, '_> {
        NewRow {
            metadata: Cow::Borrowed(&self.metadata),
            ..*self
        }
    }
}

/// Encoded rows of one generation.
#[derive(Default)]
pub(crate) struct CodedRows<'m> {
    identities: Vec<(ItemLabel, Op)>,
    clusters: Vec<ClusterNo>,
    /// Row-major, `row_bytes` each.
    codes: Vec<u8>,
    metadata: Vec<Cow<'m, Metadata>>,
}

impl<'m> CodedRows<'m> {
    /// Assigns and encodes `rows`, on all threads of the pool it is called on.
    pub(crate) fn extend(&mut self, model: &LoadedModel, rows: Vec<NewRow<'_, 'm>>) {
        self.extend_where(model, rows, |_| true);
    }

    /// The same for those rows whose cluster is `wanted`, which it names.
    fn extend_where(
        &mut self,
        model: &LoadedModel,
        rows: Vec<NewRow<'_, 'm>>,
        wanted: impl Fn(ClusterNo) -> bool + Sync,
    ) -> Vec<(ItemLabel, Op)> {
        let (quantiser, dimension) = (&model.model.quantiser, model.model.dimension.get());
        let mut prepared = vec![0.0; rows.len() * dimension];
        prepared
            .par_chunks_exact_mut(dimension)
            .zip(&rows)
            .for_each(|(out, row)| quantiser.prepare(row.vector, out));
        // What has no place to go by is spread by labels, which are pseudo-random.
        let spread: Vec<u8> = rows.iter().map(|row| row.label.0[0]).collect();
        let clusters = model.model.assign(&prepared, &spread);
        let codes: Vec<Option<Vec<u8>>> = prepared
            .par_chunks_exact(dimension)
            .zip(&clusters)
            .map(|(prepared, cluster)| {
                wanted(*cluster).then(|| {
                    let mut code = Vec::with_capacity(quantiser.row_bytes());
                    model.model.encode(prepared, *cluster, &mut code);
                    code
                })
            })
            .collect();
        let before = self.identities.len();
        for ((row, cluster), code) in rows.into_iter().zip(clusters).zip(codes) {
            if let Some(code) = code {
                self.codes.extend(code);
                self.clusters.push(cluster);
                self.identities.push((row.label, row.op));
                self.metadata.push(row.metadata);
            }
        }
        self.identities[before..].to_vec()
    }

    /// The cluster of each row.
    pub(crate) fn clusters(&self) -> &[ClusterNo] {
        &self.clusters
    }

    /// Bytes of codes held.
    pub(crate) fn code_bytes(&self) -> usize {
        self.codes.len()
    }

    /// Seals the rows into well-filled blocks, and the blocks into entries for the clusters' partitions.
    pub(crate) fn append_entries(
        &self,
        session: &Session,
        placement: &Placement,
        model: &LoadedModel,
    ) -> Vec<(PartitionId, Entry)> {
        let mut members: BTreeMap<ClusterNo, Vec<usize>> = BTreeMap::new();
        for (row, cluster) in self.clusters.iter().enumerate() {
            members.entry(*cluster).or_default().push(row);
        }
        let capacity = rows_per_block(model.model.quantiser.row_bytes());
        let sealed: Vec<(PartitionId, ClusterBlocks)> = members
            .into_par_iter()
            .map(|(cluster, members)| {
                let label = model.label(cluster);
                let partition = placement.of_cluster(&label);
                let keys = session.keys(partition);
                let blocks = members
                    .chunks(capacity)
                    .map(|rows| self.sealed_block(keys, model, cluster, rows))
                    .collect();
                (
                    partition,
                    ClusterBlocks {
                        cluster: label.as_bytes().to_vec().into(),
                        blocks,
                    },
                )
            })
            .collect();
        entries(session.id, model, sealed)
    }

    fn sealed_block(
        &self,
        keys: &DataKeys,
        model: &LoadedModel,
        cluster: ClusterNo,
        rows: &[usize],
    ) -> Block {
        let row_bytes = model.model.quantiser.row_bytes();
        let mut builder = BlockBuilder::new(model.model.quantiser.codec(), model.model.dimension);
        for &row in rows {
            let (label, op) = self.identities[row];
            builder.push(
                label,
                op,
                &self.codes[row * row_bytes..][..row_bytes],
                &self.metadata[row],
            );
        }
        let segments = builder.finish();
        let block = BlockId(random_16());
        let at = BlockAddress {
            label: model.label(cluster),
            generation: model.model.generation,
            block,
        };
        let sealed = seal_block(
            keys,
            &at,
            segments.rows,
            [&segments.codes, &segments.identities, &segments.metadata],
        );
        Block {
            id: block.as_bytes().to_vec().into(),
            rows: segments.rows,
            sealed: sealed.into(),
        }
    }
}

impl CodedRows<'static> {
    /// Assigns and encodes items as they were opened, those whose cluster is `wanted`, and names them.
    pub(crate) fn extend_items(
        &mut self,
        model: &LoadedModel,
        items: Vec<Fetched>,
        wanted: impl Fn(ClusterNo) -> bool + Sync,
    ) -> Vec<(ItemLabel, Op)> {
        let (mut vectors, mut rest) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for item in items {
            vectors.push(item.vector.unwrap_or_default());
            rest.push((item.label, item.op, item.metadata));
        }
        let rows = rest.into_iter().zip(&vectors);
        let rows = rows.map(|((label, op, metadata), vector)| NewRow {
            label,
            op,
            vector,
            metadata: Cow::Owned(metadata),
        });
        self.extend_where(model, rows.collect(), wanted)
    }
}

/// An entry of a partition's log.
pub(crate) fn entry_of(index: IndexId, command: entry::Command) -> Entry {
    Entry {
        version: ENTRY_VERSION,
        index: index.0,
        command: Some(command),
    }
}

fn entries(
    index: IndexId,
    model: &LoadedModel,
    sealed: Vec<(PartitionId, ClusterBlocks)>,
) -> Vec<(PartitionId, Entry)> {
    let mut filling: BTreeMap<PartitionId, (usize, Vec<ClusterBlocks>)> = BTreeMap::new();
    let mut entries = Vec::new();
    let generation = model.model.generation.0;
    let append = |clusters| {
        entry_of(
            index,
            entry::Command::AppendBlocks(AppendBlocks { generation, clusters }),
        )
    };
    for (partition, blocks) in sealed {
        let (bytes, clusters) = filling.entry(partition).or_default();
        *bytes += blocks
            .blocks
            .iter()
            .map(|block| block.sealed.len())
            .sum::<usize>();
        clusters.push(blocks);
        if *bytes >= ENTRY_BYTES {
            *bytes = 0;
            entries.push((partition, append(std::mem::take(clusters))));
        }
    }
    let rest = filling
        .into_iter()
        .filter(|(_, (_, clusters))| !clusters.is_empty());
    entries.extend(rest.map(|(partition, (_, clusters))| (partition, append(clusters))));
    entries
}
