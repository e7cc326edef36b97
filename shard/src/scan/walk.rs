//! Going through the items of a partition in the order of their labels.

use super::access::Access;
use super::fetch::read_items;
use crate::storage::{Family, item_of, prefix_end};
use sealdex_index::dataplane::{Fetched, ShardError, WalkRequest};

/// The next items, at most `limit`.
pub(crate) fn walk(access: &Access, request: &WalkRequest) -> Result<Vec<Fetched>, ShardError> {
    access.check_known()?;
    let records = access.records();
    let mut from = records.index().to_vec();
    if let Some(after) = &request.after {
        from = records.item(after).to_vec();
        // The first key behind it.
        from.push(0);
    }
    let view = access.database.snapshot().uncached();
    let labels = view
        .range(Family::Locators, &from, prefix_end(&records.index()))
        .take(request.limit)
        .map(|record| item_of(&record?.0).ok_or(ShardError::Corrupt("locator")))
        .collect::<Result<Vec<_>, _>>()?;
    let items = read_items(access, &view, request.precision, request.fields, &labels)?;
    // A locator without records: read as of one moment, so it is damage.
    items
        .into_iter()
        .map(|item| item.ok_or(ShardError::Corrupt("item")))
        .collect()
}
