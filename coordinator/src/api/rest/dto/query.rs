//! Queries, as JSON and with vectors as base64.

use super::{SentKey, binary, numbers};
use crate::api::rest::json::{Flag, Int, Object, QueryVectors};
use crate::service::{Include, Query, ServiceError, Vectors};
use sealdex_core::limits;
use sealdex_index::filter::Filter;
use serde::de::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Neighbours asked for when a query does not say.
const TOP_K_DEFAULT: usize = 100;

/// A query with one vector.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct QueryRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
    /// The vector whose neighbours to find.
    #[serde(default)]
    #[schema(value_type = Option<Vec<f32>>)]
    query_vectors: Option<QueryVectors>,
    /// Text to make the vector of, where an index has a model; ignored beside a vector.
    #[serde(default)]
    query_contents: Option<String>,
    /// Neighbours to return; 100 if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 100000)]
    top_k: Option<Int>,
    /// Clusters to look into; chosen by the index if it is left out or 0.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0)]
    n_probes: Option<Int>,
    /// Prefer speed to recall.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    greedy: Option<Flag>,
    /// Candidates to re-rank, as a multiple of `top_k`; chosen by the index if it is left out or 0.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0)]
    rerank_mult: Option<Int>,
    /// Conditions on metadata; `{}` matches every item.
    #[serde(default, deserialize_with = "as_sent")]
    #[schema(value_type = Option<Object>)]
    filters: Option<Option<Map<String, Value>>>,
    /// Of `distance`, `metadata`, `vector` and `contents`, those to return with each id.
    #[serde(default)]
    include: Vec<String>,
}

/// Tells a null from a field that is not there.
fn as_sent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Map<String, Value>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl QueryRequest {
    /// In the service's words.
    pub(crate) fn into_request(self) -> Result<Query, ServiceError> {
        let vectors = match self.query_vectors.filter(|sent| !sent.lengths.is_empty()) {
            Some(sent) => same_length(sent)?,
            None if self.query_contents.is_some() => return Err(no_model()),
            None => return Err(no_vector()),
        };
        let filters = match self.filters {
            Some(None) => {
                return Err(ServiceError::invalid(
                    "filters must be an object; leave it out to match every item.",
                ));
            }
            sent => sent.flatten(),
        };
        let knobs = Knobs {
            top_k: self.top_k,
            n_probes: self.n_probes,
            greedy: self.greedy,
            rerank_mult: self.rerank_mult,
            filters,
            include: self.include,
        };
        knobs.query(vectors)
    }
}

/// A query with its vectors as base64.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct BinaryQueryRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
    /// The vectors whose neighbours to find.
    #[schema(value_type = BinaryQueryBatch)]
    batch: Object<BinaryQueryBatch>,
    /// Neighbours to return for each vector; 100 if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 100000)]
    top_k: Option<Int>,
    /// Clusters to look into; chosen by the index if it is left out or 0.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0)]
    n_probes: Option<Int>,
    /// Prefer speed to recall.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    greedy: Option<Flag>,
    /// Candidates to re-rank, as a multiple of `top_k`; chosen by the index if it is left out or 0.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0)]
    rerank_mult: Option<Int>,
    /// Conditions on metadata; null and `{}` match every item.
    #[serde(default)]
    filters: Option<Map<String, Value>>,
    /// Of `distance`, `metadata`, `vector` and `contents`, those to return with each id.
    #[serde(default)]
    include: Vec<String>,
}

/// Query vectors as bytes.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct BinaryQueryBatch {
    /// Standard base64 of little-endian float32, row-major.
    vectors_b64: String,
    /// Numbers per vector.
    #[schema(value_type = i64, minimum = 1, maximum = 16384)]
    dimension: Int,
}

