//! Upserts, as JSON and with vectors as base64.

use super::{SentKey, binary, numbers};
use crate::api::rest::json::{Int, Object, Vector};
use crate::service::{ServiceError, Upsert};
use sealdex_index::metadata::Metadata;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Items to write.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct UpsertRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
    /// The items. One that exists is replaced as a whole; of several with one id the last is kept.
    #[schema(value_type = Vec<VectorItem>, min_items = 1)]
    items: Vec<Object<VectorItem>>,
}

/// One item.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct VectorItem {
    /// Its id.
    id: String,
    /// Its vector; all of an index have the same dimension.
    #[serde(default)]
    #[schema(value_type = Option<Vec<f32>>)]
    vector: Option<Vector>,
    /// Text that is kept with it, verbatim.
    #[serde(default)]
    contents: Option<String>,
    /// Any JSON object, to filter by.
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

impl UpsertRequest {
    /// In the service's words.
    pub(crate) fn into_request(self) -> Result<Upsert, ServiceError> {
        let mut batch = Batch::default();
        let mut values = Vec::new();
        let mut first_length = None;
        for (index, Object(item)) in self.items.into_iter().enumerate() {
            let Vector(vector) = item
                .vector
                .ok_or_else(|| vector_missing(index, item.contents.is_some()))?;
            let length = *first_length.get_or_insert(vector.len());
            if vector.len() != length {
                return Err(ServiceError::invalid(format!(
                    "The vector of the item at index {index} has {} numbers, but that of the first has {length}; all must have the same dimension.",
                    vector.len()
                )));
            }
            values.extend(vector);
            batch.push(item.id, item.metadata, item.contents)?;
        }
        let dimension = numbers::dimension(Int(first_length.ok_or_else(no_items)? as i64))?;
        Ok(batch.with_vectors(numbers::vectors(dimension, values)?))
    }
}

/// Items to write, their vectors as base64.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct BinaryUpsertRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
    /// The items.
    #[schema(value_type = BinaryVectorBatch)]
    batch: Object<BinaryVectorBatch>,
}

/// Items by columns, all of the same length.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct BinaryVectorBatch {
    /// Their ids.
    #[schema(min_items = 1)]
    ids: Vec<String>,
    /// Their vectors: standard base64 of little-endian float32, row-major.
    vectors_b64: String,
    /// Numbers per vector.
    #[schema(value_type = i64, minimum = 1, maximum = 16384)]
    dimension: Int,
    /// Their metadata.
    #[serde(default)]
    metadata: Option<Vec<Option<Map<String, Value>>>>,
    /// Their contents.
    #[serde(default)]
    contents: Option<Vec<Option<String>>>,
}

impl BinaryUpsertRequest {
    /// In the service's words.
    pub(crate) fn into_request(self) -> Result<Upsert, ServiceError> {
        let Object(sent) = self.batch;
        let vectors = binary::decode(&sent.vectors_b64, sent.dimension)?;
        let items = sent.ids.len();
        check_count("vectors_b64", vectors.len(), items)?;
        if items == 0 {
            return Err(no_items());
        }
        let metadata = sent.metadata.unwrap_or_else(|| vec![None; items]);
        check_count("metadata", metadata.len(), items)?;
        let contents = sent.contents.unwrap_or_else(|| vec![None; items]);
        check_count("contents", contents.len(), items)?;
        let mut batch = Batch::default();
        for ((id, metadata), contents) in sent.ids.into_iter().zip(metadata).zip(contents) {
            batch.push(id, metadata, contents)?;
        }
        Ok(batch.with_vectors(vectors))
    }
}

/// An upsert that still lacks its vectors.
#[derive(Default)]
struct Batch {
    ids: Vec<String>,
    metadata: Vec<Metadata>,
    contents: Vec<Option<String>>,
}

impl Batch {
    fn push(
        &mut self,
        id: String,
        metadata: Option<Map<String, Value>>,
        contents: Option<String>,
    ) -> Result<(), ServiceError> {
        let index = self.ids.len();
        self.metadata.push(
            Metadata::new(metadata.unwrap_or_default()).map_err(|error| {
                ServiceError::new(error.code(), format!("Item at index {index}: {error}."))
            })?,
        );
        self.ids.push(id);
        self.contents.push(contents);
        Ok(())
    }

    fn with_vectors(self, vectors: crate::service::Vectors) -> Upsert {
        Upsert {
            ids: self.ids,
            vectors,
            metadata: self.metadata,
            contents: self.contents,
        }
    }
}

fn no_items() -> ServiceError {
    ServiceError::invalid("The request holds no items; send at least one.")
}

fn vector_missing(index: usize, has_contents: bool) -> ServiceError {
    ServiceError::invalid(if has_contents {
        format!(
            "Index was not set up for automatic embedding generation; send a vector with the item at index {index}."
        )
    } else {
        format!("Item at index {index} is missing both 'vector' and 'contents' fields.")
    })
}

