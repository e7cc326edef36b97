//! Who may do what: every route with every kind of caller, revocation, and what outlives what.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::http::Http;
use sealdex_tests::index::{Index, base64_of};
use sealdex_tests::item::Item;
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::sync::Arc;

const ROOT: &str = "the root key of this test";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

fn guarded() -> Home {
    Home::new()
        .with_variable("SEALDEX_ROOT_KEY", ROOT)
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0")
}

fn caller(server: &Server, key: &str) -> Arc<Http> {
    Arc::new(server.http.with_header("x-api-key", key))
}

async fn index(root: &Arc<Http>, name: &str, key: &str) -> Index {
    let index = Index::create(root, name, key, json!({"dimension": 2})).await;
    index
        .upsert(&[Item::bare("a", vec![1.0, 2.0]), Item::bare("b", vec![3.0, 4.0])])
        .await;
    index
}

/// Makes a user and returns id and token.
async fn user(root: &Http, index: &str, key: &str, permissions: &[&str]) -> (String, String) {
    let body = json!({"permissions": permissions, "index_key": key});
    let made = root
        .post(&format!("/v1/indexes/{index}/users"), &body)
        .await
        .unwrap()
        .ok();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    assert_eq!(made.as_object().unwrap().len(), 2);
    (text("user_id"), text("api_key"))
}

/// What a caller is answered on every route, in the order of [`ROUTES`]. Nothing is changed that a later route needs.
async fn answers(http: &Http, name: &str, key: Option<&str>) -> Vec<(&'static str, u16)> {
    let vectors = base64_of([vec![1.0f32, 2.0]].iter());
    let with = |extra: Value| {
        let mut body = json!({"index_name": name, "index_key": key});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    };
    let item = json!([{"id": "c", "vector": [5, 6]}]);
    let users = format!("/v1/indexes/{name}/users");
    let nobody = format!("{users}/{}", "00".repeat(16));
    let (key_path, rotate) = (
        format!("/v1/indexes/{name}/key"),
        format!("/v1/indexes/{name}/rotate"),
    );
    let http = match key {
        Some(key) => http.with_header("x-index-key", key),
        None => http.with_header("x-unused", ""),
    };
    let calls: [(&str, Method, &str, Value); 26] = [
        ("list", Method::GET, "/v1/indexes/list", Value::Null),
        (
            "training-status",
            Method::GET,
            "/v1/indexes/training-status",
            Value::Null,
        ),
        ("describe", Method::POST, "/v1/indexes/describe", with(json!({}))),
        ("train", Method::POST, "/v1/indexes/train", with(json!({}))),
        (
            "upsert",
            Method::POST,
            "/v1/vectors/upsert",
            with(json!({"items": item})),
        ),
        (
            "upsert_binary",
            Method::POST,
            "/v1/vectors/upsert_binary",
            with(json!({"batch": {"ids": ["d"], "vectors_b64": vectors, "dimension": 2}})),
        ),
        (
            "query",
            Method::POST,
            "/v1/vectors/query",
            with(json!({"query_vectors": [1, 2]})),
        ),
        (
            "query_binary",
            Method::POST,
            "/v1/vectors/query_binary",
            with(json!({"batch": {"vectors_b64": vectors, "dimension": 2}})),
        ),
        (
            "get",
            Method::POST,
            "/v1/vectors/get",
            with(json!({"ids": ["a"]})),
        ),
        ("list_ids", Method::POST, "/v1/vectors/list_ids", with(json!({}))),
        (
            "num_vectors",
            Method::POST,
            "/v1/vectors/num_vectors",
            with(json!({})),
        ),
        (
            "delete items",
            Method::POST,
            "/v1/vectors/delete",
            with(json!({"ids": ["c"]})),
        ),
        (
            "make a user",
            Method::POST,
            &users,
            json!({"permissions": ["read"], "index_key": key}),
        ),
        ("list users", Method::GET, &users, Value::Null),
        ("revoke a user", Method::DELETE, &nobody, Value::Null),
        (
            "rotation",
            Method::GET,
            &format!("/v1/indexes/{name}/rotation"),
            Value::Null,
        ),
        // With no new key, so that nothing is exchanged.
        (
            "rotate",
            Method::POST,
            &format!("/v1/indexes/{name}/rotate"),
            json!({"index_key": key}),
        ),
        // A name that is taken, so that nothing is made: who may not is told so before.
        (
            "create",
            Method::POST,
            "/v1/indexes/create",
            json!({"index_name": name, "index_key": KEY}),
        ),
        // With a key that is not the index's, so that nothing is deleted.
        (
            "delete index",
            Method::POST,
            "/v1/indexes/delete",
            json!({"index_name": name, "index_key": OTHER_KEY}),
        ),
        ("key", Method::GET, &key_path, Value::Null),
        // With a key that is not the index's.
        (
            "rotate with a wrong key",
            Method::POST,
            &rotate,
            json!({"index_key": OTHER_KEY, "new_index_key": KEY}),
        ),
        ("cluster status", Method::GET, "/v1/cluster/status", Value::Null),
        ("cluster nodes", Method::GET, "/v1/cluster/nodes", Value::Null),
        (
            "cluster partitions",
            Method::GET,
            "/v1/cluster/partitions",
            Value::Null,
        ),
        // The only node, which cannot go.
        (
            "decommission",
            Method::POST,
            "/v1/cluster/nodes/embedded/decommission",
            Value::Null,
        ),
        (
            "recommission",
            Method::POST,
            "/v1/cluster/nodes/embedded/recommission",
            Value::Null,
        ),
    ];
    let mut statuses = Vec::new();
    for (route, method, path, body) in calls {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let reply = http.send(method, path, body.into()).await.unwrap();
        if reply.status >= 400 {
            assert!(reply.json()["detail"].is_string(), "{route}: {}", reply.text());
        }
        statuses.push((route, reply.status));
    }
    statuses
}