impl BinaryQueryRequest {
    /// In the service's words.
    pub(crate) fn into_request(self) -> Result<Query, ServiceError> {
        let Object(batch) = self.batch;
        let vectors = binary::decode(&batch.vectors_b64, batch.dimension)?;
        if vectors.is_empty() {
            return Err(no_vector());
        }
        let knobs = Knobs {
            top_k: self.top_k,
            n_probes: self.n_probes,
            greedy: self.greedy,
            rerank_mult: self.rerank_mult,
            filters: self.filters,
            include: self.include,
        };
        knobs.query(vectors)
    }
}

/// What both kinds of query say beside their vectors.
struct Knobs {
    top_k: Option<Int>,
    n_probes: Option<Int>,
    greedy: Option<Flag>,
    rerank_mult: Option<Int>,
    filters: Option<Map<String, Value>>,
    include: Vec<String>,
}

impl Knobs {
    fn query(self, vectors: Vectors) -> Result<Query, ServiceError> {
        let filter = self
            .filters
            .map(Value::Object)
            .map_or(Ok(None), |filters| Filter::parse(&filters));
        let top_k = numbers::at_least("top_k", 1, self.top_k)?.unwrap_or(TOP_K_DEFAULT);
        if top_k > limits::TOP_K_MAX {
            return Err(ServiceError::invalid(format!(
                "top_k must be at most {}.",
                limits::TOP_K_MAX
            )));
        }
        Ok(Query {
            vectors,
            top_k,
            // Beyond these there is nothing more to probe or to re-rank, and products with them stay small.
            n_probes: numbers::zero_is_auto("n_probes", self.n_probes)?.map(|n| n.min(limits::CLUSTERS_MAX)),
            rerank_mult: numbers::zero_is_auto("rerank_mult", self.rerank_mult)?
                .map(|n| n.min(limits::TOP_K_MAX)),
            greedy: self.greedy.is_some_and(|greedy| greedy.0),
            filter: filter.map_err(|error| ServiceError::new(error.code(), format!("filters: {error}.")))?,
            include: include(&self.include),
        })
    }
}

fn include(names: &[String]) -> Include {
    let asked_for = |name: &str| names.iter().any(|field| field == name);
    Include {
        distance: asked_for("distance"),
        metadata: asked_for("metadata"),
        vector: asked_for("vector"),
        contents: asked_for("contents"),
    }
}

fn same_length(sent: QueryVectors) -> Result<Vectors, ServiceError> {
    let length = sent.lengths.first().copied().unwrap_or_default();
    if length == 0 {
        return Err(ServiceError::invalid(format!(
            "query_vectors: the vector at index 0 is empty; send vectors of as many numbers as the index's dimension, 1 to {}.",
            limits::DIMENSION_MAX
        )));
    }
    if let Some(index) = sent.lengths.iter().position(|&other| other != length) {
        return Err(ServiceError::invalid(format!(
            "The query vector at index {index} has {} numbers, but the first has {length}; all must have the same dimension.",
            sent.lengths[index]
        )));
    }
    numbers::vectors(numbers::dimension(Int(length as i64))?, sent.values)
}

fn no_vector() -> ServiceError {
    ServiceError::invalid("The query holds no vector; provide at least one: query_vectors or query_contents.")
}