fn check_count(name: &str, found: usize, ids: usize) -> Result<(), ServiceError> {
    if found == ids {
        return Ok(());
    }
    Err(ServiceError::invalid(format!(
        "batch.{name} is for {found} items, but batch.ids names {ids}; send as many of each."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn upsert(items: Value) -> Result<Upsert, ServiceError> {
        let request = json!({"index_name": "a", "items": items});
        serde_json::from_value::<UpsertRequest>(request)
            .unwrap()
            .into_request()
    }

    fn binary(batch: Value) -> Result<Upsert, ServiceError> {
        let request = json!({"index_name": "a", "batch": batch});
        serde_json::from_value::<BinaryUpsertRequest>(request)
            .unwrap()
            .into_request()
    }

    fn refusal(result: Result<Upsert, ServiceError>) -> String {
        result.err().unwrap().detail().to_owned()
    }

    #[test]
    fn both_forms_mean_the_same() {
        let json = upsert(json!([
            {"id": "x", "vector": [1, "2.0"], "metadata": {"k": [1, null]}, "contents": "text"},
            {"id": "", "vector": [3.0, 4], "metadata": null, "contents": null, "ignored": 1},
        ]));
        let base64 = binary(
            json!({"ids": ["x", ""], "vectors_b64": "AACAPwAAAEAAAEBAAACAQA==", "dimension": "2",
            "metadata": [{"k": [1, null]}, null], "contents": ["text", null]}),
        );
        for upsert in [json.unwrap(), base64.unwrap()] {
            assert_eq!(upsert.ids, ["x", ""]);
            assert_eq!(
                upsert.vectors.rows().collect::<Vec<_>>(),
                [[1.0, 2.0], [3.0, 4.0]]
            );
            assert_eq!(
                serde_json::to_value(upsert.metadata[0].as_map()).unwrap(),
                json!({"k": [1, null]})
            );
            assert!(upsert.metadata[1].as_map().is_empty());
            assert_eq!(upsert.contents, [Some("text".to_owned()), None]);
        }
    }

    #[test]
    fn columns_may_be_left_out() {
        let upsert = binary(json!({"ids": ["x"], "vectors_b64": "AACAPw==", "dimension": 1})).unwrap();
        assert_eq!((upsert.metadata.len(), upsert.contents), (1, vec![None]));
    }

    #[test]
    fn refusals_name_the_item() {
        let good = json!({"id": "x", "vector": [1.0, 2.0]});
        for (bad, text) in [
            (json!({"id": "y"}), "Item at index 1 is missing both"),
            (
                json!({"id": "y", "contents": "text"}),
                "automatic embedding generation; send a vector with the item at index 1",
            ),
            (
                json!({"id": "y", "vector": [1.0]}),
                "item at index 1 has 1 numbers",
            ),
            (
                json!({"id": "y", "vector": [1.0, 2.0, 3.0]}),
                "item at index 1 has 3 numbers",
            ),
            (
                json!({"id": "y", "vector": [1.0, 1e39]}),
                "vector at index 1 holds a value that is not a finite float32 (position 1)",
            ),
            (
                json!({"id": "y", "vector": ["nan", 1.0]}),
                "vector at index 1 holds a value that is not a finite float32 (position 0)",
            ),
        ] {
            let detail = refusal(upsert(json!([good, bad])));
            assert!(detail.contains(text), "{detail}");
        }
        assert!(refusal(upsert(json!([]))).contains("no items"));
        assert!(refusal(upsert(json!([{"id": "x", "vector": []}]))).contains("dimension must be between 1"));
        let deep = (0..100).fold(json!({}), |inner, _| json!({"k": inner}));
        assert!(
            refusal(upsert(json!([{"id": "x", "vector": [1], "metadata": deep}])))
                .contains("Item at index 0")
        );
    }

    #[test]
    fn columns_have_one_length() {
        let two = "AACAPwAAAEA=";
        for (batch, text) in [
            (
                json!({"ids": ["a"], "vectors_b64": two, "dimension": 1}),
                "batch.vectors_b64 is for 2 items",
            ),
            (
                json!({"ids": ["a", "b", "c"], "vectors_b64": two, "dimension": 1}),
                "batch.ids names 3",
            ),
            (
                json!({"ids": ["a", "b"], "vectors_b64": two, "dimension": 1, "metadata": [{}]}),
                "batch.metadata is for 1",
            ),
            (
                json!({"ids": ["a", "b"], "vectors_b64": two, "dimension": 1, "contents": []}),
                "batch.contents is for 0",
            ),
            (json!({"ids": [], "vectors_b64": "", "dimension": 1}), "no items"),
        ] {
            let detail = refusal(binary(batch));
            assert!(detail.contains(text), "{detail}");
        }
    }
}
