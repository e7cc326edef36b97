//! Sealing records again: what is sealed under another key epoch is opened and sealed under the present one, byte for byte
//! the same inside. Zone P while it lasts; what comes out is sealed.

use crate::scan::{Access, DAMAGED, ItemRecord, Place};
use crate::storage::{Family, Pinned, block_of, item_of, prefix_end};
use sealdex_core::{BlockId, ClusterLabel, Generation, ItemLabel, Op};
use sealdex_crypto::{BlockAddress, reseal_block};
use sealdex_index::dataplane::{ResealPlace, Resealed, ShardError};
use sealdex_proto::partition as wire;
use sealdex_proto::partition::entry::Command;

/// Items or blocks that one call looks at.
const ITEMS_PER_CALL: usize = 256;
const BLOCKS_PER_CALL: usize = 32;

/// Sealed bytes after which a call stops earlier: they are one entry of the log.
const BYTES_PER_CALL: u64 = 4 << 20;

/// Goes through the next records and returns what is to be proposed. An item or block that somebody replaces meanwhile is
/// sealed under the present epoch by them.
pub(crate) fn reseal(access: &Access, from: ResealPlace) -> Result<(Vec<Command>, Resealed), ShardError> {
    access.check_known()?;
    match from {
        ResealPlace::Items(after) => reseal_items(access, after),
        ResealPlace::Blocks(generation, after) => reseal_blocks(access, generation, after),
    }
}

fn reseal_items(access: &Access, after: Option<ItemLabel>) -> Result<(Vec<Command>, Resealed), ShardError> {
    let records = access.records();
    let from = match &after {
        None => records.index().to_vec(),
        Some(label) => behind(&records.item(label)),
    };
    // All parts of an item as of one moment, so that none belongs to another write than the rest.
    let view = access.database.snapshot().uncached();
    let labels = view
        .range(Family::Locators, &from, prefix_end(&records.index()))
        .take(ITEMS_PER_CALL)
        .map(|record| item_of(&record?.0).ok_or(ShardError::Corrupt("locator")))
        .collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<_> = labels.iter().map(|label| records.item(label)).collect();
    let vectors = view.get_many(Family::Vectors, &keys)?;
    let meta = view.get_many(Family::Meta, &keys)?;
    let contents = view.get_many(Family::Contents, &keys)?;
    let mut items = Vec::new();
    let mut done = Resealed::default();
    for (n, label) in labels.iter().enumerate() {
        let parts = [
            resealed_part(access, ItemRecord::Vector, label, &vectors[n])?,
            resealed_part(access, ItemRecord::Meta, label, &meta[n])?,
            resealed_part(access, ItemRecord::Contents, label, &contents[n])?,
        ];
        done.looked_at += 1;
        done.next = Some(ResealPlace::Items(Some(*label)));
        let op = parts.iter().flatten().map(|(op, _)| *op).next();
        if let Some(op) = op {
            let [vector, meta, contents] = parts.map(|part| part.map(|(_, sealed)| sealed));
            let bytes = [&vector, &meta, &contents].map(|part| part.as_ref().map_or(0, Vec::len) as u64);
            done.bytes += bytes.iter().sum::<u64>();
            items.push(wire::ResealedItem {
                label: label.0.to_vec().into(),
                op: op.0.to_vec().into(),
                vector: vector.map(Into::into),
                meta: meta.map(Into::into),
                contents: contents.map(Into::into),
            });
        }
        if done.bytes >= BYTES_PER_CALL {
            break;
        }
    }
    if done.looked_at < ITEMS_PER_CALL as u64 && done.looked_at == labels.len() as u64 {
        done.next = None;
    }
    let command = Command::ResealItems(wire::ResealItems { items });
    let commands = (done.bytes > 0).then_some(command).into_iter().collect();
    Ok((commands, done))
}

/// The part sealed again, with its write; `None` if it is not there or is sealed as it should be.
fn resealed_part(
    access: &Access,
    kind: ItemRecord,
    label: &ItemLabel,
    stored: &Option<Pinned<'_>>,
) -> Result<Option<(Op, Vec<u8>)>, ShardError> {
    let Some(stored) = stored else { return Ok(None) };
    let (op, sealed) = kind.split(stored)?;
    let resealed = access.reseal_item(kind, label, &op, sealed)?;
    Ok(resealed.map(|sealed| (op, sealed)))
}

fn reseal_blocks(
    access: &Access,
    generation: Generation,
    after: Option<(ClusterLabel, BlockId)>,
) -> Result<(Vec<Command>, Resealed), ShardError> {
    access.directory.check_live(access.target.index, generation)?;
    let records = access.records();
    let all = records.generation(generation);
    let from = match &after {
        None => all.to_vec(),
        Some((cluster, block)) => behind(&records.block(generation, cluster, block)),
    };
    let places = access
        .database
        .latest()
        .uncached()
        .range(Family::Directory, &from, prefix_end(&all))
        .take(BLOCKS_PER_CALL)
        .map(|record| {
            let (_, generation, cluster, block) =
                block_of(&record?.0).ok_or(ShardError::Corrupt("block directory"))?;
            Ok(Place {
                generation,
                cluster,
                block,
            })
        })
        .collect::<Result<Vec<_>, ShardError>>()?;
    let mut commands = Vec::new();
    let mut done = Resealed::default();
    for place in &places {
        let found = access.get_blocks(std::slice::from_ref(place))?;
        if let Some(Some(sealed)) = found.first() {
            let at = BlockAddress {
                label: place.cluster,
                generation: place.generation,
                block: place.block,
            };
            let resealed = reseal_block(&access.keys, &at, sealed).map_err(|_| DAMAGED)?;
            if let Some((rows, sealed)) = resealed {
                done.bytes += sealed.len() as u64;
                commands.push(replaced(*place, rows, sealed));
            }
        }
        done.looked_at += 1;
        done.next = Some(ResealPlace::Blocks(
            generation,
            Some((place.cluster, place.block)),
        ));
        if done.bytes >= BYTES_PER_CALL {
            break;
        }
    }
    if places.len() < BLOCKS_PER_CALL && done.looked_at == places.len() as u64 {
        done.next = None;
    }
    Ok((commands, done))
}

/// The block keeps its id, so that a reader who has listed it finds it whichever way it is sealed. Each is a command of its
/// own: one that was folded meanwhile is refused and keeps no other from being replaced.
fn replaced(place: Place, rows: u32, sealed: Vec<u8>) -> Command {
    let id: bytes::Bytes = place.block.0.to_vec().into();
    Command::ReplaceBlocks(wire::ReplaceBlocks {
        generation: place.generation.0,
        cluster: place.cluster.0.to_vec().into(),
        old_blocks: vec![id.clone()],
        new_blocks: vec![wire::Block {
            id,
            rows,
            sealed: sealed.into(),
        }],
    })
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
