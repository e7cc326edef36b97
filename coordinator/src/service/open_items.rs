//! Opening items at their homes, a page at a time, and the limit to what one answer may hold.

use super::ServiceError;
use super::census::Census;
use super::fanout::Fanout;
use super::session::Session;
use futures_util::future::try_join_all;
use sealdex_core::{ErrorCode, ItemLabel, Op, PartitionId, Precision, limits};
use sealdex_index::dataplane::{FetchRequest, Fetched, Fields, ShardError};
use std::collections::BTreeMap;

/// What a number of a vector takes up as JSON, about.
const NUMBER_BYTES: usize = 12;

/// What an item takes up as JSON beside what is in it, about.
const ITEM_BYTES: usize = 48;

/// Some items to open: with an `Op`, only if that write is still the current one.
pub(crate) struct Opening<'a> {
    pub(crate) session: &'a Session,
    pub(crate) precision: Precision,
    pub(crate) fields: Fields,
    pub(crate) items: Vec<(ItemLabel, Option<Op>)>,
    /// As of a request's census, if it took one.
    pub(crate) since: Option<&'a Census>,
}

impl Fanout {
    /// Opens items and hands each to `take`, in no particular order. No more than a page of every partition is in memory
    /// beside what `take` keeps; what it refuses ends the opening.
    pub(crate) async fn open_items(
        &self,
        opening: Opening<'_>,
        mut take: impl FnMut(Fetched) -> Result<(), ServiceError>,
    ) -> Result<(), ServiceError> {
        let mut by_home: BTreeMap<PartitionId, Vec<_>> = BTreeMap::new();
        for item in &opening.items {
            by_home
                .entry(self.placement.of_item(&item.0))
                .or_default()
                .push(*item);
        }
        while !by_home.is_empty() {
            let pages = by_home
                .iter()
                .map(|(partition, items)| self.page(&opening, *partition, items));
            for (partition, page) in try_join_all(pages).await? {
                if let Some(left) = by_home.get_mut(&partition) {
                    left.drain(..page.len().min(left.len()));
                }
                page.into_iter().flatten().try_for_each(&mut take)?;
            }
            by_home.retain(|_, left| !left.is_empty());
        }
        Ok(())
    }

    async fn page(
        &self,
        opening: &Opening<'_>,
        partition: PartitionId,
        items: &[(ItemLabel, Option<Op>)],
    ) -> Result<(PartitionId, Vec<Option<Fetched>>), ShardError> {
        let page = self
            .leased(opening.session, partition, |target| {
                self.shards.fetch(FetchRequest {
                    target,
                    precision: opening.precision,
                    fields: opening.fields,
                    items: items.to_vec(),
                    since: opening.since.map(|census| census.at(partition)),
                    bytes_max: limits::PAGE_BYTES_MAX,
                })
            })
            .await?;
        if page.is_empty() {
            return Err(ShardError::Storage("a page without items".into()));
        }
        Ok((partition, page))
    }
}

/// How large an answer has become.
pub(crate) struct AnswerSize {
    bytes: usize,
    /// What the sender of the request can do if it gets too large.
    cure: &'static str,
}

impl AnswerSize {
    pub(crate) fn new(cure: &'static str) -> Self {
        Self { bytes: 0, cure }
    }

    /// Counts an item in.
    pub(crate) fn add(&mut self, item: &Fetched) -> Result<(), ServiceError> {
        let numbers = item.vector.as_ref().map_or(0, Vec::len);
        self.grow(item.bytes + ITEM_BYTES + numbers * NUMBER_BYTES)
    }

    /// Counts the vectors of so many items in before they are looked for.
    pub(crate) fn check_vectors(&self, items: usize, dimension: usize) -> Result<(), ServiceError> {
        let bytes = items.saturating_mul(dimension).saturating_mul(NUMBER_BYTES);
        Self { ..*self }.grow(bytes)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ServiceError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= limits::ANSWER_BYTES_MAX {
            return Ok(());
        }
        Err(ServiceError::new(
            ErrorCode::TooLarge,
            format!(
                "The answer would be larger than {} MiB; {}.",
                limits::ANSWER_BYTES_MAX >> 20,
                self.cure
            ),
        ))
    }
}
