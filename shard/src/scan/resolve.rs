//! Resolving candidates: which of them are current, and how far they truly are.

use super::access::{Access, ItemRecord};
use super::fetch::read_items;
use super::scratch::Scratch;
use crate::pool::Crew;
use crate::storage::Family;
use sealdex_core::{ItemLabel, Op, Precision};
use sealdex_index::dataplane::{Fetched, Fields, ResolveReply, ResolveRequest, Resolved, ShardError};
use sealdex_index::distance::{answered, decode_f16};
use sealdex_index::filter::Filter;

/// Candidates that are looked up at a time: bounds what is pinned in memory.
const CANDIDATES_PER_READ: usize = 1024;

/// The same of those whose metadata have to be opened: there are few of them.
const REWRITTEN_PER_READ: usize = 32;

/// Answers for each candidate, in their order.
pub(crate) fn resolve(
    access: &Access,
    request: &ResolveRequest,
    crew: &Crew,
) -> Result<ResolveReply, ShardError> {
    access.check_known()?;
    let label = |n: &usize| request.candidates[*n].1;
    let mut order: Vec<usize> = (0..request.candidates.len()).collect();
    order.sort_unstable_by_key(label);
    let parts = crew.parts();
    let mut runs: Vec<&[usize]> = order.chunks(CANDIDATES_PER_READ).collect();
    if runs.len() == 1 && parts > 1 && order.len() >= CANDIDATES_PER_READ / 2 {
        runs = order.chunks(order.len().div_ceil(parts)).collect();
    }
    let distances = crew.each(&runs, |run| {
        Scratch::lend(|scratch| resolve_run(access, request, run, scratch))
    })?;
    let mut reply = vec![None; request.candidates.len()];
    for (n, distance) in order.iter().zip(distances.into_iter().flatten()) {
        reply[*n] = distance;
    }
    Ok(reply)
}

/// The distances of the candidates at `run`, which are in the order of their labels.
fn resolve_run(
    access: &Access,
    request: &ResolveRequest,
    run: &[usize],
    scratch: &mut Scratch,
) -> Result<ResolveReply, ShardError> {
    let label = |n: &usize| request.candidates[*n].1;
    let items: Vec<&[usize]> = run.chunk_by(|a, b| label(a) == label(b)).collect();
    let records = access.records();
    let keys: Vec<_> = items.iter().map(|item| records.item(&label(&item[0]))).collect();
    let found = access.database.latest().get_many(Family::Vectors, &keys)?;
    let mut distances = Vec::with_capacity(run.len());
    let mut rewritten = Vec::new();
    for (candidates, stored) in items.into_iter().zip(found) {
        let item = match &stored {
            Some(stored) => open_current(access, request, candidates, stored, scratch)?,
            None => Item::Gone,
        };
        for n in candidates {
            let (query, _, op) = request.candidates[*n];
            distances.push(match item {
                Item::Open(current) if current == op || request.filter.is_none() => Some(Resolved {
                    op: current,
                    distance: distance(request, query, &scratch.vector)?,
                }),
                Item::Gone => None,
                _ => {
                    rewritten.push(distances.len());
                    None
                }
            });
        }
    }
    if let Some(filter) = &request.filter {
        resolve_rewritten(access, request, filter, run, &rewritten, &mut distances)?;
    }
    Ok(distances)
}

/// Fills in those of `distances` whose items were written anew, where they match as they are now.
fn resolve_rewritten(
    access: &Access,
    request: &ResolveRequest,
    filter: &Filter,
    run: &[usize],
    rewritten: &[usize],
    distances: &mut ResolveReply,
) -> Result<(), ShardError> {
    let label = |at: &usize| request.candidates[run[*at]].1;
    let fields = Fields {
        vector: true,
        meta: true,
        contents: false,
    };
    for some in rewritten.chunks(REWRITTEN_PER_READ) {
        let mut labels: Vec<ItemLabel> = some.iter().map(label).collect();
        labels.dedup();
        // Vector and metadata of one write, which may be a newer one still.
        let items = read_items(
            access,
            &access.database.snapshot(),
            request.precision,
            fields,
            &labels,
        )?;
        let matching = |item: &&Fetched| filter.matches(&item.metadata);
        for at in some {
            let now = labels.binary_search(&label(at)).ok();
            let now = now.and_then(|n| items[n].as_ref()).filter(matching);
            if let Some((item, vector)) = now.and_then(|item| Some((item, item.vector.as_ref()?))) {
                distances[*at] = Some(Resolved {
                    op: item.op,
                    distance: distance(request, request.candidates[run[*at]].0, vector)?,
                });
            }
        }
    }
    Ok(())
}

/// An item whose vector was looked up.
#[derive(Clone, Copy)]
enum Item {
    /// Its vector is in the scratch; this is its current write.
    Open(Op),
    /// None of the candidates is its current write, and a filter has to see it first.
    Rewritten,
    Gone,
}

/// Opens an item's vector into `scratch.vector` if one of `candidates` is its current write, or any write will do.
fn open_current(
    access: &Access,
    request: &ResolveRequest,
    candidates: &[usize],
    stored: &[u8],
    scratch: &mut Scratch,
) -> Result<Item, ShardError> {
    let (current, sealed) = ItemRecord::Vector.split(stored)?;
    let wanted = |n: &&usize| request.filter.is_none() || request.candidates[**n].2 == current;
    let Some(n) = candidates.iter().find(wanted) else {
        return Ok(Item::Rewritten);
    };
    let label = request.candidates[*n].1;
    open_vector(access, request.precision, &label, &current, sealed, scratch)?;
    if scratch.vector.len() != request.dimension.get() {
        return Err(ItemRecord::Vector.damaged());
    }
    Ok(Item::Open(current))
}

fn distance(request: &ResolveRequest, query: u32, vector: &[f32]) -> Result<f64, ShardError> {
    let dimension = request.dimension.get();
    let query = request.queries.chunks_exact(dimension).nth(query as usize);
    let query = query.ok_or(ShardError::BadEntry("query of a candidate"))?;
    Ok(answered(request.metric, query, vector))
}

/// Opens a vector into `scratch.vector`, widened to f32.
pub(super) fn open_vector(
    access: &Access,
    precision: Precision,
    label: &ItemLabel,
    op: &Op,
    sealed: &[u8],
    scratch: &mut Scratch,
) -> Result<(), ShardError> {
    let Scratch { record, vector, .. } = scratch;
    access.open_item(ItemRecord::Vector, label, op, sealed, record)?;
    let whole = match precision {
        Precision::Float32 => {
            let (values, rest) = record.as_chunks();
            vector.clear();
            vector.extend(values.iter().map(|value| f32::from_le_bytes(*value)));
            rest.is_empty()
        }
        Precision::Float16 => {
            decode_f16(record, vector);
            record.len().is_multiple_of(2)
        }
    };
    if whole {
        Ok(())
    } else {
        Err(ItemRecord::Vector.damaged())
    }
}
