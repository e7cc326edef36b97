//! What is said of a rotation that cannot be: each refusal names its cure.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_cannot_be_says_the_cure() {
    let place = Place::new();
    let (_server, root) = place.start().await;
    Index::create(&root, "movies", KEY, json!({"dimension": 2})).await;
    for (body, status, cure) in [
        (
            json!({"index_key": KEY, "new_index_key": KEY}),
            400,
            "send another one",
        ),
        (
            json!({"index_key": KEY, "new_index_key": KEY.to_uppercase(), "epoch": true}),
            400,
            "or only epoch",
        ),
        (
            json!({"index_key": KEY, "new_index_key": "abcd"}),
            400,
            "new_index_key must be 32 bytes",
        ),
        (
            json!({"index_key": "abcd", "new_index_key": NEW_KEY}),
            400,
            "index_key must be 32 bytes",
        ),
        (
            json!({"index_key": KEY, "new_index_key": "xy"}),
            400,
            "new_index_key: ",
        ),
        (
            json!({"index_key": KEY}),
            400,
            "new_index_key, new_kms_name, or epoch",
        ),
        (
            json!({"index_key": KEY, "epoch": false}),
            400,
            "new_index_key, new_kms_name, or epoch",
        ),
        (
            json!({"index_key": KEY, "new_index_key": NEW_KEY, "new_kms_name": "one"}),
            400,
            "not both",
        ),
        (
            json!({"index_key": NEW_KEY, "new_index_key": NEW_KEY}),
            401,
            "created or last rotated with",
        ),
    ] {
        let (answered, said) = rotate(&root, "movies", body.clone()).await;
        let detail = said["detail"].as_str().unwrap();
        assert!(
            answered == status && detail.contains(cure),
            "{body}: {answered} {said}"
        );
        assert!(!detail.contains(&KEY[..8]), "{said}");
    }
    for (body, field, kind) in [
        (json!({"new_index_key": 5}), "new_index_key", "string_type"),
        (json!({"new_kms_name": 5}), "new_kms_name", "string_type"),
        (json!({"epoch": "perhaps"}), "epoch", "bool_parsing"),
    ] {
        let (answered, said) = rotate(&root, "movies", body).await;
        let told = &said["detail"][0];
        assert_eq!(
            (answered, &told["loc"], &told["type"]),
            (422, &json!(["body", field]), &json!(kind))
        );
    }
    assert_eq!(status(&root, "movies").await["epoch"], 1);
    assert_eq!(Index::new(&root, "movies", KEY).count().await, 0);
}