fn no_model() -> ServiceError {
    ServiceError::invalid("Index was not set up for automatic embedding generation; send query_vectors.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(mut fields: Value) -> Result<Query, ServiceError> {
        fields["index_name"] = "a".into();
        serde_json::from_value::<QueryRequest>(fields)
            .unwrap()
            .into_request()
    }

    fn binary(mut fields: Value) -> Result<Query, ServiceError> {
        fields["index_name"] = "a".into();
        serde_json::from_value::<BinaryQueryRequest>(fields)
            .unwrap()
            .into_request()
    }

    fn refusal(result: Result<Query, ServiceError>) -> String {
        result.err().unwrap().detail().to_owned()
    }

    #[test]
    fn one_vector_or_several() {
        for (sent, rows) in [
            (json!([1, 2]), vec![vec![1.0, 2.0]]),
            (json!([[1, 2]]), vec![vec![1.0, 2.0]]),
            (
                json!([[1, "2"], [3.5, true]]),
                vec![vec![1.0, 2.0], vec![3.5, 1.0]],
            ),
        ] {
            let query = query(json!({"query_vectors": sent, "query_contents": "ignored"})).unwrap();
            assert_eq!(
                query.vectors.rows().map(<[f32]>::to_vec).collect::<Vec<_>>(),
                rows
            );
        }
        for mixed in [
            json!([1, [2]]),
            json!([[1], 2]),
            json!([[1], null]),
            json!([[[1]]]),
            json!({}),
            json!("x"),
        ] {
            let request = json!({"index_name": "a", "query_vectors": mixed});
            assert!(
                serde_json::from_value::<QueryRequest>(request).is_err(),
                "{mixed}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_query() {
        for (fields, text) in [
            (json!({}), "no vector"),
            (json!({"query_vectors": null}), "no vector"),
            (json!({"query_vectors": []}), "no vector"),
            (
                json!({"query_vectors": [[]]}),
                "query_vectors: the vector at index 0 is empty",
            ),
            (
                json!({"query_contents": "text"}),
                "Index was not set up for automatic embedding generation",
            ),
            (
                json!({"query_vectors": [[1, 2], [1]]}),
                "query vector at index 1 has 1 numbers",
            ),
            (json!({"query_vectors": [[1, 2], [1, 1e39]]}), "vector at index 1"),
            (
                json!({"query_vectors": [1], "filters": null}),
                "filters must be an object",
            ),
            (
                json!({"query_vectors": [1], "filters": {"$bogus": 1}}),
                "filters: unknown operator $bogus",
            ),
            (
                json!({"query_vectors": [1], "top_k": 0}),
                "top_k must be at least 1, not 0.",
            ),
            (
                json!({"query_vectors": [1], "top_k": -3}),
                "top_k must be at least 1, not -3.",
            ),
            (
                json!({"query_vectors": [1], "top_k": 1e20}),
                "top_k must be at most 100000.",
            ),
            (
                json!({"query_vectors": [1], "n_probes": -1}),
                "n_probes must be at least 0",
            ),
            (
                json!({"query_vectors": [1], "rerank_mult": -1}),
                "rerank_mult must be at least 0",
            ),
        ] {
            let detail = refusal(query(fields));
            assert!(detail.contains(text), "{detail}");
        }
        assert!(refusal(binary(json!({"batch": {"vectors_b64": "", "dimension": 2}}))).contains("no vector"));
    }

    #[test]
    fn knobs() {
        let plain = query(
            json!({"query_vectors": [1], "top_k": null, "n_probes": 0, "rerank_mult": null, "filters": {}}),
        );
        let plain = plain.unwrap();
        assert_eq!(
            (plain.top_k, plain.n_probes, plain.rerank_mult, plain.greedy),
            (100, None, None, false)
        );
        assert!(plain.filter.is_none());
        assert_eq!(plain.include, Include::default());

        let batch = json!({"vectors_b64": "AACAPwAAAEA=", "dimension": 1});
        let full = binary(
            json!({"batch": batch, "top_k": "3", "n_probes": 1e20, "rerank_mult": 5.0, "greedy": 1,
            "filters": {"kind": "x"}, "include": ["distance", "vector", "bogus"]}),
        );
        let full = full.unwrap();
        assert_eq!(
            (full.top_k, full.n_probes, full.rerank_mult),
            (3, Some(limits::CLUSTERS_MAX), Some(5))
        );
        assert!(full.greedy && full.filter.is_some());
        assert_eq!(
            full.include,
            Include {
                distance: true,
                vector: true,
                ..Include::default()
            }
        );

        let no_filters =
            binary(json!({"batch": {"vectors_b64": "AACAPw==", "dimension": 1}, "filters": null}));
        assert!(no_filters.unwrap().filter.is_none());
    }
}
