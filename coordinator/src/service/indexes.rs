//! Making, finding, describing and deleting indexes.

use super::custodian::{Opened, Outdated, not_a_user};
use super::index_keys::wrong_length;
use super::requests::KeyInput;
use super::{CreateIndex, Description, IndexRef, OpenIndex, Service, ServiceError};
use crate::auth::Caller;
use crate::domain::{Command, GenerationRecord, IndexRecord};
use sealdex_core::{ErrorCode, Generation, IndexId, limits};
use sealdex_crypto::{IndexKey, random_u64};
use sealdex_telemetry::{Stage, stage};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The generation an index starts with: untrained, one pseudo-cluster per partition.
pub(super) const FIRST_GENERATION: Generation = Generation(1);

impl Service {
    /// Makes an index. Its rows' places are made before it is announced, so that a crash between leaves nothing that
    /// anybody can see.
    pub async fn create_index(&self, caller: &Caller, request: CreateIndex) -> Result<(), ServiceError> {
        caller.require_admin()?;
        let owned = owned_key(&request)?;
        check_name(&request.index.name)?;
        self.catalog.catch_up().await?;
        if self.catalog.get(&request.index.name).is_some() {
            return Err(name_taken(&request.index.name));
        }
        if let Some(model) = &request.embedding_model {
            return Err(no_such_model(model));
        }
        let id = IndexId(random_u64());
        let key = self
            .key_of_new_index(id, owned, request.kms_name.as_deref())
            .await?;
        let record = IndexRecord {
            name: request.index.name.clone(),
            id,
            metric: request.metric,
            precision: request.precision,
            dimension: request.dimension,
            created_unix_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |t| t.as_secs()),
            key,
            users: Vec::new(),
            without_inbox: true,
            active: GenerationRecord {
                generation: FIRST_GENERATION,
                trained: false,
                clusters: u32::from(self.settings.partitions),
                model: None,
                former: Vec::new(),
            },
            building: None,
            retiring: Vec::new(),
            next_generation: Generation(FIRST_GENERATION.0 + 1),
        };
        let begun = self.begin_generation(&record, FIRST_GENERATION).await;
        let made = match begun {
            Ok(()) => self
                .catalog
                .change(Command::Create(Box::new(record)))
                .await
                .map_err(ServiceError::from),
            Err(error) => Err(error),
        };
        match (&made, owned) {
            (Err(_), _) => self.drop_rows(id).await?,
            (Ok(_), Some(key)) => self.set_by(caller, id, key),
            (Ok(_), None) => {}
        }
        made.map(drop)
    }

    /// The names of all indexes, in bytewise order.
    pub async fn list_indexes(&self, caller: &Caller) -> Result<Vec<String>, ServiceError> {
        caller.require_admin()?;
        self.catalog.catch_up().await?;
        Ok(self
            .catalog
            .all()
            .iter()
            .map(|record| record.name.clone())
            .collect())
    }

    /// Opens an index: with its key, or with what it grants to the user who calls. What comes back proves what the
    /// caller may do.
    pub async fn open_index(
        self: &Arc<Self>,
        caller: &Caller,
        index: IndexRef,
    ) -> Result<OpenIndex, ServiceError> {
        stage(Stage::OpenIndex, self.open_for(caller, index)).await
    }

    async fn open_for(self: &Arc<Self>, caller: &Caller, index: IndexRef) -> Result<OpenIndex, ServiceError> {
        self.catalog.catch_up().await?;
        let record = self.catalog.get(&index.name);
        if let Some(token) = caller.token() {
            // To a user, an index that is not there is like one that is not theirs; a key they send is not looked at.
            let record = record.ok_or_else(not_a_user)?;
            let opened = self.open_latest(record, not_a_user, |record| {
                self.custodian.open_as_user(record, token)
            })?;
            // After that: a stranger's request must not reach the KMS, nor learn how it answers.
            self.check_key_is_live(&opened.record).await?;
            return Ok(opened);
        }
        let missing = || no_such_index(&index.name);
        let record = record.ok_or_else(missing)?;
        let key = self.callers_key(caller, &record, index.key).await?;
        self.open_latest(record, missing, |record| self.custodian.open(record, &key))
    }

    /// Opens an index whose key a KMS keeps, on nobody's behalf.
    pub(super) async fn open_with_kms(&self, record: Arc<IndexRecord>) -> Result<OpenIndex, ServiceError> {
        let key = self.index_key(&record, KeyInput::Absent).await?;
        let missing = || no_such_index(&record.name);
        self.open_latest(record.clone(), missing, |record| {
            self.custodian.open(record, &key)
        })
    }

    /// Opens an index, once more if it has gone on between its key epochs since the record was read.
    fn open_latest(
        &self,
        mut record: Arc<IndexRecord>,
        missing: impl Fn() -> ServiceError,
        open: impl Fn(&IndexRecord) -> Result<Result<Opened, Outdated>, ServiceError>,
    ) -> Result<OpenIndex, ServiceError> {
        loop {
            if let Ok((reader, writer)) = open(&record)? {
                return Ok(OpenIndex {
                    record,
                    reader,
                    writer,
                });
            }
            record = self.catalog.get(&record.name).ok_or_else(&missing)?;
        }
    }

    /// The record of the index of that name, as of now.
    pub(crate) async fn named(&self, name: &str) -> Result<Arc<IndexRecord>, ServiceError> {
        self.catalog.catch_up().await?;
        self.catalog.get(name).ok_or_else(|| no_such_index(name))
    }

    /// What is known of an index without looking at its items.
    pub async fn describe(&self, index: &OpenIndex) -> Result<Description, ServiceError> {
        let record = self.current_record(index)?;
        let trained = record.active.trained;
        Ok(Description {
            name: record.name.clone(),
            trained,
            dimension: record.dimension,
            metric: record.metric,
            clusters: if trained { record.active.clusters } else { 1 },
        })
    }

    /// Deletes an index: first its keys and its users' grants, which makes its rows unreadable, then its rows. A
    /// KMS-backed index can be deleted after its key is gone.
    pub async fn delete_index(
        self: &Arc<Self>,
        caller: &Caller,
        index: IndexRef,
    ) -> Result<(), ServiceError> {
        caller.require_admin()?;
        let record = self.named(&index.name).await?;
        self.check_owner(caller, &record, index.key).await?;
        let (name, id) = (record.name.clone(), record.id);
        self.catalog.change(Command::Delete { name, id }).await?;
        self.rotations.forget(id);
        self.custodian.forget(id);
        self.opened_keys.forget(id);
        self.drop_rows(id).await
    }

    /// The index's record as it is now; an error if the index was deleted since it was opened.
    pub(crate) fn current_record(&self, index: &OpenIndex) -> Result<Arc<IndexRecord>, ServiceError> {
        self.catalog
            .get(&index.record.name)
            .filter(|record| record.id == index.record.id)
            .ok_or_else(|| no_such_index(&index.record.name))
    }
}

