//! Success bodies without items. Their keys, and the order of the keys, are the contract's; no key may be added.

use crate::service::{Description, TrainingStatus, Upserted};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The version of the API that clients expect, which is not the server's.
const API_RELEASE: &str = "0.17.0";

/// The server is up.
#[derive(serde::Serialize)]
pub(crate) struct HealthReply {
    status: &'static str,
    api_version: &'static str,
    version: &'static str,
}

impl HealthReply {
    pub(crate) const HEALTHY: HealthReply = HealthReply {
        status: "healthy",
        api_version: "v1",
        version: API_RELEASE,
    };
}

/// What was asked of an index is done.
#[derive(serde::Serialize, ToSchema)]
#[schema(as = cyborgdb_service__api__schemas__index__SuccessResponseModel)]
pub(crate) struct SuccessReply {
    status: &'static str,
    message: String,
}

impl SuccessReply {
    pub(crate) fn new(message: String) -> Self {
        Self {
            status: "success",
            message,
        }
    }
}

/// Items are written or deleted.
#[derive(serde::Serialize, ToSchema)]
#[schema(as = cyborgdb_service__api__schemas__vectors__SuccessResponseModel)]
pub(crate) struct WriteReply {
    status: &'static str,
    message: String,
    /// True if an upsert set off a training; left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    training_triggered: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    training_message: Option<String>,
}

impl WriteReply {
    pub(crate) fn deleted(items: usize) -> Self {
        Self {
            status: "success",
            message: format!("Deleted {items} vectors"),
            training_triggered: None,
            training_message: None,
        }
    }
}

impl From<Upserted> for WriteReply {
    fn from(upserted: Upserted) -> Self {
        let training = |vectors: u64| format!("Index training has been triggered (vectors: {vectors})");
        Self {
            status: "success",
            message: format!("Upserted {} vectors", upserted.items),
            training_triggered: upserted.training_triggered.map(|_| true),
            training_message: upserted.training_triggered.map(training),
        }
    }
}

/// The names of all indexes, in bytewise order.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct IndexListResponseModel {
    pub(crate) indexes: Vec<String>,
}

/// What is known of an index.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct IndexInfoResponseModel {
    index_name: String,
    is_trained: bool,
    /// 0 before the first upsert, if it was not given when the index was made.
    dimension: usize,
    metric: &'static str,
    /// 1 while the index is not trained.
    n_lists: u32,
}

impl From<Description> for IndexInfoResponseModel {
    fn from(description: Description) -> Self {
        Self {
            index_name: description.name,
            is_trained: description.trained,
            dimension: description.dimension.map_or(0, |dimension| dimension.get()),
            metric: description.metric.as_str(),
            n_lists: description.clusters,
        }
    }
}

/// What is being trained.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct IndexTrainingStatusResponseModel {
    /// Indexes that are being trained or wait for it.
    training_indexes: Vec<String>,
    #[schema(required = true)]
    currently_training: Option<String>,
    queued_indexes: Vec<String>,
    /// Items above which an untrained index is trained by itself.
    retrain_threshold: u64,
    worker_running: bool,
    /// Always 0: workers are threads of the server.
    worker_pid: u32,
    /// Always empty.
    #[schema(value_type = Object)]
    global_training: Map<String, Value>,
}

impl From<TrainingStatus> for IndexTrainingStatusResponseModel {
    fn from(status: TrainingStatus) -> Self {
        Self {
            training_indexes: status.training,
            currently_training: status.current,
            queued_indexes: status.queued,
            retrain_threshold: status.threshold,
            worker_running: status.worker_running,
            worker_pid: 0,
            global_training: Map::new(),
        }
    }
}

/// The ids of all items.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct ListIDsResponse {
    ids: Vec<String>,
    count: usize,
}

impl From<Vec<String>> for ListIDsResponse {
    fn from(ids: Vec<String>) -> Self {
        Self {
            count: ids.len(),
            ids,
        }
    }
}

impl ListIDsResponse {
    /// About how long this is as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.ids.iter().map(|id| id.len() + 3).sum()
    }
}

/// How many items an index has.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct CountReply {
    pub(crate) result: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealdex_core::{Dimension, Metric};

    fn text<T: serde::Serialize>(reply: T) -> String {
        serde_json::to_string(&reply).unwrap()
    }

    #[test]
    fn keys_and_their_order() {
        assert_eq!(
            text(HealthReply::HEALTHY),
            r#"{"status":"healthy","api_version":"v1","version":"0.17.0"}"#
        );
        assert_eq!(
            text(SuccessReply::new("m".into())),
            r#"{"status":"success","message":"m"}"#
        );
        assert_eq!(
            text(WriteReply::deleted(2)),
            r#"{"status":"success","message":"Deleted 2 vectors"}"#
        );
        let upserted = |training_triggered| {
            text(WriteReply::from(Upserted {
                items: 2,
                training_triggered,
            }))
        };
        assert_eq!(
            upserted(None),
            r#"{"status":"success","message":"Upserted 2 vectors"}"#
        );
        assert_eq!(
            upserted(Some(600)),
            r#"{"status":"success","message":"Upserted 2 vectors","training_triggered":true,"training_message":"Index training has been triggered (vectors: 600)"}"#
        );
        let mut description = Description {
            name: "a".into(),
            trained: false,
            dimension: None,
            metric: Metric::Cosine,
            clusters: 1,
        };
        assert_eq!(
            text(IndexInfoResponseModel::from(description.clone())),
            r#"{"index_name":"a","is_trained":false,"dimension":0,"metric":"cosine","n_lists":1}"#
        );
        description.dimension = Dimension::new(4).ok();
        assert!(text(IndexInfoResponseModel::from(description)).contains(r#""dimension":4"#));
        let status = TrainingStatus {
            threshold: 65_536,
            ..TrainingStatus::default()
        };
        assert_eq!(
            text(IndexTrainingStatusResponseModel::from(status)),
            r#"{"training_indexes":[],"currently_training":null,"queued_indexes":[],"retrain_threshold":65536,"worker_running":false,"worker_pid":0,"global_training":{}}"#
        );
        assert_eq!(
            text(ListIDsResponse::from(vec!["".into()])),
            r#"{"ids":[""],"count":1}"#
        );
        assert_eq!(text(CountReply { result: 3 }), r#"{"result":3}"#);
        assert_eq!(
            text(IndexListResponseModel { indexes: vec![] }),
            r#"{"indexes":[]}"#
        );
    }
}
