//! Opening items at their home, as of one moment.

use super::access::{Access, ItemRecord};
use super::resolve::open_vector;
use super::scratch::Scratch;
use crate::partition::Locator;
use crate::storage::{Family, Pinned, View};
use sealdex_core::{ItemLabel, Op, Precision};
use sealdex_index::dataplane::{FetchRequest, Fetched, Fields, ShardError};
use sealdex_index::metadata::Metadata;
use sealdex_index::record::decode_meta;

/// Items that are looked up at a time: bounds what is pinned in memory.
const ITEMS_PER_READ: usize = 256;

/// The same as long as nothing is known of their sizes: metadata may be large, contents very.
const ITEMS_PER_FIRST_READ: usize = 32;
const CONTENTS_PER_FIRST_READ: usize = 4;

/// The items asked for, in their order; `None` for one that does not exist, of which another write is current, or that
/// is in the inbox.
pub(crate) fn fetch(access: &Access, request: &FetchRequest) -> Result<Vec<Option<Fetched>>, ShardError> {
    access.check_known()?;
    // All records of an item are read as of one moment, so that none belongs to another write than the rest.
    let view = access.database.snapshot();
    let mut page = Page::new(request.fields, request.bytes_max);
    let mut answers = Vec::with_capacity(request.items.len());
    while let Some(asked) = page.next(&request.items[answers.len()..]) {
        let mut labels: Vec<ItemLabel> = asked.iter().map(|(label, _)| *label).collect();
        labels.sort_unstable();
        labels.dedup();
        let items = read_items(access, &view, request.precision, request.fields, &labels)?;
        let answer = |(label, op): &(ItemLabel, Option<Op>)| {
            let item = items[labels.binary_search(label).ok()?].as_ref()?;
            op.is_none_or(|op| op == item.op).then(|| item.clone())
        };
        let answered = asked.iter().map(answer).inspect(|item| page.add(item.as_ref()));
        answers.extend(answered);
    }
    Ok(answers)
}

/// What a reply has taken up so far, and how many items it may go on with.
pub(super) struct Page {
    bytes_max: usize,
    bytes: usize,
    items: usize,
    next: usize,
}

impl Page {
    pub(super) fn new(fields: Fields, bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            items: 0,
            next: if fields.contents {
                CONTENTS_PER_FIRST_READ
            } else {
                ITEMS_PER_FIRST_READ
            },
        }
    }

    /// The first of `left` that are to be read together; `None` if the page is full or nothing is left.
    pub(super) fn next<'a, T>(&mut self, left: &'a [T]) -> Option<&'a [T]> {
        let room = self.bytes_max.saturating_sub(self.bytes);
        if left.is_empty() || (room == 0 && self.items > 0) {
            return None;
        }
        let average = (self.bytes / self.items.max(1)).max(1);
        let count = if self.items == 0 {
            self.next
        } else {
            self.next.min((room / average).max(1))
        };
        // The first tell how large the rest will be.
        self.next = (self.next * 4).min(ITEMS_PER_READ);
        left.get(..count.min(left.len()))
    }

    pub(super) fn add(&mut self, item: Option<&Fetched>) {
        self.items += 1;
        self.bytes += item.map_or(0, |item| item.bytes);
    }
}

/// Which of these writes are their items' current ones.
pub(crate) fn current(access: &Access, writes: &[(ItemLabel, Op)]) -> Result<Vec<bool>, ShardError> {
    access.check_known()?;
    let records = access.records();
    let mut order: Vec<usize> = (0..writes.len()).collect();
    order.sort_unstable_by_key(|n| writes[*n].0);
    let mut answers = vec![false; writes.len()];
    for run in order.chunks(ITEMS_PER_READ) {
        let items: Vec<&[usize]> = run.chunk_by(|a, b| writes[*a].0 == writes[*b].0).collect();
        let keys: Vec<_> = items
            .iter()
            .map(|item| records.item(&writes[item[0]].0))
            .collect();
        let found = access.database.latest().get_many(Family::Locators, &keys)?;
        for (item, locator) in items.into_iter().zip(found) {
            let Some(locator) = locator else { continue };
            let current = decode_locator(&locator)?.op;
            for n in item {
                answers[*n] = writes[*n].1 == current;
            }
        }
    }
    Ok(answers)
}