const ROUTES: [&str; 26] = [
    "list",
    "training-status",
    "describe",
    "train",
    "upsert",
    "upsert_binary",
    "query",
    "query_binary",
    "get",
    "list_ids",
    "num_vectors",
    "delete items",
    "make a user",
    "list users",
    "revoke a user",
    "rotation",
    "rotate",
    "create",
    "delete index",
    "key",
    "rotate with a wrong key",
    "cluster status",
    "cluster nodes",
    "cluster partitions",
    "decommission",
    "recommission",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_every_caller_as_the_matrix_says() {
    let home = guarded();
    let server = home.start().await;
    let document = server.http.get("/v1/openapi.json").await.unwrap().json();
    let paths = document["paths"].as_object().unwrap().values();
    let operations: usize = paths.map(|methods| methods.as_object().unwrap().len()).sum();
    // The table has one of them twice, and leaves out health, which asks nobody who they are.
    assert_eq!(operations, ROUTES.len(), "an operation is not in the table");
    let root = caller(&server, ROOT);
    index(&root, "mine", KEY).await;
    index(&root, "other", OTHER_KEY).await;
    let (_, reader) = user(&root, "mine", KEY, &["read"]).await;
    let (_, writer) = user(&root, "mine", KEY, &["write"]).await;
    let (_, both) = user(&root, "mine", KEY, &["read", "write", "read"]).await;
    let (_, foreign) = user(&root, "other", OTHER_KEY, &["read", "write"]).await;
    let (revoked_id, revoked) = user(&root, "mine", KEY, &["read", "write"]).await;
    let used = caller(&server, &revoked);
    assert_eq!(
        Index::new(&used, "mine", KEY).count().await,
        2,
        "in use before it is revoked"
    );
    let revoke = root
        .with_header("x-index-key", KEY)
        .send(
            Method::DELETE,
            &format!("/v1/indexes/mine/users/{revoked_id}"),
            Vec::new().into(),
        )
        .await
        .unwrap();
    assert_eq!((revoke.status, revoke.body.len()), (204, 0));
    let mut tampered = both.clone().into_bytes();
    tampered[20] = if tampered[20] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).unwrap();

    let all_of = |status: u16| ROUTES.map(|_| status).to_vec();
    let data = |describe, upsert, read, delete| {
        vec![
            403, 403, describe, 403, upsert, upsert, read, read, read, read, read, delete, 403, 403, 403,
            403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 403,
        ]
    };
    let mut root_statuses = all_of(200);
    root_statuses[14] = 204;
    root_statuses[16] = 400;
    root_statuses[17] = 409;
    root_statuses[18] = 401;
    root_statuses[20] = 401;
    root_statuses[24] = 409;
    root_statuses[25] = 409;
    for (who, token, key, expected) in [
        ("nobody", None, Some(KEY), all_of(401)),
        ("a stranger", Some("wrong"), Some(KEY), all_of(401)),
        ("a forger", Some(tampered.as_str()), Some(KEY), all_of(401)),
        ("a reader", Some(reader.as_str()), None, data(200, 403, 200, 403)),
        (
            "a reader with a key",
            Some(reader.as_str()),
            Some(OTHER_KEY),
            data(200, 403, 200, 403),
        ),
        ("a writer", Some(writer.as_str()), None, data(200, 200, 403, 200)),
        ("a user", Some(both.as_str()), None, data(200, 200, 200, 200)),
        (
            "a foreign user",
            Some(foreign.as_str()),
            Some(KEY),
            data(403, 403, 403, 403),
        ),
        (
            "a revoked user",
            Some(revoked.as_str()),
            Some(KEY),
            data(403, 403, 403, 403),
        ),
        ("root", Some(ROOT), Some(KEY), root_statuses),
    ] {
        let http = match token {
            Some(token) => server.http.with_header("x-api-key", token),
            None => server.http.with_header("x-unused", ""),
        };
        let answered = answers(&http, "mine", key).await;
        let expected: Vec<(&str, u16)> = ROUTES.into_iter().zip(expected).collect();
        assert_eq!(answered, expected, "{who}");
    }
    for token in [&reader, &foreign] {
        let missing = caller(&server, token)
            .post("/v1/indexes/describe", &json!({"index_name": "none"}))
            .await;
        assert_eq!(
            missing.unwrap().status,
            403,
            "what is not there is like what is not theirs"
        );
    }
    let open = [("/v1/health", 200), ("/v1/openapi.json", 200)];
    for (path, status) in open {
        assert_eq!(server.http.get(path).await.unwrap().status, status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_survive_a_restart_and_end_with_their_index() {
    let home = guarded();
    let server = home.start().await;
    let root = caller(&server, ROOT);
    let mine = index(&root, "mine", KEY).await;
    let (reader_id, reader) = user(&root, "mine", KEY, &["read"]).await;
    let (writer_id, _) = user(&root, "mine", KEY, &["write", "read"]).await;
    server.stop().await;

    let server = home.start().await;
    let root = caller(&server, ROOT);
    let listed = root
        .with_header("x-index-key", KEY)
        .get("/v1/indexes/mine/users")
        .await
        .unwrap()
        .ok();
    let expected = json!({"users": [
        {"user_id": reader_id, "permissions": ["read"]},
        {"user_id": writer_id, "permissions": ["read", "write"]},
    ]});
    assert_eq!(listed, expected);
    let token = caller(&server, &reader);
    let as_user = Index::new(&token, "mine", KEY);
    assert_eq!(as_user.query(&[1.0, 2.0], 1, json!({})).await[0].id, "a");

    let mine = mine.through(&root);
    mine.must("indexes/delete", json!({})).await;
    index(&root, "mine", KEY).await;
    let listed = root
        .with_header("x-index-key", KEY)
        .get("/v1/indexes/mine/users")
        .await
        .unwrap()
        .ok();
    assert_eq!(listed, json!({"users": []}), "no ghosts");
    let refused = token
        .post("/v1/indexes/describe", &json!({"index_name": "mine"}))
        .await
        .unwrap();
    assert_eq!(refused.status, 403);
    server.stop().await;
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(
        !log.contains(&reader) && !log.contains(ROOT),
        "no credential in the log"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_about_users_says_the_cure() {
    let home = guarded();
    let server = home.start().await;
    let root = caller(&server, ROOT);
    index(&root, "mine", KEY).await;
    let path = "/v1/indexes/mine/users";
    for (body, status, said) in [
        (json!({"permissions": ["admin"], "index_key": KEY}), 400, "read"),
        (json!({"permissions": [], "index_key": KEY}), 400, "at least one"),
        (json!({"index_key": KEY}), 422, ""),
        (json!({"permissions": "read", "index_key": KEY}), 422, ""),
        (
            json!({"permissions": ["read"], "index_key": OTHER_KEY}),
            401,
            "key",
        ),
        (json!({"permissions": ["read"]}), 401, "index_key"),
        (json!({"permissions": ["read"], "index_key": "zz"}), 400, "hex"),
        (json!({"permissions": ["read"], "index_key": "00"}), 400, "32"),
    ] {
        let reply = root.post(path, &body).await.unwrap();
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
        assert!(reply.text().contains(said), "{body}: {}", reply.text());
    }
    let with_key = root.with_header("x-index-key", KEY);
    for id in ["zz", "00", &"0".repeat(31), &"g".repeat(32)] {
        let reply = with_key
            .send(Method::DELETE, &format!("{path}/{id}"), Vec::new().into())
            .await
            .unwrap();
        assert_eq!(reply.status, 400, "{id}");
    }
    let unknown = with_key.get("/v1/indexes/none/users").await.unwrap();
    assert_eq!(unknown.status, 404);
    let listed = with_key.get(path).await.unwrap().ok();
    assert_eq!(listed, json!({"users": []}), "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_root_key_has_no_users() {
    for (variable, key) in [("SEALDEX_API_KEY", Some("the one key")), ("SEALDEX_UNUSED", None)] {
        let home = Home::new().with_variable(variable, key.unwrap_or(""));
        let server = home.start().await;
        let http = key.map_or_else(|| server.http.clone(), |key| caller(&server, key));
        index(&http, "mine", KEY).await;
        let body = json!({"permissions": ["read"], "index_key": KEY});
        let reply = http.post("/v1/indexes/mine/users", &body).await.unwrap();
        assert_eq!(reply.status, 403, "{}", reply.text());
        if key.is_some() {
            let list = async |http: &Http| http.get("/v1/indexes/list").await.unwrap().status;
            assert_eq!(list(&server.http).await, 401);
            assert_eq!(list(&caller(&server, "another")).await, 401);
            assert_eq!(list(&http).await, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_api_key_does_everything_but_manage_users() {
    for (variables, key) in [
        (vec![("SEALDEX_API_KEY", "the one key")], "the one key"),
        (
            vec![("CYBORGDB_API_KEY", "a licence"), ("REQUIRE_API_KEY", "true")],
            "a licence",
        ),
    ] {
        let home = variables
            .into_iter()
            .fold(Home::new(), |home, (name, value)| home.with_variable(name, value));
        let home = home.with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "0");
        let server = home.start().await;
        let holder = caller(&server, key);
        index(&holder, "mine", KEY).await;
        let mut expected = [200; ROUTES.len()];
        expected[12..15].fill(403);
        expected[16] = 400;
        expected[17] = 409;
        expected[18] = 401;
        expected[20] = 401;
        // Nobody is left if the only node goes.
        expected[24..].fill(409);
        let expected: Vec<(&str, u16)> = ROUTES.into_iter().zip(expected).collect();
        assert_eq!(answers(&holder, "mine", Some(KEY)).await, expected, "{key}");
        let refused: Vec<(&str, u16)> = ROUTES.into_iter().map(|route| (route, 401)).collect();
        for wrong in ["wrong", "", "cdbk_1_AAAA"] {
            let stranger = caller(&server, wrong);
            assert_eq!(answers(&stranger, "mine", Some(KEY)).await, refused, "{wrong:?}");
        }
        let log = std::fs::read_to_string(home.log()).unwrap();
        assert!(!log.contains(key) && !log.contains("nobody is asked"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_server_warns_and_keys_that_would_do_nothing_are_told() {
    let home = Home::new().with_variable("CYBORGDB_API_KEY", "a licence that nobody is asked for");
    let server = home.start().await;
    assert_eq!(server.http.get("/v1/indexes/list").await.unwrap().status, 200);
    let log = std::fs::read_to_string(home.log()).unwrap();
    let warning = log
        .lines()
        .find(|line| line.contains("nobody is asked for credentials"));
    assert!(warning.is_some_and(|line| line.contains("WARN")), "{log}");
    assert!(!log.contains("a licence"), "{log}");
    server.stop().await;

    for (variables, cure) in [
        (
            [
                ("SEALDEX_ROOT_KEY", "secret one"),
                ("SEALDEX_API_KEY", "secret two"),
            ],
            "remove SEALDEX_API_KEY",
        ),
        (
            [("REQUIRE_API_KEY", "false"), ("SEALDEX_API_KEY", "secret two")],
            "remove one of them",
        ),
        (
            [("REQUIRE_API_KEY", "true"), ("SEALDEX_UNUSED", "")],
            "set SEALDEX_API_KEY",
        ),
    ] {
        let home = variables
            .into_iter()
            .fold(Home::new(), |home, (name, value)| home.with_variable(name, value));
        let refused = home.try_start().await.err().expect("it does not start");
        assert!(
            !refused.status.success() && refused.said.contains(cure) && !refused.said.contains("secret"),
            "{}",
            refused.said
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_slowed_down_and_says_when_to_come_back() {
    let home = Home::new()
        .with_variable("SEALDEX_ROOT_KEY", ROOT)
        .with_variable("SEALDEX_FAILED_ATTEMPTS_MAX", "5");
    let server = home.start().await;
    let guess = caller(&server, "guess");
    for _ in 0..5 {
        assert_eq!(guess.get("/v1/indexes/list").await.unwrap().status, 401);
    }
    let refused = guess.get("/v1/indexes/list").await.unwrap();
    assert_eq!(refused.status, 429);
    let wait: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(server.http.get("/v1/health").await.unwrap().status, 200);
}
