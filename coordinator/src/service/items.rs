//! Reading and deleting items by id.

use super::session::Session;
use super::{ItemFields, OpenIndex, Service, ServiceError, StoredItem};
use futures_util::future::try_join_all;
use sealdex_core::{ErrorCode, ItemLabel, PartitionId, limits};
use sealdex_index::dataplane::{FetchRequest, Fetched, Fields, WalkRequest};
use sealdex_proto::ENTRY_VERSION;
use sealdex_proto::partition::{DeleteItems, Entry, entry};
use std::collections::{BTreeMap, HashMap};

/// Items that a walk opens at a time.
const WALK_PAGE: usize = 4096;

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
        let fetch = || self.fetch_by_label(index, session, &labels, wanted);
        let (found, waited) = self.beside_inbox(index, session, fetch).await?;
        Ok(ids
            .into_iter()
            .zip(&labels)
            .filter_map(|(id, label)| {
                let item = waited.latest(label, found.get(label));
                item.map(|item| stored_item(id, item, fields))
            })
            .collect())
    }

    /// Deletes items; ids that are not there are no error. Returns how many ids were sent.
    pub async fn delete_items(&self, index: &OpenIndex, ids: Vec<String>) -> Result<usize, ServiceError> {
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
        Ok(ids.len())
    }

    /// All ids, in no particular order.
    pub async fn list_ids(&self, index: &OpenIndex) -> Result<Vec<String>, ServiceError> {
        let session = index.reader("list IDs from index")?;
        self.current_record(index)?;
        let walk = || {
            let partitions = self.fanout.placement.partitions();
            try_join_all(partitions.map(|partition| self.ids_of(index, session, partition)))
        };
        let (walked, waited) = self.beside_inbox(index, session, walk).await?;
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
        self.current_record(index)?;
        let counts = self
            .fanout
            .placement
            .partitions()
            .map(|partition| self.fanout.shards.count(partition, index.record.id));
        Ok(try_join_all(counts).await?.into_iter().sum())
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
                    })
                })
                .await?;
            let finished = page.len() < WALK_PAGE;
            after = page.last().map(|item| item.label);
            ids.extend(page.into_iter().map(|item| item.id));
            if finished {
                return Ok(ids);
            }
        }
    }

    async fn fetch_by_label(
        &self,
        index: &OpenIndex,
        session: &Session,
        labels: &[ItemLabel],
        fields: Fields,
    ) -> Result<HashMap<ItemLabel, Fetched>, ServiceError> {
        self.current_record(index)?;
        let mut by_home: BTreeMap<PartitionId, Vec<_>> = BTreeMap::new();
        for label in labels {
            by_home
                .entry(self.fanout.placement.of_item(label))
                .or_default()
                .push((*label, None));
        }
        let fetches = by_home.into_iter().map(|(partition, items)| async move {
            self.fanout
                .leased(session, partition, |target| {
                    let items = items.clone();
                    let precision = index.record.precision;
                    self.fanout.shards.fetch(FetchRequest {
                        target,
                        precision,
                        fields,
                        items,
                    })
                })
                .await
        });
        let found = try_join_all(fetches).await?.into_iter().flatten().flatten();
        Ok(found.map(|item| (item.label, item)).collect())
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