/// Opens the fields asked for of each item; `labels` are ascending and distinct.
pub(super) fn read_items(
    access: &Access,
    view: &View<'_>,
    precision: Precision,
    fields: Fields,
    labels: &[ItemLabel],
) -> Result<Vec<Option<Fetched>>, ShardError> {
    let mut items = Vec::with_capacity(labels.len());
    for labels in labels.chunks(ITEMS_PER_READ) {
        let stored = Stored::read(access, view, fields, labels)?;
        Scratch::lend(|scratch| {
            for (n, label) in labels.iter().enumerate() {
                items.push(stored.open(n, access, precision, label, scratch)?);
            }
            Ok::<(), ShardError>(())
        })?;
    }
    Ok(items)
}

/// The sealed records of some items; a column is empty if its field is not wanted.
struct Stored<'a> {
    locators: Vec<Option<Pinned<'a>>>,
    vectors: Vec<Option<Pinned<'a>>>,
    meta: Vec<Option<Pinned<'a>>>,
    contents: Vec<Option<Pinned<'a>>>,
}

impl<'a> Stored<'a> {
    fn read(
        access: &Access,
        view: &View<'a>,
        fields: Fields,
        labels: &[ItemLabel],
    ) -> Result<Self, ShardError> {
        let records = access.records();
        let keys: Vec<_> = labels.iter().map(|label| records.item(label)).collect();
        let read = |wanted: bool, family| {
            if wanted {
                view.get_many(family, &keys)
            } else {
                Ok(Vec::new())
            }
        };
        Ok(Self {
            // Vector and meta say which write is current; not every item has contents.
            locators: read(!fields.vector && !fields.meta, Family::Locators)?,
            vectors: read(fields.vector, Family::Vectors)?,
            meta: read(fields.meta, Family::Meta)?,
            contents: read(fields.contents, Family::Contents)?,
        })
    }

    fn open(
        &self,
        n: usize,
        access: &Access,
        precision: Precision,
        label: &ItemLabel,
        scratch: &mut Scratch,
    ) -> Result<Option<Fetched>, ShardError> {
        let Some(op) = self.op(n)? else { return Ok(None) };
        let empty = (String::new(), Metadata::empty());
        let mut item = Fetched {
            label: *label,
            op,
            id: empty.0,
            metadata: empty.1,
            vector: None,
            contents: None,
            bytes: 0,
        };
        if let Some(stored) = self.vectors.get(n) {
            let sealed = sealed_of(ItemRecord::Vector, stored, op)?;
            open_vector(access, precision, label, &op, sealed, scratch)?;
            item.bytes += scratch.record.len();
            item.vector = Some(scratch.vector.clone());
        }
        if let Some(stored) = self.meta.get(n) {
            let sealed = sealed_of(ItemRecord::Meta, stored, op)?;
            access.open_item(ItemRecord::Meta, label, &op, sealed, &mut scratch.record)?;
            item.bytes += scratch.record.len();
            (item.id, item.metadata) =
                decode_meta(&scratch.record).map_err(|_| ItemRecord::Meta.damaged())?;
        }
        if let Some(stored @ Some(_)) = self.contents.get(n) {
            let sealed = sealed_of(ItemRecord::Contents, stored, op)?;
            let mut contents = Vec::new();
            access.open_item(ItemRecord::Contents, label, &op, sealed, &mut contents)?;
            item.bytes += contents.len();
            item.contents = Some(contents);
        }
        Ok(Some(item))
    }

    /// The item's current write, if it exists.
    fn op(&self, n: usize) -> Result<Option<Op>, ShardError> {
        let of_record = |kind: ItemRecord, column: &[Option<Pinned<'_>>]| match column.get(n) {
            Some(Some(stored)) => Ok(Some(kind.split(stored)?.0)),
            _ => Ok(None),
        };
        if let Some(locator) = self.locators.get(n) {
            let locator = locator.as_deref().map(decode_locator).transpose()?;
            return Ok(locator
                .filter(|locator| !locator.in_inbox)
                .map(|locator| locator.op));
        }
        match of_record(ItemRecord::Vector, &self.vectors)? {
            Some(op) => Ok(Some(op)),
            None => of_record(ItemRecord::Meta, &self.meta),
        }
    }
}

/// What is sealed in a record that has to be there and to belong to `op`.
fn sealed_of<'a>(kind: ItemRecord, stored: &'a Option<Pinned<'_>>, op: Op) -> Result<&'a [u8], ShardError> {
    let stored = stored.as_deref().ok_or(kind.damaged())?;
    let (of, sealed) = kind.split(stored)?;
    if of == op { Ok(sealed) } else { Err(kind.damaged()) }
}

fn decode_locator(stored: &[u8]) -> Result<Locator, ShardError> {
    Locator::decode(stored).ok_or(ShardError::Corrupt("locator"))
}
