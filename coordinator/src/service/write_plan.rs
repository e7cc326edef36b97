//! From the items of an upsert to sealed log entries. Pure computing; what it returns is ciphertext.

use super::Upsert;
use super::coded_rows::{CodedRows, NewRow, entry_of};
use super::inbox::Waiting;
use super::session::{LoadedModel, Session};
use prost::Message;
use rayon::prelude::*;
use sealdex_core::{Generation, IndexId, Op, PartitionId, Placement, Precision};
use sealdex_crypto::{Aad, DataKeys, RecordKind, random_16};
use sealdex_index::dataplane::Fetched;
use sealdex_index::{distance, record};
use sealdex_proto::partition::{CommitItems, Entry, Item, PromoteItems, RowPlace, entry};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The entries of an upsert. All appends must be durable before the first commit is proposed.
pub(crate) struct WritePlan {
    pub(crate) appends: Vec<(PartitionId, Entry)>,
    pub(crate) commits: Vec<(PartitionId, Entry)>,
    /// Rows of all generations.
    pub(crate) rows: u64,
    /// Rows that lie where their generation has no cluster.
    pub(crate) strays: u64,
}

/// What is sealed of an item beside its row.
struct Rest<'a> {
    id: &'a str,
    contents: Option<&'a [u8]>,
}

impl WritePlan {
    /// Bytes of all entries together.
    pub(crate) fn bytes(&self) -> u64 {
        let entries = self.appends.iter().chain(&self.commits);
        entries.map(|(_, entry)| entry.encoded_len() as u64).sum()
    }

    /// Plans the write of `upsert` into all generations that must have it.
    pub(crate) fn of_upsert(
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
        let rest = |&at: &usize| Rest {
            id: &upsert.ids[at],
            contents: upsert.contents[at].as_deref().map(str::as_bytes),
        };
        let rest = positions.iter().map(rest).collect();
        let commit = |items| entry::Command::CommitItems(CommitItems { items });
        Self::new(session, placement, precision, models, (rows, rest), commit)
    }

    /// Plans to give items of the inbox their rows. Each keeps its write.
    pub(crate) fn of_promotion<'a>(
        session: &Session,
        placement: &Placement,
        precision: Precision,
        models: &[Arc<LoadedModel>],
        waiting: &'a [Arc<Waiting>],
    ) -> Self {
        let items = waiting.iter().map(|waiting| waiting.item());
        let row = |item: &'a Fetched| NewRow {
            label: item.label,
            op: item.op,
            vector: item.vector.as_deref().unwrap_or_default(),
            metadata: Cow::Borrowed(&item.metadata),
        };
        let rest = |item: &'a Fetched| Rest {
            id: &item.id,
            contents: item.contents.as_deref(),
        };
        let rows = (items.clone().map(row).collect(), items.map(rest).collect());
        let promote = |items| entry::Command::PromoteItems(PromoteItems { items });
        Self::new(session, placement, precision, models, rows, promote)
    }

    fn new(
        session: &Session,
        placement: &Placement,
        precision: Precision,
        models: &[Arc<LoadedModel>],
        (rows, rest): (Vec<NewRow<'_, '_>>, Vec<Rest<'_>>),
        commit: impl Fn(Vec<Item>) -> entry::Command,
    ) -> Self {
        let mut places: Vec<Vec<RowPlace>> = vec![Vec::with_capacity(models.len()); rows.len()];
        let mut appends = Vec::new();
        let mut strays = 0;
        for model in models {
            let mut coded = CodedRows::default();
            coded.extend(model, rows.iter().map(NewRow::borrowed).collect());
            for (place, cluster) in places.iter_mut().zip(coded.clusters()) {
                strays += u64::from(model.model.is_of_strays(*cluster));
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
            .zip(&rest)
            .map(|((row, places), rest)| {
                let home = placement.of_item(&row.label);
                (
                    home,
                    sealed_item(session.keys(home), precision, row, places, rest),
                )
            })
            .collect();
        Self {
            appends,
            commits: entries_by_home(session.id, items, commit),
            rows: (rows.len() * models.len()) as u64,
            strays,
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

/// A vector in the bytes that are stored of it.
pub(super) fn stored_bytes(precision: Precision, vector: &[f32]) -> Cow<'_, [u8]> {
    match precision {
        Precision::Float32 => Cow::Borrowed(bytemuck::cast_slice(vector)),
        Precision::Float16 => Cow::Owned(f16_bytes(vector)),
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
pub(super) fn last_of_each_id(ids: &[String]) -> Vec<usize> {
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
    rest: &Rest<'_>,
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
    let vector = seal(RecordKind::Vector, &stored_bytes(precision, row.vector));
    Item {
        label: row.label.as_bytes().to_vec().into(),
        op: row.op.as_bytes().to_vec().into(),
        rows,
        vector: vector.into(),
        meta: seal(RecordKind::Meta, &record::encode_meta(rest.id, &row.metadata)).into(),
        contents: rest.contents.map(|text| seal(RecordKind::Contents, text).into()),
    }
}

/// One entry for each home that has some of `items`.
pub(super) fn entries_by_home<T>(
    index: IndexId,
    items: Vec<(PartitionId, T)>,
    command: impl Fn(Vec<T>) -> entry::Command,
) -> Vec<(PartitionId, Entry)> {
    let mut by_home: BTreeMap<PartitionId, Vec<T>> = BTreeMap::new();
    for (home, item) in items {
        by_home.entry(home).or_default().push(item);
    }
    let entry = |(home, items)| (home, entry_of(index, command(items)));
    by_home.into_iter().map(entry).collect()
}
