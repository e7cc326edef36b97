//! From the items of an upsert to sealed log entries. Pure computing; what it returns is ciphertext.

use super::Upsert;
use super::coded_rows::{CodedRows, NewRow, entry_of};
use super::session::{LoadedModel, Session};
use prost::Message;
use rayon::prelude::*;
use sealdex_core::{Generation, IndexId, Op, PartitionId, Placement, Precision};
use sealdex_crypto::{Aad, DataKeys, RecordKind, random_16};
use sealdex_index::{distance, record};
use sealdex_proto::partition::{CommitItems, Entry, Item, RowPlace, entry};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The entries of an upsert. All appends must be durable before the first commit is proposed.
pub(crate) struct WritePlan {
    pub(crate) appends: Vec<(PartitionId, Entry)>,
    pub(crate) commits: Vec<(PartitionId, Entry)>,
}

impl WritePlan {
    /// Bytes of all entries together.
    pub(crate) fn bytes(&self) -> u64 {
        let entries = self.appends.iter().chain(&self.commits);
        entries.map(|(_, entry)| entry.encoded_len() as u64).sum()
    }

    /// Plans the write of `upsert` into all generations that must have it.
    pub(crate) fn new(
        session: &Session,
        placement: &Placement,
        precision: Precision,
        models: &[Arc<LoadedModel>],
        upsert: &Upsert,
    ) -> Self {
        let stored = as_stored(precision, upsert.vectors.values());
        let dimension = upsert.vectors.dimension();
        let positions = last_of_each_id(&upsert.ids);
        let rows: Vec<NewRow<'_, '_>> = positions
            .par_iter()
            .map(|&at| NewRow {
                label: session.labels.item(&upsert.ids[at]),
                op: Op(random_16()),
                vector: &stored[at * dimension.get()..][..dimension.get()],
                metadata: Cow::Borrowed(&upsert.metadata[at]),
            })
            .collect();
        let mut places: Vec<Vec<RowPlace>> = vec![Vec::with_capacity(models.len()); rows.len()];
        let mut appends = Vec::new();
        for model in models {
            let mut coded = CodedRows::default();
            coded.extend(model, rows.iter().map(NewRow::borrowed).collect());
            for (place, cluster) in places.iter_mut().zip(coded.clusters()) {
                let cluster = model.label(*cluster).as_bytes().to_vec().into();
                place.push(RowPlace {
                    generation: model.model.generation.0,
                    cluster,
                });
            }
            appends.extend(coded.append_entries(session, placement, model));
        }
        let items: Vec<(PartitionId, Item)> = rows
            .par_iter()
            .zip(places)
            .zip(&positions)
            .map(|((row, places), &at)| {
                let home = placement.of_item(&row.label);
                let (id, contents) = (&upsert.ids[at], upsert.contents[at].as_deref());
                (
                    home,
                    sealed_item(session.keys(home), precision, row, places, id, contents),
                )
            })
            .collect();
        Self {
            appends,
            commits: commit_entries(session.id, items),
        }
    }
}

/// Vectors as they will be read back from storage.
fn as_stored(precision: Precision, values: &[f32]) -> Vec<f32> {
    match precision {
        Precision::Float32 => values.to_vec(),
        Precision::Float16 => {
            let mut rounded = Vec::new();
            distance::decode_f16(&f16_bytes(values), &mut rounded);
            rounded
        }
    }
}

/// Half-precision bytes of values that were checked to fit.
fn f16_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * 2);
    let fits = distance::encode_f16(values, &mut bytes);
    debug_assert!(fits, "what does not fit is refused before a write is planned");
    bytes
}

/// Positions of the items to write: of items with the same id only the last.
fn last_of_each_id(ids: &[String]) -> Vec<usize> {
    let mut last: HashMap<&str, usize> = HashMap::with_capacity(ids.len());
    for (at, id) in ids.iter().enumerate() {
        last.insert(id, at);
    }
    (0..ids.len())
        .filter(|at| last[ids[*at].as_str()] == *at)
        .collect()
}

fn sealed_item(
    keys: &DataKeys,
    precision: Precision,
    row: &NewRow<'_, '_>,
    rows: Vec<RowPlace>,
    id: &str,
    contents: Option<&str>,
) -> Item {
    let seal = |kind, plaintext: &[u8]| {
        let aad = Aad {
            kind,
            part: 0,
            label: row.label.as_bytes(),
            generation: Generation(0),
            op: row.op.as_bytes(),
        };
        keys.seal(&aad, plaintext)
    };
    let vector = match precision {
        Precision::Float32 => seal(RecordKind::Vector, bytemuck::cast_slice(row.vector)),
        Precision::Float16 => seal(RecordKind::Vector, &f16_bytes(row.vector)),
    };
    Item {
        label: row.label.as_bytes().to_vec().into(),
        op: row.op.as_bytes().to_vec().into(),
        rows,
        vector: vector.into(),
        meta: seal(RecordKind::Meta, &record::encode_meta(id, &row.metadata)).into(),
        contents: contents.map(|text| seal(RecordKind::Contents, text.as_bytes()).into()),
    }
}

fn commit_entries(index: IndexId, items: Vec<(PartitionId, Item)>) -> Vec<(PartitionId, Entry)> {
    let mut by_home: BTreeMap<PartitionId, Vec<Item>> = BTreeMap::new();
    for (home, item) in items {
        by_home.entry(home).or_default().push(item);
    }
    by_home
        .into_iter()
        .map(|(home, items)| {
            (
                home,
                entry_of(index, entry::Command::CommitItems(CommitItems { items })),
            )
        })
        .collect()
}
