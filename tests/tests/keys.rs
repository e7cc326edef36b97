//! `sealdex keys` against a running server: what it tells, what it changes, and that no key shows where it must not.
#![allow(clippy::unwrap_used)]

use hyper::Method;
use sealdex_tests::command::{Said, sealdex, sealdex_reading};
use sealdex_tests::http::Http;
use sealdex_tests::index::Index;
use sealdex_tests::item::Item;
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = "the root key of this test";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEW_KEY: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

/// A server with slots `one` and `two`, each a key file.
struct Deployment {
    server: Server,
    root: Arc<Http>,
    url: String,
    folder: tempfile::TempDir,
    _home: Home,
}

impl Deployment {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut yaml = "kms:\n  registry:\n".to_owned();
        for (n, slot) in [(1, "one"), (2, "two")] {
            let file = folder.path().join(format!("{slot}.key"));
            std::fs::write(&file, [n; 32]).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            yaml += &format!("    {slot}: {{provider: local, key_file: {}}}\n", file.display());
        }
        let config = folder.path().join("sealdex.yaml");
        std::fs::write(&config, yaml).unwrap();
        let home = Home::new()
            .with_variable("SEALDEX_ROOT_KEY", ROOT)
            .with_variable("SEALDEX_CONFIG_FILE", config.to_str().unwrap());
        let server = home.start().await;
        let root = Arc::new(server.http.with_header("x-api-key", ROOT));
        let url = format!("http://{}", root.address());
        Self {
            server,
            root,
            url,
            folder,
            _home: home,
        }
    }

    /// `sealdex keys` with the root key in the environment.
    async fn keys(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let all = [&["keys", "--url", &self.url], arguments].concat();
        let variables = [&[("SEALDEX_ROOT_KEY", ROOT)], variables].concat();
        sealdex(&all, &variables).await
    }

    /// An index whose owner has `KEY`, with one item.
    async fn owned(&self, name: &str) -> Index {
        let index = Index::create(&self.root, name, KEY, json!({"dimension": 2})).await;
        index.upsert(&[Item::bare("a", vec![1.0, 2.0])]).await;
        index
    }

    async fn of_slot(&self, name: &str, slot: &str) {
        let body = json!({"index_name": name, "kms_name": slot, "dimension": 2});
        self.root.post("/v1/indexes/create", &body).await.unwrap().ok();
    }

    async fn user(&self, index: &str, key: Option<&str>, permissions: &[&str]) -> (String, Http) {
        let body = json!({"permissions": permissions, "index_key": key});
        let made = self
            .root
            .post(&format!("/v1/indexes/{index}/users"), &body)
            .await
            .unwrap()
            .ok();
        let token = self
            .server
            .http
            .with_header("x-api-key", made["api_key"].as_str().unwrap());
        (made["user_id"].as_str().unwrap().to_owned(), token)
    }

    /// How many items an index has, or the status that is answered instead.
    async fn count(&self, http: &Http, name: &str, key: Option<&str>) -> Result<u64, u16> {
        let body = json!({"index_name": name, "index_key": key});
        let reply = http.post("/v1/vectors/num_vectors", &body).await.unwrap();
        match reply.status {
            200 => Ok(reply.json()["result"].as_u64().unwrap()),
            status => Err(status),
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_tells_who_holds_each_key_and_who_may_do_what() {
    let deployment = Deployment::start().await;
    deployment.owned("books/1 & more").await;
    deployment.of_slot("films", "two").await;
    let (reader, _) = deployment.user("films", None, &["read"]).await;
    let (both, _) = deployment.user("films", None, &["write", "read"]).await;

    let listed = deployment.keys(&["list", "-o", "json"], &[]).await.json();
    let indexes = listed["indexes"].as_array().unwrap();
    assert_eq!(indexes.len(), 2);
    let (books, films) = (&indexes[0], &indexes[1]);
    assert_eq!(books["index_name"], "books/1 & more");
    assert_eq!(
        (&books["provider"], &books["wrapped"], &books["epoch"]),
        (&json!("none"), &Value::Null, &json!(1))
    );
    assert_eq!(books["users"], json!([]));
    assert_eq!(
        (&films["provider"], &films["wrapped"]["kms_name"]),
        (&json!("local"), &json!("two"))
    );
    assert_eq!(films["wrapped"]["version"], 1);
    let users = json!([
        {"user_id": reader, "permissions": ["read"]},
        {"user_id": both, "permissions": ["read", "write"]},
    ]);
    assert_eq!(films["users"], users);
    let fields: Vec<&String> = films.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "created_at",
            "epoch",
            "index_name",
            "provider",
            "users",
            "wrapped"
        ],
        "and no key"
    );

    let table = deployment.keys(&["list"], &[]).await;
    let table = table.ok();
    for said in [
        "books/1 & more",
        "its owner",
        "two (local)",
        &reader,
        "read, write",
        "UTC",
    ] {
        assert!(table.contains(said), "{said} is not in\n{table}");
    }
    let one = deployment
        .keys(&["list", "films", "-o", "json"], &[])
        .await
        .json();
    assert_eq!(one["indexes"].as_array().unwrap().len(), 1);

    let refused = deployment.keys(&["list", "absent"], &[]).await;
    assert!(
        !refused.success && refused.err.contains("create it first"),
        "{}",
        refused.err
    );
    let refused = deployment.keys(&["list"], &[("SEALDEX_ROOT_KEY", "wrong")]).await;
    assert!(!refused.success && refused.err.contains("401"), "{}", refused.err);
    let refused = sealdex(&["keys", "--url", "http://127.0.0.1:1", "list"], &[]).await;
    assert!(
        !refused.success && refused.err.contains("sealdex serve"),
        "{}",
        refused.err
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotate_exchanges_a_key_in_every_direction() {
    let deployment = Deployment::start().await;
    deployment.owned("books").await;
    let (_, reader) = deployment.user("books", Some(KEY), &["read"]).await;
    let root = &deployment.root;
    let (old, new, made) = (
        deployment.file("old"),
        deployment.file("new"),
        deployment.file("made"),
    );
    std::fs::write(&old, KEY).unwrap();
    let bytes: Vec<u8> = (0..32)
        .map(|i| u8::from_str_radix(&NEW_KEY[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    std::fs::write(&new, bytes).unwrap();

    // From one owner's key to another, the root key on standard input.
    let arguments = [
        "keys",
        "--url",
        &deployment.url,
        "--root-key-file",
        "-",
        "rotate",
        "books",
        "--index-key-file",
        &old,
        "--new-key-file",
        &new,
    ];
    let said = sealdex_reading(&arguments, &[], &format!("{ROOT}\n")).await;
    assert!(said.ok().contains("was exchanged"), "{}", said.out);
    assert_eq!(deployment.count(root, "books", Some(NEW_KEY)).await, Ok(1));
    assert_eq!(deployment.count(root, "books", Some(KEY)).await, Err(401));

    // To a slot, and from slot to slot; a key in the environment is not sent where none is welcome.
    let given = [("SEALDEX_INDEX_KEY", NEW_KEY)];
    for slot in ["one", "two", "two"] {
        let said = deployment
            .keys(&["rotate", "books", "--to-slot", slot, "-o", "json"], &given)
            .await;
        assert_eq!(said.json()["rotated"]["wrapped"]["kms_name"], slot);
        assert_eq!(deployment.count(root, "books", None).await, Ok(1));
    }
    let refused = deployment
        .keys(&["rotate", "books", "--to-slot", "three"], &[])
        .await;
    assert!(
        !refused.success && refused.err.contains("kms.registry"),
        "{}",
        refused.err
    );

    // Sealed again under a new key epoch: the command ends when all of it is.
    let said = deployment
        .keys(&["rotate", "books", "--epoch", "-o", "json"], &[])
        .await;
    assert_eq!(said.json()["rotated"]["epoch"], 2);
    let rotation = root.get("/v1/indexes/books/rotation").await.unwrap().json();
    assert_eq!(rotation["rotating"], false, "{rotation}");
    assert_eq!(deployment.count(root, "books", None).await, Ok(1));

    // To a key that is made for it.
    deployment
        .keys(&["rotate", "books", "--make-key-file", &made], &[])
        .await
        .ok();
    let mode = std::fs::metadata(&made).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = std::fs::read_to_string(&made).unwrap();
    assert_eq!(deployment.count(root, "books", Some(key.trim())).await, Ok(1));
    assert_eq!(
        deployment.count(&reader, "books", None).await,
        Ok(1),
        "users go on"
    );

    // What cannot be done changes nothing and leaves nothing behind.
    let other = deployment.file("other");
    for (arguments, said) in [
        (
            vec!["rotate", "books", "--make-key-file", &other],
            "--index-key-file",
        ),
        (
            vec![
                "rotate",
                "books",
                "--index-key-file",
                &old,
                "--make-key-file",
                &other,
            ],
            "401",
        ),
        (
            vec![
                "rotate",
                "books",
                "--index-key-file",
                &made,
                "--make-key-file",
                &made,
            ],
            "does not exist yet",
        ),
        (vec!["rotate", "books", "--index-key-file", &made], "--to-slot"),
        (
            vec![
                "rotate",
                "books",
                "--index-key-file",
                &deployment.file("one.key.absent"),
                "--to-slot",
                "one",
            ],
            "exists",
        ),
        (vec!["rotate", "absent", "--to-slot", "one"], "404"),
    ] {
        let refused = deployment.keys(&arguments, &[]).await;
        assert!(
            !refused.success && refused.err.contains(said),
            "{arguments:?}: {}",
            refused.err
        );
        assert!(!Path::new(&other).exists(), "{arguments:?}");
        assert!(
            !format!("{}{}", refused.out, refused.err).contains(key.trim()),
            "a key is told"
        );
        assert_eq!(deployment.count(root, "books", Some(key.trim())).await, Ok(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoke_takes_effect_from_the_next_request_on() {
    let deployment = Deployment::start().await;
    deployment.owned("books").await;
    let (first_id, first) = deployment.user("books", Some(KEY), &["read"]).await;
    let (_, second) = deployment.user("books", Some(KEY), &["read"]).await;
    let (_, third) = deployment.user("books", Some(KEY), &["read", "write"]).await;
    let refused = deployment.keys(&["revoke", "books", &first_id], &[]).await;
    assert!(
        !refused.success && refused.err.contains("SEALDEX_INDEX_KEY"),
        "{}",
        refused.err
    );
    assert_eq!(deployment.count(&first, "books", None).await, Ok(1));

    let given = [("SEALDEX_INDEX_KEY", KEY)];
    let said = deployment
        .keys(&["revoke", "books", &first_id, "-o", "json"], &given)
        .await
        .json();
    assert_eq!(said["revoked"], json!([first_id]));
    assert_eq!(said["users"].as_array().unwrap().len(), 2);
    assert_eq!(deployment.count(&first, "books", None).await, Err(403));
    assert_eq!(deployment.count(&second, "books", None).await, Ok(1));

    let said = deployment.keys(&["revoke", "books", "--all"], &given).await;
    assert!(
        said.ok().contains("2 users") && said.out.contains("0 users left"),
        "{}",
        said.out
    );
    for token in [&second, &third] {
        assert_eq!(deployment.count(token, "books", None).await, Err(403));
    }
    for (arguments, said) in [
        (vec!["revoke", "books", "not an id"], "32 hexadecimal digits"),
        (vec!["revoke", "books"], "USER_ID"),
        (vec!["revoke", "books", "00", "--all"], "--all"),
    ] {
        let refused = deployment.keys(&arguments, &given).await;
        assert!(
            !refused.success && refused.err.contains(said),
            "{arguments:?}: {}",
            refused.err
        );
    }
}

/// Everyone on a machine can read its command lines: there is no way to put a key there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_option_takes_a_key_itself() {
    for command in ["list", "rotate", "revoke"] {
        let help = sealdex(&["keys", command, "--help"], &[]).await;
        let options = help
            .ok()
            .lines()
            .filter(|line| line.trim_start().starts_with('-'));
        for line in options {
            let name = line
                .split_whitespace()
                .find(|word| word.starts_with("--"))
                .unwrap_or_default();
            assert!(!name.contains("key") || line.contains("<FILE>"), "{line}");
        }
    }
    let deployment = Deployment::start().await;
    let key = deployment
        .root
        .send(Method::POST, "/v1/indexes/x/key", Vec::new().into())
        .await
        .unwrap();
    assert_eq!(key.status, 405);
}
