//! The OpenAPI document. Paths, operation ids and schema names are those that existing clients are generated from.

use super::dto::QueryResultItem;
use super::errors::{ErrorResponseModel, HTTPValidationError, ValidationError};
use super::{cluster, health, indexes, users, vectors};
use std::collections::BTreeMap;
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

/// The document that the server serves, also for tools that have no server to ask.
pub fn openapi() -> Document {
    Api::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sealdex",
        description = "An encrypted, sharded vector database.",
        version = "0.17.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        health::health,
        indexes::list,
        indexes::create,
        indexes::describe,
        indexes::delete,
        indexes::rotate,
        indexes::rotation,
        indexes::key,
        indexes::train,
        indexes::training_status,
        users::create,
        users::list,
        users::delete,
        vectors::upsert,
        vectors::upsert_binary,
        vectors::query,
        vectors::query_binary,
        vectors::get,
        vectors::list_ids,
        vectors::num_vectors,
        vectors::delete,
        cluster::status,
        cluster::nodes,
        cluster::partitions,
        cluster::decommission,
        cluster::recommission,
    ),
    components(schemas(ErrorResponseModel, HTTPValidationError, ValidationError, QueryResultItem)),
    modifiers(&ApiKeyHeader, &BatchQueries)
)]
struct Api;

/// How callers show who they are.
struct ApiKeyHeader;

impl Modify for ApiKeyHeader {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("APIKeyHeader", scheme);
    }
}

/// A query takes one vector or several. To its route that is one type; clients know it as two, so that the second is
/// made from the first here.
struct BatchQueries;

impl Modify for BatchQueries {
    fn modify(&self, document: &mut Document) {
        let Some(components) = &mut document.components else {
            return;
        };
        let Some(RefOr::T(Schema::Object(single))) = components.schemas.get("QueryRequest") else {
            return;
        };
        let mut batch = single.clone();
        batch.description = Some("A query with several vectors.".into());
        batch.properties.shift_remove("query_contents");
        batch.properties.insert("query_vectors".into(), several_vectors());
        batch.required.push("query_vectors".into());
        components
            .schemas
            .insert("BatchQueryRequest".into(), Schema::Object(batch).into());

        let query = document
            .paths
            .paths
            .get_mut("/v1/vectors/query")
            .and_then(|path| path.post.as_mut());
        let body = query.and_then(|operation| operation.request_body.as_mut());
        if let Some(RefOr::T(body)) = body {
            let either = AnyOfBuilder::new()
                .item(Ref::from_schema_name("QueryRequest"))
                .item(Ref::from_schema_name("BatchQueryRequest"));
            let content = ContentBuilder::new()
                .schema(Some(Schema::AnyOf(either.build())))
                .build();
            body.content.insert("application/json".into(), content.into());
        }
    }
}

fn several_vectors() -> RefOr<Schema> {
    let number = ObjectBuilder::new()
        .schema_type(Type::Number)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Float)));
    let vector = ArrayBuilder::new().items(number);
    ArrayBuilder::new()
        .items(vector)
        .description(Some("The vectors whose neighbours to find."))
        .build()
        .into()
}

/// How any operation may fail.
pub(super) struct Failures;

impl IntoResponses for Failures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let response = |(status, description): (u16, &str)| {
            let schema = if status == 422 {
                HTTPValidationError::name()
            } else {
                ErrorResponseModel::name()
            };
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(schema)))
                .build();
            let response = ResponseBuilder::new()
                .description(description)
                .content("application/json", content)
                .build();
            (status.to_string(), response.into())
        };
        FAILURES.into_iter().map(response).collect()
    }
}

