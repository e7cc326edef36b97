//! Items in success bodies: what a query found and what a get returns. Their keys, and the order of the keys, are the
//! contract's; no key may be added.

use crate::service::{Hit, StoredItem};
use sealdex_index::metadata::Metadata;
use serde::ser::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};

/// The neighbours of each query vector, nearest first.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct QueryResponse {
    #[schema(schema_with = results_schema)]
    results: Results,
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Results {
    /// Of the only query vector, whether it was sent as a list of one or by itself.
    Flat(Vec<QueryResultItem>),
    Nested(Vec<Vec<QueryResultItem>>),
}

/// One neighbour. What was not asked for is left out.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct QueryResultItem {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_distance")]
    #[schema(value_type = f32, required = false)]
    distance: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_object")]
    #[schema(value_type = Object, required = false)]
    metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<f32>, required = false)]
    vector: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    contents: Option<String>,
}

impl From<Vec<Vec<Hit>>> for QueryResponse {
    fn from(mut hits: Vec<Vec<Hit>>) -> Self {
        let items = |hits: Vec<Hit>| hits.into_iter().map(QueryResultItem::from).collect();
        let results = match hits.len() {
            1 => Results::Flat(hits.pop().map(items).unwrap_or_default()),
            _ => Results::Nested(hits.into_iter().map(items).collect()),
        };
        Self { results }
    }
}

impl From<Hit> for QueryResultItem {
    fn from(hit: Hit) -> Self {
        Self {
            id: hit.id,
            distance: hit.distance,
            metadata: hit.metadata,
            vector: hit.vector,
            contents: hit.contents,
        }
    }
}

/// Items in the order in which they were asked for, without those that do not exist.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct GetResponseModel {
    results: Vec<GetResultItemModel>,
}

/// One item. What was not asked for is left out.
#[derive(serde::Serialize, ToSchema)]
pub(crate) struct GetResultItemModel {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_object")]
    #[schema(value_type = Object, required = false)]
    metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    contents: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<f32>, required = false)]
    vector: Option<Vec<f32>>,
}

impl From<Vec<StoredItem>> for GetResponseModel {
    fn from(items: Vec<StoredItem>) -> Self {
        let item = |item: StoredItem| GetResultItemModel {
            id: item.id,
            metadata: item.metadata,
            contents: item.contents,
            vector: item.vector,
        };
        Self {
            results: items.into_iter().map(item).collect(),
        }
    }
}

/// What a number takes up as JSON, about.
const NUMBER_BYTES: usize = 12;

/// What an item's metadata takes up as JSON, if it is not measured: most is small.
const METADATA_BYTES: usize = 256;

impl QueryResponse {
    /// About how long this is as JSON.
    pub(crate) fn bytes(&self) -> usize {
        match &self.results {
            Results::Flat(items) => items.iter().map(QueryResultItem::bytes).sum(),
            Results::Nested(lists) => lists.iter().flatten().map(QueryResultItem::bytes).sum(),
        }
    }
}

impl QueryResultItem {
    fn bytes(&self) -> usize {
        let distance = if self.distance.is_some() {
            2 * NUMBER_BYTES
        } else {
            0
        };
        distance + item_bytes(&self.id, &self.metadata, &self.vector, &self.contents)
    }
}

impl GetResponseModel {
    /// About how long this is as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.results
            .iter()
            .map(|item| item_bytes(&item.id, &item.metadata, &item.vector, &item.contents))
            .sum()
    }
}

fn item_bytes(
    id: &str,
    metadata: &Option<Metadata>,
    vector: &Option<Vec<f32>>,
    contents: &Option<String>,
) -> usize {
    id.len()
        + metadata.as_ref().map_or(0, |_| METADATA_BYTES)
        + vector.as_ref().map_or(0, |vector| vector.len() * NUMBER_BYTES)
        + contents.as_ref().map_or(0, String::len)
}

/// As short as float32 allows, and in full where float32 does not hold it.
fn as_distance<S: Serializer>(distance: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match distance {
        Some(distance) if f64::from(*distance as f32) == *distance => {
            (*distance as f32).serialize(serializer)
        }
        distance => distance.serialize(serializer),
    }
}

fn as_object<S: Serializer>(metadata: &Option<Metadata>, serializer: S) -> Result<S::Ok, S::Error> {
    metadata.as_ref().map(Metadata::as_map).serialize(serializer)
}

/// An empty list is of both kinds, so the choice is `anyOf`, not the `oneOf` that would be derived.
fn results_schema() -> RefOr<Schema> {
    let item = || Ref::from_schema_name("QueryResultItem");
    let flat = ArrayBuilder::new().items(item());
    let nested = ArrayBuilder::new().items(ArrayBuilder::new().items(item()));
    RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(flat).item(nested).build()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text<T: Serialize>(reply: T) -> String {
        serde_json::to_string(&reply).unwrap()
    }

    fn hit(id: &str, distance: Option<f32>) -> Hit {
        Hit {
            id: id.into(),
            distance: distance.map(f64::from),
            metadata: None,
            vector: None,
            contents: None,
        }
    }

    #[test]
    fn one_query_is_flat_and_several_are_nested() {
        let reply = |hits: Vec<Vec<Hit>>| text(QueryResponse::from(hits));
        assert_eq!(reply(vec![vec![]]), r#"{"results":[]}"#);
        assert_eq!(reply(vec![vec![hit("a", None)]]), r#"{"results":[{"id":"a"}]}"#);
        assert_eq!(reply(vec![vec![], vec![]]), r#"{"results":[[],[]]}"#);
        assert_eq!(
            reply(vec![vec![hit("a", Some(0.1)), hit("b", Some(1.0))], vec![]]),
            r#"{"results":[[{"id":"a","distance":0.1},{"id":"b","distance":1.0}],[]]}"#
        );
    }

    #[test]
    fn a_distance_beyond_float32_is_a_number_all_the_same() {
        let far = Hit {
            distance: Some(1.6e51),
            ..hit("a", None)
        };
        assert_eq!(
            text(QueryResponse::from(vec![vec![far]])),
            r#"{"results":[{"id":"a","distance":1.6e+51}]}"#
        );
    }

    #[test]
    fn what_was_not_asked_for_is_left_out_and_what_was_is_not() {
        let metadata = Metadata::new(
            json!({"k": 18_446_744_073_709_551_615u64})
                .as_object()
                .unwrap()
                .clone(),
        )
        .ok();
        let full = Hit {
            metadata: metadata.clone(),
            vector: Some(vec![0.1, 1.0]),
            contents: Some(String::new()),
            ..hit("a", Some(3.402_823_5e38))
        };
        assert_eq!(
            text(QueryResponse::from(vec![vec![full]])),
            r#"{"results":[{"id":"a","distance":3.4028235e+38,"metadata":{"k":18446744073709551615},"vector":[0.1,1.0],"contents":""}]}"#
        );
        let item = |vector, contents, metadata| StoredItem {
            id: "a".into(),
            vector,
            contents,
            metadata,
        };
        let bare = item(None, None, None);
        let empty = item(Some(vec![0.0]), Some(String::new()), Some(Metadata::empty()));
        assert_eq!(
            text(GetResponseModel::from(vec![bare, empty])),
            r#"{"results":[{"id":"a"},{"id":"a","metadata":{},"contents":"","vector":[0.0]}]}"#
        );
    }
}