/// The key that came with a new index; none where a slot of the registry is to make one.
fn owned_key(request: &CreateIndex) -> Result<Option<&IndexKey>, ServiceError> {
    match (&request.kms_name, &request.index.key) {
        (Some(slot), KeyInput::Given(_) | KeyInput::WrongLength(_)) => Err(ServiceError::invalid(format!(
            "index_key must not be supplied alongside kms_name='{slot}': a KMS-backed index gets its key from the KMS."
        ))),
        (Some(_), KeyInput::Absent) => Ok(None),
        (None, KeyInput::Absent) => Err(ServiceError::invalid(
            "Exactly one of kms_name or index_key must be supplied.",
        )),
        (None, KeyInput::WrongLength(bytes)) => Err(wrong_length("index_key", *bytes)),
        (None, KeyInput::Given(key)) => Ok(Some(key)),
    }
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    match name.chars().count() {
        0 => Err(ServiceError::invalid("index_name cannot be empty.")),
        n if n > limits::INDEX_NAME_CHARS_MAX => Err(ServiceError::invalid(format!(
            "index_name cannot be longer than {} characters.",
            limits::INDEX_NAME_CHARS_MAX
        ))),
        _ if name == "default" => Err(ServiceError::invalid(
            "The name 'default' is reserved; choose another index_name.",
        )),
        _ => Ok(()),
    }
}

fn name_taken(name: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::Conflict,
        format!("Index '{name}' exists already; choose another name or delete it first."),
    )
}

fn no_such_index(name: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::NotFound,
        format!("Index '{name}' does not exist; create it first."),
    )
}

fn no_such_model(model: &str) -> ServiceError {
    ServiceError::invalid(format!(
        "This server has no embedding model '{model}'; create the index without embedding_model and send vectors."
    ))
}
