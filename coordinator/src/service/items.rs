//! Reading and deleting items by id.

use super::open_items::{AnswerSize, Opening};
use super::session::Session;
use super::{ItemFields, OpenIndex, Service, ServiceError, StoredItem};
use futures_util::future::try_join_all;
use sealdex_core::{ErrorCode, ItemLabel, PartitionId, limits};
use sealdex_index::dataplane::{Fetched, Fields, WalkRequest};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{DeleteItems, Entry, entry};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Items that a walk opens at a time, if they are small.
const WALK_PAGE: usize = 4096;

/// What to do about a get whose answer is too large.
const GET_LESS: &str = "get fewer ids at a time, or leave out vector, metadata or contents";

impl Service {
    /// The items with these ids, in the order asked, repeated as often as asked; ids that are not there are left out.
    pub async fn get(
        &self,
        index: &OpenIndex,
        ids: Vec<String>,
        fields: ItemFields,
    ) -> Result<Vec<StoredItem>, ServiceError> {
        check_count(ids.len())?;
        let session = index.reader("retrieve items")?;
        let labels: Vec<ItemLabel> = ids.iter().map(|id| session.labels.item(id)).collect();
        let wanted = Fields {
            vector: fields.vector,
            meta: fields.metadata,
            contents: fields.contents,
        };
        self.current_record(index)?;
        let mut distinct = labels.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let fetch = || self.fetch_by_label(index, session, &distinct, wanted, GET_LESS);
        // What waits does so at its home, so that nothing else has to be there.
        let homes = self.fanout.homes_of(&distinct);
        let (found, waited) = self.beside_inbox(index, session, &homes, fetch).await?;
        // An id may be asked for often.
        let mut answered = AnswerSize::new(GET_LESS);
        let mut items = Vec::new();
        for (id, label) in ids.into_iter().zip(&labels) {
            if let Some(item) = waited.latest(label, found.get(label)) {
                answered.add(item)?;
                items.push(stored_item(id, item, fields));
            }
        }
        Ok(items)
    }

    /// Deletes items; ids that are not there are no error. Returns how many ids were sent.
    pub async fn delete_items(
        self: &Arc<Self>,
        index: &OpenIndex,
        ids: Vec<String>,
    ) -> Result<usize, ServiceError> {
        check_count(ids.len())?;
        let writer = index.writer("delete items")?;
        self.current_record(index)?;
        let mut by_home: BTreeMap<PartitionId, Vec<_>> = BTreeMap::new();
        for id in &ids {
            let label = writer.labels.item(id);
            let home = self.fanout.placement.of_item(&label);
            by_home
                .entry(home)
                .or_default()
                .push(label.as_bytes().to_vec().into());
        }
        let proposals = by_home.into_iter().map(|(partition, labels)| {
            let command = entry::Command::DeleteItems(DeleteItems { labels });
            let entry = Entry {
                version: ENTRY_VERSION,
                index: index.record.id.0,
                command: Some(command),
            };
            self.fanout.write(writer, partition, entry)
        });
        for applied in try_join_all(proposals).await? {
            // Whoever may not read cannot fold: the next write of somebody who may makes up for it.
            if let Some(session) = &index.reader {
                self.maintenance.note(session, &applied);
            }
        }
        if index.reader.is_some() {
            self.train_if_due_quietly(index).await;
        }
        Ok(ids.len())
    }

    /// All ids, in no particular order.
    pub async fn list_ids(&self, index: &OpenIndex) -> Result<Vec<String>, ServiceError> {
        let session = index.reader("list IDs from index")?;
        self.current_record(index)?;
        let all = self.fanout.all_partitions();
        let walk = || {
            try_join_all(
                all.iter()
                    .map(|partition| self.ids_of(index, session, *partition)),
            )
        };
        let (walked, waited) = self.beside_inbox(index, session, &all, walk).await?;
        let mut ids = walked.concat();
        if !waited.is_empty() {
            // What moved meanwhile may have been met at both places.
            ids.extend(waited.items().map(|item| item.id.clone()));
            ids.sort_unstable();
            ids.dedup();
        }
        Ok(ids)
    }

    /// How many items there are.
    pub async fn num_vectors(&self, index: &OpenIndex) -> Result<u64, ServiceError> {
        index.reader("get size of index")?;
        let count = self.count(index).await?;
        self.notice_inbox(index).await;
        Ok(count)
    }

    pub(crate) async fn count(&self, index: &OpenIndex) -> Result<u64, ServiceError> {
        Ok(self.census(index).await?.items())
    }

    /// Opens items, each asked for once. `cure` is what can be done if they are too large together.
    pub(super) async fn fetch_by_label(
        &self,
        index: &OpenIndex,
        session: &Session,
        labels: &[ItemLabel],
        fields: Fields,
        cure: &'static str,
    ) -> Result<HashMap<ItemLabel, Fetched>, ServiceError> {
        let opening = Opening {
            session,
            precision: index.record.precision,
            fields,
            items: labels.iter().map(|label| (*label, None)).collect(),
            since: None,
        };
        let mut found = HashMap::new();
        let mut opened = AnswerSize::new(cure);
        let take = |item: Fetched| {
            opened.add(&item)?;
            found.insert(item.label, item);
            Ok(())
        };
        self.fanout.open_items(opening, take).await?;
        Ok(found)
    }

    async fn ids_of(
        &self,
        index: &OpenIndex,
        session: &Session,
        partition: PartitionId,
    ) -> Result<Vec<String>, ServiceError> {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .fanout
                .leased(session, partition, |target| {
                    self.fanout.shards.walk(WalkRequest {
                        target,
                        precision: index.record.precision,
                        fields: Fields {
                            meta: true,
                            ..Fields::default()
                        },
                        after,
                        limit: WALK_PAGE,
                        bytes_max: limits::PAGE_BYTES_MAX,
                    })
                })
                .await?;
            ids.extend(page.items.into_iter().map(|item| item.id));
            if page.next.is_none() {
                return Ok(ids);
            }
            after = page.next;
        }
    }
}

fn stored_item(id: String, item: &Fetched, fields: ItemFields) -> StoredItem {
    StoredItem {
        id,
        vector: fields.vector.then(|| item.vector.clone().unwrap_or_default()),
        contents: fields.contents.then(|| text(item.contents.as_deref())),
        metadata: fields.metadata.then(|| item.metadata.clone()),
    }
}

/// Contents came in as text, so they are text.
pub(super) fn text(contents: Option<&[u8]>) -> String {
    String::from_utf8_lossy(contents.unwrap_or_default()).into_owned()
}

fn check_count(ids: usize) -> Result<(), ServiceError> {
    if ids > limits::ITEMS_PER_REQUEST_MAX {
        return Err(ServiceError::new(
            ErrorCode::TooLarge,
            format!(
                "A request may name at most {} ids; send several requests.",
                limits::ITEMS_PER_REQUEST_MAX
            ),
        ));
    }
    Ok(())
}
