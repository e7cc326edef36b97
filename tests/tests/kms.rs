//! Indexes whose key a slot of the key registry wraps: made, used, rotated, pulled and deleted, with key files as the
//! provider. What AWS answers is tried in the coordinator's own tests.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = "the root key of this test";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEW_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// A place with a registry of these slots, each with a key file of its own.
struct Registered {
    home: Home,
    folder: tempfile::TempDir,
}

impl Registered {
    fn new(slots: &[&str], cache_seconds: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (n, slot) in slots.iter().enumerate() {
            let file = folder.path().join(format!("{slot}.key"));
            fs::write(&file, [n as u8 + 1; 32]).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let home = Home::new()
            .with_variable("SEALDEX_ROOT_KEY", ROOT)
            .with_variable("SEALDEX_KEY_CACHE_SECONDS", &cache_seconds.to_string())
            .with_variable("SEALDEX_CONFIG_FILE", &text(&folder.path().join("sealdex.yaml")));
        let registered = Self { home, folder };
        registered.write(slots);
        registered
    }

    /// Writes a registry of these slots only.
    fn write(&self, slots: &[&str]) {
        let mut yaml = "kms:\n  registry:\n".to_owned();
        if slots.is_empty() {
            yaml = "kms:\n  registry: {}\n".to_owned();
        }
        for slot in slots {
            let file = text(&self.folder.path().join(format!("{slot}.key")));
            yaml += &format!("    {slot}:\n      provider: local\n      key_file: {file}\n");
        }
        fs::write(self.folder.path().join("sealdex.yaml"), yaml).unwrap();
    }

    async fn start(&self) -> (Server, Arc<Http>) {
        let server = self.home.start().await;
        let root = Arc::new(server.http.with_header("x-api-key", ROOT));
        (server, root)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap()
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

async fn post(http: &Http, route: &str, body: Value) -> (u16, Value) {
    let reply = http.post(&format!("/v1/{route}"), &body).await.unwrap();
    (reply.status, reply.json())
}

async fn hangup(server: &Server, registered: &Registered, said: &str) {
    let before = registered.log().matches(said).count();
    let kill = std::process::Command::new("kill")
        .args(["-HUP", &server.pid().to_string()])
        .status();
    assert!(kill.unwrap().success());
    for _ in 0..200 {
        if registered.log().matches(said).count() > before {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the log does not say {said:?}: {}", registered.log());
}

async fn made(root: &Http, name: &str, slot: &str) {
    let made = post(
        root,
        "indexes/create",
        json!({"index_name": name, "kms_name": slot, "dimension": 2}),
    )
    .await;
    assert_eq!(made.0, 200, "{made:?}");
    let items = json!([{"id": "a", "vector": [1, 2]}, {"id": "b", "vector": [3, 4]}]);
    let upserted = post(
        root,
        "vectors/upsert",
        json!({"index_name": name, "items": items}),
    )
    .await;
    assert_eq!(upserted.0, 200, "{upserted:?}");
}

async fn query(http: &Http, body: Value) -> (u16, Value) {
    let mut body = body;
    body["query_vectors"] = json!([1, 2]);
    body["top_k"] = json!(1);
    post(http, "vectors/query", body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_a_slot_needs_no_key_and_takes_none() {
    let registered = Registered::new(&["one", "two"], 60);
    let (server, root) = registered.start().await;
    made(&root, "movies", "one").await;
    let found = (200, json!({"results": [{"id": "a"}]}));
    assert_eq!(query(&root, json!({"index_name": "movies"})).await, found);
    for route in [
        "indexes/describe",
        "vectors/num_vectors",
        "vectors/list_ids",
        "indexes/train",
    ] {
        assert_eq!(
            post(&root, route, json!({"index_name": "movies"})).await.0,
            200,
            "{route}"
        );
    }
    for route in [
        "indexes/describe",
        "vectors/query",
        "indexes/delete",
        "indexes/train",
    ] {
        let body = json!({"index_name": "movies", "index_key": KEY, "query_vectors": [1, 2]});
        let (status, said) = post(&root, route, body).await;
        assert_eq!(status, 400, "{route}");
        assert!(said["detail"].as_str().unwrap().contains("KMS-backed"), "{said}");
    }
    let users = json!({"permissions": ["read"], "index_key": KEY});
    assert_eq!(post(&root, "indexes/movies/users", users).await.0, 400);
    assert_eq!(
        query(&root, json!({"index_name": "movies"})).await,
        found,
        "a stray key disturbs nobody"
    );

    for (body, status, said) in [
        (json!({"index_name": "x", "kms_name": "three"}), 400, "three"),
        (
            json!({"index_name": "x", "kms_name": "one", "index_key": KEY}),
            400,
            "alongside",
        ),
        (json!({"index_name": "x"}), 400, "exactly one"),
        (json!({"index_name": "movies", "kms_name": "two"}), 409, "exists"),
    ] {
        let (answered, reply) = post(&root, "indexes/create", body.clone()).await;
        assert_eq!(answered, status, "{body} {reply}");
        assert!(
            reply["detail"].as_str().unwrap().to_lowercase().contains(said),
            "{reply}"
        );
    }
    server.kill();
    let (server, root) = registered.start().await;
    assert_eq!(
        query(&root, json!({"index_name": "movies"})).await,
        found,
        "after a crash"
    );
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_an_index_of_a_slot_work_until_its_key_is_pulled() {
    let registered = Registered::new(&["one"], 0);
    let (server, root) = registered.start().await;
    made(&root, "movies", "one").await;
    let user = post(
        &root,
        "indexes/movies/users",
        json!({"permissions": ["read", "write"]}),
    )
    .await
    .1;
    let token = server
        .http
        .with_header("x-api-key", user["api_key"].as_str().unwrap());
    let upsert = json!({"index_name": "movies", "items": [{"id": "c", "vector": [9, 9]}]});
    assert_eq!(post(&token, "vectors/upsert", upsert).await.0, 200);
    assert_eq!(query(&token, json!({"index_name": "movies"})).await.0, 200);
    let with_key = json!({"index_name": "movies", "index_key": KEY});
    let (status, said) = query(&token, with_key).await;
    assert_eq!(status, 200, "of a user's key nobody takes note: {said}");
    let leaver = post(&root, "indexes/movies/users", json!({"permissions": ["read"]}))
        .await
        .1;
    let leavers = server
        .http
        .with_header("x-api-key", leaver["api_key"].as_str().unwrap());
    assert_eq!(query(&leavers, json!({"index_name": "movies"})).await.0, 200);

    made(&root, "other", "one").await;
    let foreign = post(&root, "indexes/other/users", json!({"permissions": ["read"]})).await;
    let foreign = server
        .http
        .with_header("x-api-key", foreign.1["api_key"].as_str().unwrap());

    let key = registered.folder.path().join("one.key");
    fs::rename(&key, key.with_extension("gone")).unwrap();
    for http in [&*root, &token] {
        let (status, said) = query(http, json!({"index_name": "movies"})).await;
        assert_eq!(status, 502, "{said}");
        assert!(
            said["detail"].as_str().unwrap().contains("'one'"),
            "names the slot: {said}"
        );
    }
    let (status, said) = query(&foreign, json!({"index_name": "movies"})).await;
    assert_eq!(
        status, 403,
        "a stranger does not learn that the key is gone: {said}"
    );
    let path = format!("/v1/indexes/movies/users/{}", leaver["user_id"].as_str().unwrap());
    let revoked = root.send(Method::DELETE, &path, Vec::new().into()).await;
    assert_eq!(
        revoked.unwrap().status,
        204,
        "nobody waits for a KMS to shut somebody out"
    );
    fs::write(&key, [9; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        query(&root, json!({"index_name": "movies"})).await.0,
        502,
        "another key is not the key"
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (status, said) = query(&root, json!({"index_name": "movies"})).await;
    assert!(
        status == 502 && said["detail"].as_str().unwrap().contains("chmod 600"),
        "{said}"
    );
    fs::rename(key.with_extension("gone"), &key).unwrap();
    assert_eq!(
        query(&token, json!({"index_name": "movies"})).await.0,
        200,
        "it came back"
    );
    assert_eq!(query(&leavers, json!({"index_name": "movies"})).await.0, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_is_read_again_on_a_hangup_and_a_bad_one_is_not_put_in_force() {
    let registered = Registered::new(&["one", "two"], 0);
    registered.write(&["one"]);
    let (server, root) = registered.start().await;
    made(&root, "first", "one").await;
    let second = json!({"index_name": "second", "kms_name": "two"});
    assert_eq!(post(&root, "indexes/create", second.clone()).await.0, 400);
    registered.write(&["one", "two"]);
    hangup(&server, &registered, "key registry reloaded").await;
    assert_eq!(post(&root, "indexes/create", second).await.0, 200);

    fs::write(registered.folder.path().join("sealdex.yaml"), "kms: [").unwrap();
    hangup(&server, &registered, "not reloaded").await;
    assert_eq!(
        query(&root, json!({"index_name": "first"})).await.0,
        200,
        "the one in force stays"
    );

    registered.write(&["two"]);
    hangup(&server, &registered, "key registry reloaded").await;
    let (status, said) = query(&root, json!({"index_name": "first"})).await;
    assert_eq!(status, 502);
    let said = said["detail"].as_str().unwrap();
    assert!(
        said.contains("'one'") && said.contains("kms.registry") && said.contains("reload"),
        "{said}"
    );
    assert_eq!(
        post(&root, "vectors/num_vectors", json!({"index_name": "second"}))
            .await
            .0,
        200,
        "others go on"
    );
    assert_eq!(
        post(&root, "indexes/delete", json!({"index_name": "first"}))
            .await
            .0,
        200,
        "root can delete it"
    );
    let left = root.get("/v1/indexes/list").await.unwrap().ok();
    assert_eq!(left, json!({"indexes": ["second"]}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_registry_is_read_on_a_hangup() {
    let mut registered = Registered::new(&["one"], 0);
    registered.home = Home::new().with_variable("SEALDEX_ROOT_KEY", ROOT);
    let (server, root) = registered.start().await;
    let body = json!({"index_name": "movies", "kms_name": "one"});
    assert_eq!(post(&root, "indexes/create", body).await.0, 400);
    hangup(&server, &registered, "there is no configuration file").await;
    let usual = registered.home.folder().join("sealdex.yaml");
    fs::copy(registered.folder.path().join("sealdex.yaml"), usual).unwrap();
    hangup(&server, &registered, "key registry reloaded").await;
    made(&root, "movies", "one").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_exchanged_in_one_step_in_every_direction() {
    let registered = Registered::new(&["one", "two"], 60);
    let (server, root) = registered.start().await;
    let index = Index::create(&root, "movies", KEY, json!({"dimension": 2})).await;
    index.upsert(&[Item::bare("a", vec![1.0, 2.0])]).await;
    let user = post(
        &root,
        "indexes/movies/users",
        json!({"permissions": ["read"], "index_key": KEY}),
    )
    .await
    .1;
    let token = server
        .http
        .with_header("x-api-key", user["api_key"].as_str().unwrap());
    let found = (200, json!({"results": [{"id": "a"}]}));
    let with = |key: Option<&str>| json!({"index_name": "movies", "index_key": key});

    let steps = [
        (Some(KEY), json!({"new_index_key": NEW_KEY}), Some(NEW_KEY)),
        (Some(NEW_KEY), json!({"new_kms_name": "one"}), None),
        (None, json!({"new_kms_name": "two"}), None),
        (None, json!({"new_kms_name": "two"}), None),
        (None, json!({"new_index_key": KEY}), Some(KEY)),
    ];
    for (old, mut body, new) in steps {
        assert_eq!(query(&root, with(old)).await, found);
        body["index_key"] = json!(old);
        let (status, said) = post(&root, "indexes/movies/rotate", body.clone()).await;
        assert_eq!(status, 200, "{body} {said}");
        assert_eq!(query(&root, with(new)).await, found, "{body}");
        assert_eq!(query(&token, with(None)).await, found, "users go on, {body}");
        if old != new {
            let refused = query(&root, with(old)).await.0;
            assert!(
                refused == 401 || refused == 400,
                "the old key opens nothing: {refused}"
            );
        }
    }
    for (body, status) in [
        (json!({"index_key": NEW_KEY, "new_kms_name": "one"}), 401),
        (json!({"index_key": KEY, "new_kms_name": "three"}), 400),
        (
            json!({"index_key": KEY, "new_kms_name": "one", "new_index_key": NEW_KEY}),
            400,
        ),
        (json!({"index_key": KEY}), 400),
        (json!({"index_key": KEY, "new_index_key": "00"}), 400),
    ] {
        assert_eq!(
            post(&root, "indexes/movies/rotate", body.clone()).await.0,
            status,
            "{body}"
        );
        assert_eq!(query(&root, with(Some(KEY))).await, found, "nothing changed");
    }
    assert_eq!(
        post(&token, "indexes/movies/rotate", json!({"new_kms_name": "one"}))
            .await
            .0,
        403
    );
    server.kill();
    let (_server, root) = registered.start().await;
    assert_eq!(query(&root, with(Some(KEY))).await, found, "durable");
    let old = root
        .send(Method::GET, "/v1/indexes/movies/rotate", Vec::new().into())
        .await
        .unwrap();
    assert_eq!(old.status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_a_key_is_exchanged() {
    let registered = Registered::new(&["one", "two"], 60);
    let (_server, root) = registered.start().await;
    made(&root, "movies", "one").await;
    let rotate = async {
        for n in 0..60 {
            let slot = ["one", "two"][n % 2];
            let rotated = post(&root, "indexes/movies/rotate", json!({"new_kms_name": slot})).await;
            assert_eq!(rotated.0, 200, "{rotated:?}");
        }
    };
    let ask = async || {
        for _ in 0..400 {
            let answered = query(&root, json!({"index_name": "movies"})).await;
            assert_eq!(answered.0, 200, "{answered:?}");
        }
    };
    tokio::join!(rotate, ask(), ask());
}