const FAILURES: [(u16, &str); 13] = [
    (400, "The request asks for something that cannot be."),
    (401, "The API key or the index's key is missing or wrong."),
    (403, "The API key does not give the right to do this."),
    (404, "There is no such index or node."),
    (408, "The request's body did not arrive in time."),
    (
        409,
        "The index exists already, or index or node is in another state than the request needs.",
    ),
    (413, "A limit is exceeded; the detail names it."),
    (422, "The body is not JSON, or a field has the wrong type."),
    (
        429,
        "Too many wrong credentials, or wrong keys of the index, came from there.",
    ),
    (500, "The server failed; its log has the details."),
    (
        502,
        "The key provider refuses; the detail names the slot and the cure.",
    ),
    (
        503,
        "The server has too much under way; Retry-After says when to send the request again.",
    ),
    (
        507,
        "The disk is almost full, and nothing was written; the detail says how much has to be free.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::rest::json::Place;
    use serde_json::Value;

    /// Path, method, operation id and request schema, as clients of the API's release 0.17 have them.
    const OPERATIONS: [(&str, &str, &str, &str); 26] = [
        ("/v1/health", "get", "health_check_v1_health_get", ""),
        (
            "/v1/cluster/status",
            "get",
            "get_cluster_status_v1_cluster_status_get",
            "",
        ),
        (
            "/v1/cluster/nodes",
            "get",
            "list_cluster_nodes_v1_cluster_nodes_get",
            "",
        ),
        (
            "/v1/cluster/partitions",
            "get",
            "list_cluster_partitions_v1_cluster_partitions_get",
            "",
        ),
        (
            "/v1/cluster/nodes/{name}/decommission",
            "post",
            "decommission_node_v1_cluster_nodes__name__decommission_post",
            "",
        ),
        (
            "/v1/cluster/nodes/{name}/recommission",
            "post",
            "recommission_node_v1_cluster_nodes__name__recommission_post",
            "",
        ),
        ("/v1/indexes/list", "get", "list_indexes_v1_indexes_list_get", ""),
        (
            "/v1/indexes/training-status",
            "get",
            "get_training_status_v1_indexes_training_status_get",
            "",
        ),
        (
            "/v1/indexes/create",
            "post",
            "create_index_v1_indexes_create_post",
            "CreateIndexRequest",
        ),
        (
            "/v1/indexes/describe",
            "post",
            "get_index_info_v1_indexes_describe_post",
            "IndexOperationRequest",
        ),
        (
            "/v1/indexes/delete",
            "post",
            "delete_index_v1_indexes_delete_post",
            "IndexOperationRequest",
        ),
        (
            "/v1/indexes/train",
            "post",
            "train_index_v1_indexes_train_post",
            "TrainRequest",
        ),
        (
            "/v1/vectors/upsert",
            "post",
            "upsert_vectors_v1_vectors_upsert_post",
            "UpsertRequest",
        ),
        (
            "/v1/vectors/upsert_binary",
            "post",
            "upsert_vectors_binary_v1_vectors_upsert_binary_post",
            "BinaryUpsertRequest",
        ),
        (
            "/v1/vectors/query",
            "post",
            "query_vectors_v1_vectors_query_post",
            "QueryRequest",
        ),
        (
            "/v1/vectors/query_binary",
            "post",
            "query_vectors_binary_v1_vectors_query_binary_post",
            "BinaryQueryRequest",
        ),
        (
            "/v1/vectors/get",
            "post",
            "get_vectors_v1_vectors_get_post",
            "GetRequest",
        ),
        (
            "/v1/vectors/list_ids",
            "post",
            "list_ids_v1_vectors_list_ids_post",
            "ListIDsRequest",
        ),
        (
            "/v1/vectors/num_vectors",
            "post",
            "get_index_size_v1_vectors_num_vectors_post",
            "IndexOperationRequest",
        ),
        (
            "/v1/vectors/delete",
            "post",
            "delete_vectors_v1_vectors_delete_post",
            "DeleteRequest",
        ),
        (
            "/v1/indexes/{index_name}/rotate",
            "post",
            "rotate_index_key_v1_indexes__index_name__rotate_post",
            "RotateRequest",
        ),
        (
            "/v1/indexes/{index_name}/rotation",
            "get",
            "get_rotation_v1_indexes__index_name__rotation_get",
            "",
        ),
        (
            "/v1/indexes/{index_name}/key",
            "get",
            "get_index_key_v1_indexes__index_name__key_get",
            "",
        ),
        (
            "/v1/indexes/{index_name}/users",
            "post",
            "create_user_v1_indexes__index_name__users_post",
            "CreateUserRequest",
        ),
        (
            "/v1/indexes/{index_name}/users",
            "get",
            "list_users_v1_indexes__index_name__users_get",
            "",
        ),
        (
            "/v1/indexes/{index_name}/users/{user_id}",
            "delete",
            "delete_user_v1_indexes__index_name__users__user_id__delete",
            "",
        ),
    ];

    fn document() -> Value {
        serde_json::to_value(openapi()).unwrap()
    }

    #[test]
    fn operations_are_the_ones_that_clients_call() {
        let document = document();
        for (path, method, id, schema) in OPERATIONS {
            let operation = &document["paths"][path][method];
            assert_eq!(operation["operationId"], id, "{path}");
            let body = operation["requestBody"]["content"]["application/json"]["schema"].to_string();
            assert_eq!(
                body.contains(&format!("/{schema}\"")),
                !schema.is_empty(),
                "{path}: {body}"
            );
        }
        let of_a_path = |path: &Value| path.as_object().unwrap().len();
        let operations: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(of_a_path)
            .sum();
        assert_eq!(operations, OPERATIONS.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_field_of_a_request_can_be_named_where_it_is_at_fault() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut fields = 0;
        for (name, schema) in schemas {
            // Requests, and the types in them alone.
            let in_a_request = name.ends_with("Request") || REQUEST_PARTS.contains(&name.as_str());
            for field in schema["properties"].as_object().into_iter().flatten() {
                if in_a_request {
                    let place = Place::default().then(field.0).to_string();
                    assert_eq!(place, format!("body.{}", field.0), "{name}");
                    fields += 1;
                }
            }
        }
        assert!(fields > 40, "{fields}");
        assert!(REQUEST_PARTS.iter().all(|part| schemas.contains_key(*part)));
    }

    /// Objects within requests.
    const REQUEST_PARTS: [&str; 3] = ["VectorItem", "BinaryVectorBatch", "BinaryQueryBatch"];

    #[test]
    fn a_batch_of_queries_differs_only_in_its_vectors() {
        let schemas = &document()["components"]["schemas"];
        let (single, batch) = (&schemas["QueryRequest"], &schemas["BatchQueryRequest"]);
        assert_eq!(batch["properties"]["query_vectors"]["items"]["type"], "array");
        assert_eq!(single["properties"]["top_k"], batch["properties"]["top_k"]);
        assert!(batch["properties"].get("query_contents").is_none());
        assert_eq!(single["required"], serde_json::json!(["index_name"]));
        assert_eq!(
            batch["required"],
            serde_json::json!(["index_name", "query_vectors"])
        );
    }
}
