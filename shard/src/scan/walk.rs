//! Going through the items of a partition in the order of their labels.

use super::access::Access;
use super::fetch::{Page, read_items};
use crate::partition::Locator;
use crate::storage::{Family, item_of, prefix_end};
use sealdex_core::ItemLabel;
use sealdex_index::dataplane::{ShardError, WalkReply, WalkRequest};

/// The next items: at most `limit`, and no more than fit into `bytes_max`. Those in the inbox are not among them: nobody
/// here can open one.
pub(crate) fn walk(access: &Access, request: &WalkRequest) -> Result<WalkReply, ShardError> {
    access.check_known()?;
    let records = access.records();
    let mut from = records.index().to_vec();
    if let Some(after) = &request.after {
        from = records.item(after).to_vec();
        // The first key behind it.
        from.push(0);
    }
    let view = access.database.snapshot().uncached();
    // One more than is wanted tells whether there are more.
    let limit = request.limit.max(1);
    let mut labels = view
        .range(Family::Locators, &from, prefix_end(&records.index()))
        .filter_map(|record| record.and_then(|(key, value)| placed(&key, &value)).transpose())
        .take(limit.saturating_add(1))
        .collect::<Result<Vec<_>, _>>()?;
    let mut finished = labels.len() <= limit;
    labels.truncate(limit);
    let mut page = Page::new(request.fields, request.bytes_max);
    let mut items = Vec::with_capacity(labels.len());
    while let Some(labels) = page.next(&labels[items.len()..]) {
        for item in read_items(access, &view, request.precision, request.fields, labels)? {
            // A locator without records: read as of one moment, so it is damage.
            let item = item.ok_or(ShardError::Corrupt("item"))?;
            page.add(Some(&item));
            items.push(item);
        }
    }
    finished &= items.len() == labels.len();
    let next = items.last().map(|item| item.label).filter(|_| !finished);
    Ok(WalkReply { items, next })
}

/// The item of a locator, unless it is in the inbox.
fn placed(key: &[u8], locator: &[u8]) -> Result<Option<ItemLabel>, ShardError> {
    let damaged = ShardError::Corrupt("locator");
    let label = item_of(key).ok_or(damaged.clone())?;
    let locator = Locator::decode(locator).ok_or(damaged)?;
    Ok((!locator.in_inbox).then_some(label))
}
