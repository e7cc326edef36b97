//! Wrong keys of an index are counted for the index and the address they come from: whoever guesses is slowed down, on every route
//! that takes a key, and nobody else is.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::http::{Http, Reply};
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::Home;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const ROOT: &str = "the root key of this test";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const WRONG: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee00";
const NEW_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Asks with a key.
async fn ask(http: &Http, index: &str, key: &str) -> Reply {
    let body = json!({"index_name": index, "index_key": key});
    http.post("/v1/vectors/num_vectors", &body).await.unwrap()
}

#[track_caller]
fn refused_for_now(reply: &Reply) {
    assert_eq!(reply.status, 429, "{}", reply.text());
    let wait: u32 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("'mine'") && detail.contains(&format!("{wait} seconds")),
        "{detail}"
    );
    assert!(!detail.contains(&KEY[..8]), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_a_key_of_an_index_is_slowed_down_and_its_owner_is_not() {
    let home = Home::new()
        .with_variable("SEALDEX_ROOT_KEY", ROOT)
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "1");
    let server = home.start().await;
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    for name in ["mine", "other"] {
        let index = Index::create(&root, name, KEY, json!({"dimension": 2})).await;
        index.upsert(&[Item::bare("a", vec![1.0, 2.0])]).await;
    }
    let stranger = root.coming_from(ELSEWHERE);
    assert_eq!(ask(&stranger, "mine", WRONG).await.status, 401);
    refused_for_now(&ask(&stranger, "mine", WRONG).await);
    refused_for_now(&ask(&stranger, "mine", KEY).await);

    // On every route that takes a key.
    let users = "/v1/indexes/mine/users";
    for (path, body) in [
        (
            "/v1/indexes/describe",
            json!({"index_name": "mine", "index_key": KEY}),
        ),
        (
            "/v1/indexes/delete",
            json!({"index_name": "mine", "index_key": KEY}),
        ),
        (
            "/v1/indexes/mine/rotate",
            json!({"index_key": KEY, "new_index_key": WRONG}),
        ),
        (users, json!({"permissions": ["read"], "index_key": KEY})),
    ] {
        refused_for_now(&stranger.post(path, &body).await.unwrap());
    }
    let listing = stranger.with_header("x-index-key", KEY).get(users).await.unwrap();
    refused_for_now(&listing);
    let nobody = format!("{users}/{}", "00".repeat(16));
    let revoking = stranger.with_header("x-index-key", KEY);
    refused_for_now(
        &revoking
            .send(Method::DELETE, &nobody, Vec::new().into())
            .await
            .unwrap(),
    );

    // Nobody else is, and the stranger neither with another index, with a user's token, or where no key is taken.
    assert_eq!(
        ask(&root, "mine", KEY).await.ok(),
        json!({"result": 1}),
        "the owner, from elsewhere"
    );
    assert_eq!(ask(&stranger, "other", KEY).await.status, 200);
    assert_eq!(ask(&stranger, "other", WRONG).await.status, 401);
    let body = json!({"permissions": ["read"], "index_key": KEY});
    let user = root.post(users, &body).await.unwrap().ok();
    let user = server
        .http
        .coming_from(ELSEWHERE)
        .with_header("x-api-key", user["api_key"].as_str().unwrap());
    assert_eq!(
        ask(&user, "mine", WRONG).await.status,
        200,
        "a user's key is not looked at"
    );
    assert_eq!(stranger.get("/v1/indexes/list").await.unwrap().status, 200);

    // Whoever works from the same address as somebody who guesses goes on working.
    assert_eq!(ask(&root, "mine", WRONG).await.status, 401);
    refused_for_now(&ask(&root, "mine", WRONG).await);
    for _ in 0..3 {
        assert_eq!(ask(&root, "mine", KEY).await.status, 200);
    }

    // Whoever exchanges the key from there knows the new one, and the old one is a guess like any other.
    let body = json!({"index_key": KEY, "new_index_key": NEW_KEY});
    let rotated = root.post("/v1/indexes/mine/rotate", &body).await.unwrap();
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    refused_for_now(&ask(&root, "mine", KEY).await);
    assert_eq!(ask(&root, "mine", NEW_KEY).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_works_from_an_address_does_not_make_guesses_from_there_heard() {
    let home = Home::new()
        .with_variable("SEALDEX_ROOT_KEY", ROOT)
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "2");
    let server = home.start().await;
    let root = Arc::new(server.http.with_header("x-api-key", ROOT));
    Index::create(&root, "mine", KEY, json!({"dimension": 2})).await;
    let body = json!({"permissions": ["read"], "index_key": KEY});
    let made = root.post("/v1/indexes/mine/users", &body).await.unwrap().ok();
    let shown = |credential: &str| {
        server
            .http
            .coming_from(ELSEWHERE)
            .with_header("x-api-key", credential)
    };
    let user = shown(made["api_key"].as_str().unwrap());
    assert_eq!(ask(&user, "mine", KEY).await.status, 200);
    for guess in ["guess", "another"] {
        assert_eq!(shown(guess).get("/v1/indexes/list").await.unwrap().status, 401);
    }
    for credential in ["a third", ROOT] {
        let reply = shown(credential).get("/v1/indexes/list").await.unwrap();
        assert_eq!(reply.status, 429, "{credential}: {}", reply.text());
    }
    assert_eq!(ask(&user, "mine", KEY).await.status, 200);
    assert_eq!(root.get("/v1/indexes/list").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_all_keys_are_looked_at() {
    let home = Home::new().with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0");
    let server = home.start().await;
    Index::create(&server.http, "mine", KEY, json!({"dimension": 2})).await;
    for _ in 0..100 {
        assert_eq!(ask(&server.http, "mine", WRONG).await.status, 401);
    }
}
