//! Requests about an index as a whole.

use super::{SentKey, numbers};
use crate::api::rest::json::{Fault, Flag, Int, Real};
use crate::service::{self, CreateIndex, IndexRef, KeyInput, NewKey, ServiceError};
use sealdex_core::{Metric, Precision, limits};
use serde::de::{Deserialize, Deserializer, Error};
use utoipa::ToSchema;

/// A new index. Exactly one of `index_key` and `kms_name` is to be given; an empty `index_key` counts as none.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct CreateIndexRequest {
    /// The index's name, 1 to 255 characters.
    #[schema(min_length = 1, max_length = 255)]
    index_name: String,
    /// The key registry's slot that is to wrap the index's key, for a KMS-backed index.
    #[serde(default)]
    kms_name: Option<String>,
    /// The index's key, 32 bytes as 64 hexadecimal digits. It is not stored: send it with every request.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    index_key: SentKey,
    /// Numbers per vector, at most 16384; fixed by the first upsert if it is left out or 0.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 16384)]
    dimension: Option<Int>,
    /// The name of a model that makes vectors of contents.
    #[serde(default)]
    embedding_model: Option<String>,
    /// `euclidean` (as when it is left out), `squared_euclidean` or `cosine`.
    #[serde(default)]
    metric: Option<String>,
    /// How vectors are stored: `float32` (as when it is left out) or `float16`.
    #[serde(default, deserialize_with = "precision")]
    #[schema(value_type = Option<StoragePrecision>)]
    storage_precision: Option<Precision>,
}

/// How vectors are stored.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "only describes what `precision` reads")]
pub(crate) enum StoragePrecision {
    Float32,
    Float16,
}

impl CreateIndexRequest {
    /// In the service's words.
    pub(crate) fn into_request(self) -> Result<CreateIndex, ServiceError> {
        let key = match self.index_key.into_input() {
            // Two keys are refused before one is looked at: that both were sent is all that counts.
            Err(_) if self.kms_name.is_some() => KeyInput::WrongLength(0),
            input => input?,
        };
        Ok(CreateIndex {
            index: IndexRef {
                name: self.index_name,
                key,
            },
            kms_name: self.kms_name,
            dimension: self
                .dimension
                .filter(|given| given.0 != 0)
                .map(numbers::dimension)
                .transpose()?,
            metric: self.metric.map_or(Ok(Metric::Euclidean), |name| name.parse())?,
            precision: self.storage_precision.unwrap_or(Precision::Float32),
            embedding_model: self.embedding_model.filter(|name| !name.is_empty()),
        })
    }
}

fn precision<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Precision>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    name.map(|name| name.parse())
        .transpose()
        .map_err(|_| D::Error::custom(Fault::NotAPrecision))
}

/// An index and its key.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct IndexOperationRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
}

/// Other keys for an index: `new_index_key`, `new_kms_name` or `epoch`; `epoch` may stand beside one of the other two, which
/// exclude each other.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct RotateRequest {
    /// The index's present key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    index_key: SentKey,
    /// The key that its owner sends from now on, 64 hexadecimal digits.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    new_index_key: SentKey,
    /// The slot of the key registry that wraps a new key.
    #[serde(default)]
    new_kms_name: Option<String>,
    /// Whether to begin a new key epoch as well: fresh keys for everything that is written from now on, and everything that
    /// was written before sealed again under them in the background. Needs no new index key.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    epoch: Option<Flag>,
}

/// What a rotation exchanges.
pub(crate) enum Rotation {
    /// The index key alone.
    Key(NewKey),
    /// The keys below it, and the index key if there is a new one.
    Epoch(Option<NewKey>),
}

impl RotateRequest {
    /// The present key, and what is to be exchanged.
    pub(crate) fn into_parts(self) -> Result<(KeyInput, Rotation), ServiceError> {
        let new = match (
            self.new_index_key.into_input_of("new_index_key")?,
            self.new_kms_name,
        ) {
            (KeyInput::Absent, Some(slot)) => NewKey::Slot(slot),
            (key, None) => NewKey::Owned(key),
            (_, Some(_)) => {
                return Err(ServiceError::invalid(
                    "Send either new_index_key or new_kms_name, not both.",
                ));
            }
        };
        let rotation = match (self.epoch.is_some_and(|epoch| epoch.0), new) {
            (false, new) => Rotation::Key(new),
            (true, NewKey::Owned(KeyInput::Absent)) => Rotation::Epoch(None),
            (true, new) => Rotation::Epoch(Some(new)),
        };
        Ok((self.index_key.into_input()?, rotation))
    }
}

/// A training. What is left out is chosen by the server.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct TrainRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
    /// Clusters to make.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 65536)]
    n_lists: Option<Int>,
    /// Rows per mini-batch.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1)]
    batch_size: Option<Int>,
    /// Rounds at most.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1)]
    max_iters: Option<Int>,
    /// Stop when centroids move less than this, relative to their spread.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0)]
    tolerance: Option<Real>,
    /// Memory for the sample, MiB; 0 as much as the server allows.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0)]
    max_memory: Option<Int>,
}

