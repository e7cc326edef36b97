//! Requests about items by their ids.

use super::SentKey;
use crate::service::ItemFields;
use utoipa::ToSchema;

/// Items to return.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct GetRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
    /// The items' ids.
    pub(crate) ids: Vec<String>,
    /// Of `vector`, `contents` and `metadata`, those to return; all if it is left out.
    #[serde(default = "every_field")]
    include: Vec<String>,
}

impl GetRequest {
    /// What to return of each item.
    pub(crate) fn fields(&self) -> ItemFields {
        let asked_for = |name: &str| self.include.iter().any(|field| field == name);
        ItemFields {
            vector: asked_for("vector"),
            contents: asked_for("contents"),
            metadata: asked_for("metadata"),
        }
    }
}

fn every_field() -> Vec<String> {
    ["vector", "contents", "metadata"].map(String::from).into()
}

/// Items to delete.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct DeleteRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
    /// The items' ids; ids of items that do not exist are ignored.
    pub(crate) ids: Vec<String>,
}

/// The index whose ids to list.
#[derive(serde::Deserialize, ToSchema)]
pub(crate) struct ListIDsRequest {
    /// The index's name.
    pub(crate) index_name: String,
    /// The index's key, 64 hexadecimal digits; to be left out for a KMS-backed index.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) index_key: SentKey,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_a_get() {
        let fields = |include: &[&str]| {
            let request = json!({"index_name": "a", "ids": [], "include": include});
            let asked = serde_json::from_value::<GetRequest>(request).unwrap().fields();
            (asked.vector, asked.contents, asked.metadata)
        };
        assert_eq!(fields(&[]), (false, false, false));
        assert_eq!(fields(&["metadata", "bogus", "Vector"]), (false, false, true));
        assert_eq!(fields(&["vector", "contents"]), (true, true, false));
        let all = serde_json::from_value::<GetRequest>(json!({"index_name": "a", "ids": []}))
            .unwrap()
            .fields();
        assert!(all.vector && all.contents && all.metadata);
    }

    #[test]
    fn ids_are_strings() {
        for ids in [json!([1]), json!(null), json!("a")] {
            assert!(serde_json::from_value::<DeleteRequest>(json!({"index_name": "a", "ids": ids})).is_err());
        }
    }
}