impl TrainRequest {
    /// In the service's words.
    pub(crate) fn into_request(self) -> Result<service::TrainRequest, ServiceError> {
        let n_lists = numbers::at_least("n_lists", 1, self.n_lists)?;
        if n_lists.is_some_and(|n_lists| n_lists > limits::CLUSTERS_MAX) {
            return Err(ServiceError::invalid(format!(
                "n_lists must be at most {}.",
                limits::CLUSTERS_MAX
            )));
        }
        let tolerance = self.tolerance.map(|tolerance| tolerance.0);
        if tolerance.is_some_and(|tolerance| !tolerance.is_finite() || tolerance < 0.0) {
            return Err(ServiceError::invalid(
                "tolerance must be a finite number and at least 0.",
            ));
        }
        Ok(service::TrainRequest {
            n_lists,
            batch_size: numbers::at_least("batch_size", 1, self.batch_size)?,
            max_iters: numbers::at_least("max_iters", 1, self.max_iters)?,
            tolerance,
            max_memory_mib: numbers::zero_is_auto("max_memory", self.max_memory)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rest::json::{Malformed, parse};
    use serde_json::{Value, json};

    fn create(fields: Value) -> Result<CreateIndex, ServiceError> {
        serde_json::from_value::<CreateIndexRequest>(fields)
            .unwrap()
            .into_request()
    }

    fn train(mut fields: Value) -> Result<service::TrainRequest, ServiceError> {
        fields["index_name"] = "a".into();
        serde_json::from_value::<TrainRequest>(fields)
            .unwrap()
            .into_request()
    }

    #[test]
    fn nulls_and_absent_fields_mean_the_same() {
        let nulls = json!({"index_name": "a", "kms_name": null, "index_key": null, "dimension": null,
            "embedding_model": null, "metric": null, "storage_precision": null});
        for fields in [
            nulls,
            json!({"index_name": "a"}),
            json!({"index_name": "a", "index_key": "", "dimension": 0}),
        ] {
            let request = create(fields).unwrap();
            assert!(matches!(request.index.key, KeyInput::Absent));
            assert_eq!(
                (request.dimension, request.kms_name, request.embedding_model),
                (None, None, None)
            );
            assert_eq!(
                (request.metric, request.precision),
                (Metric::Euclidean, Precision::Float32)
            );
        }
    }

    #[test]
    fn fields_of_a_new_index() {
        let request = create(
            json!({"index_name": "a", "index_key": "Ab".repeat(32), "dimension": "4.0",
            "metric": "cosine", "storage_precision": "float16", "index_config": {"type": "ivf"}}),
        );
        let request = request.unwrap();
        assert!(matches!(request.index.key, KeyInput::Given(_)));
        assert_eq!(request.dimension.map(|d| d.get()), Some(4));
        assert_eq!(
            (request.metric, request.precision),
            (Metric::Cosine, Precision::Float16)
        );
    }

    #[test]
    fn what_a_new_index_cannot_be() {
        for (field, value) in [
            ("index_key", json!("xyz")),
            ("dimension", json!(-1)),
            ("dimension", json!(100_000)),
            ("metric", json!("dot")),
        ] {
            let mut fields = json!({"index_name": "a"});
            fields[field] = value;
            let error = create(fields).err().unwrap();
            assert_eq!(error.code().http_status(), 400, "{field}");
        }
        let precision = br#"{"index_name": "a", "storage_precision": "tq8"}"#;
        assert!(matches!(
            parse::<CreateIndexRequest>(precision),
            Err(Malformed::Mismatch(Fault::NotAPrecision, _))
        ));
    }

    #[test]
    fn two_keys_are_seen_before_a_bad_one() {
        let request = create(json!({"index_name": "a", "index_key": "xyz", "kms_name": "slot"})).unwrap();
        assert!(request.kms_name.is_some() && !matches!(request.index.key, KeyInput::Absent));
    }

    #[test]
    fn training_parameters_are_checked_by_name() {
        assert_eq!(train(json!({})).unwrap(), service::TrainRequest::default());
        let all =
            json!({"n_lists": 8, "batch_size": 100, "max_iters": 5, "tolerance": "1e-6", "max_memory": 0});
        let expected = service::TrainRequest {
            n_lists: Some(8),
            batch_size: Some(100),
            max_iters: Some(5),
            tolerance: Some(1e-6),
            max_memory_mib: None,
        };
        assert_eq!(train(all).unwrap(), expected);
        for (name, value) in [
            ("n_lists", json!(0)),
            ("n_lists", json!(65_537)),
            ("batch_size", json!(0)),
            ("max_iters", json!(-1)),
            ("tolerance", json!(-0.5)),
            ("tolerance", json!("nan")),
            ("max_memory", json!(-1)),
        ] {
            let error = train(json!({name: value})).unwrap_err();
            assert!(error.detail().starts_with(name), "{}", error.detail());
        }
    }
}
