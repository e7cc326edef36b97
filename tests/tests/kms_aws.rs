//! Indexes whose key AWS wraps, from the client's request to AWS and back: what each failure of AWS is to a client, what it is not
//! to anybody else, and how often AWS is asked. AWS is moto behind a front that counts, refuses, throttles and hangs.
#![allow(clippy::unwrap_used)]

use sealdex_tests::aws::{self, Answer, Call, Front, REGION};
use sealdex_tests::http::{Http, Reply};
use sealdex_tests::server::{Home, Server};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const ROOT: &str = "the root key of this test";
const ROLE: &str = "arn:aws:iam::111122223333:role/tenant";

/// A deployment whose AWS is `front`.
struct Deployment {
    home: Home,
    folder: tempfile::TempDir,
}

impl Deployment {
    /// Slots by name, each with its lines of YAML.
    fn new(front: &Front, cache_seconds: u64, slots: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sealdex.yaml");
        let mut home = Home::new()
            .with_variable("SEALDEX_ROOT_KEY", ROOT)
            .with_variable("SEALDEX_KEY_CACHE_SECONDS", &cache_seconds.to_string())
            .with_variable("SEALDEX_CONFIG_FILE", file.to_str().unwrap());
        for (name, value) in aws::environment(&front.url()) {
            home = home.with_variable(name, &value);
        }
        let deployment = Self { home, folder };
        deployment.write(slots);
        deployment
    }

    fn write(&self, slots: &[(&str, String)]) {
        let lines = slots
            .iter()
            .map(|(name, slot)| format!("    {name}: {{{slot}}}\n"));
        let yaml = format!("kms:\n  registry:\n{}", lines.collect::<String>());
        std::fs::write(self.folder.path().join("sealdex.yaml"), yaml).unwrap();
    }

    async fn start(&self) -> (Server, Arc<Http>) {
        let server = self.home.start().await;
        let root = Arc::new(server.http.with_header("x-api-key", ROOT));
        (server, root)
    }
}

fn kms(key_id: &str) -> String {
    format!("provider: aws-kms, key_id: {key_id}, region: {REGION}")
}

async fn post(http: &Http, route: &str, body: Value) -> Reply {
    http.post(&format!("/v1/{route}"), &body).await.unwrap()
}

async fn create(root: &Http, name: &str, slot: &str) -> Reply {
    let body = json!({"index_name": name, "kms_name": slot, "dimension": 2});
    post(root, "indexes/create", body).await
}

/// An index of `slot` with one item.
async fn made(root: &Http, name: &str, slot: &str) {
    create(root, name, slot).await.ok();
    let items = json!([{"id": "a", "vector": [1, 2]}]);
    post(
        root,
        "vectors/upsert",
        json!({"index_name": name, "items": items}),
    )
    .await
    .ok();
}

async fn count(http: &Http, name: &str) -> Reply {
    post(http, "vectors/num_vectors", json!({"index_name": name})).await
}

/// The text of a refusal with this status, which names the slot and holds nothing of AWS's own words.
#[track_caller]
fn refusal(reply: &Reply, status: u16, slot: &str) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["status_code"], status);
    let detail = body["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&format!("slot '{slot}'")), "{detail}");
    assert!(!detail.contains("arn:"), "{detail}");
    let retry_after = reply
        .headers
        .get("retry-after")
        .map(|value| value.to_str().unwrap());
    match status {
        503 => assert!((1..=60).contains(&retry_after.unwrap().parse::<u32>().unwrap())),
        _ => assert_eq!(retry_after, None),
    }
    detail
}

/// The index that a call to KMS is bound to.
fn index_of(call: &Call) -> String {
    let body: Value = serde_json::from_str(&call.body).unwrap();
    body["EncryptionContext"]["sealdex:index"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_a_502_that_names_its_cure_and_touches_no_other_index() {
    let front = Front::start().await;
    let (key, other) = (aws::kms_key().await, aws::kms_key().await);
    let absent = "00000000-0000-0000-0000-000000000000";
    let slots = [
        ("prod", kms(&key)),
        ("other", kms(&other)),
        ("absent", kms(absent)),
    ];
    let deployment = Deployment::new(&front, 0, &slots);
    let (_server, root) = deployment.start().await;
    made(&root, "mine", "prod").await;
    made(&root, "other", "other").await;

    front.calls();
    let said = refusal(&create(&root, "new", "absent").await, 502, "absent");
    assert!(
        said.contains("does not exist") && said.contains("kms.registry"),
        "{said}"
    );
    assert_eq!(front.operations(), ["Encrypt"]);

    for (code, cure) in [
        ("NotFoundException", "create it"),
        ("AccessDeniedException", "let the server's identity"),
        ("IncorrectKeyException", "put back the key"),
        ("InvalidCiphertextException", "put back the key"),
        ("DisabledException", "enable the key"),
        ("KMSInvalidStateException", "cancel its deletion"),
        ("UnrecognizedClientException", "let the server's identity"),
        ("ValidationException", "log has its words"),
    ] {
        let refused = key.clone();
        front.rule(move |call| match call.body.contains(&refused) {
            true => Answer::Error(400, code),
            false => Answer::Motos,
        });
        front.calls();
        let said = refusal(&count(&root, "mine").await, 502, "prod");
        assert!(said.contains(cure), "{code}: {said}");
        assert_eq!(front.operations(), ["Decrypt"], "{code} is not repeated");
        let said = refusal(&create(&root, "new", "prod").await, 502, "prod");
        assert!(said.contains(cure), "{code}: {said}");
        assert_eq!(front.operations(), ["Encrypt"], "{code} is not repeated");
        count(&root, "other").await.ok();
    }
    front.rule(|_| Answer::Motos);
    assert_eq!(
        count(&root, "mine").await.ok(),
        json!({"result": 1}),
        "nothing of it lasts"
    );
    let listed = root.get("/v1/indexes/list").await.unwrap().ok();
    assert_eq!(
        listed,
        json!({"indexes": ["mine", "other"]}),
        "no half index is left"
    );
    let log = std::fs::read_to_string(deployment.home.log()).unwrap();
    assert!(
        log.contains("DisabledException"),
        "the operator reads AWS's own words"
    );

    // Its key is gone for good: root can still delete it, and AWS is not asked.
    front.rule(|_| Answer::Error(400, "KMSInvalidStateException"));
    front.calls();
    post(&root, "indexes/delete", json!({"index_name": "mine"}))
        .await
        .ok();
    assert_eq!(front.operations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_and_failures_are_503_after_three_calls_at_most() {
    let front = Front::start().await;
    let deployment = Deployment::new(&front, 0, &[("prod", kms(&aws::kms_key().await))]);
    let (_server, root) = deployment.start().await;
    made(&root, "mine", "prod").await;
    for (status, code) in [
        (400, "ThrottlingException"),
        (429, "TooManyRequestsException"),
        (500, "KMSInternalException"),
        (503, "ServiceUnavailable"),
    ] {
        front.rule(move |_| Answer::Error(status, code));
        front.calls();
        let said = refusal(&count(&root, "mine").await, 503, "prod");
        assert!(said.contains("send the request again in"), "{said}");
        assert_eq!(front.operations(), ["Decrypt"; 3], "{code}");
    }
    let failed = AtomicBool::new(false);
    front.rule(move |_| match failed.swap(true, Ordering::Relaxed) {
        false => Answer::Error(500, "KMSInternalException"),
        true => Answer::Motos,
    });
    count(&root, "mine").await.ok();
}

/// Forty requests wait for one slot that hangs; everybody else is served meanwhile, and the forty share its few calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_hangs_holds_up_nobody_else() {
    let front = Front::start().await;
    let (hanging, well) = (aws::kms_key().await, aws::kms_key().await);
    let slots = [("hanging", kms(&hanging)), ("well", kms(&well))];
    let deployment = Deployment::new(&front, 0, &slots);
    let (_server, root) = deployment.start().await;
    made(&root, "mine", "hanging").await;
    made(&root, "other", "well").await;
    front.rule(move |call| match call.body.contains(&hanging) {
        true => Answer::Never,
        false => Answer::Motos,
    });
    front.calls();
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let root = root.clone();
            tokio::spawn(async move { count(&root, "mine").await })
        })
        .collect();
    while front.operations().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..5 {
        count(&root, "other").await.ok();
    }
    assert!(
        waiting.iter().all(|waiting| !waiting.is_finished()),
        "requests of another index were served while the slot was still waited for"
    );
    for waiting in waiting {
        refusal(&waiting.await.unwrap(), 503, "hanging");
    }
    let asked = front.operations().len();
    assert!(
        asked <= 5 + 10,
        "forty requests shared one load, but AWS was asked {asked} times"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aws_that_fails_is_noticed_when_the_kept_key_has_had_its_time() {
    const LIFETIME: Duration = Duration::from_secs(3);
    let front = Front::start().await;
    let slots = [("prod", kms(&aws::kms_key().await))];
    let deployment = Deployment::new(&front, LIFETIME.as_secs(), &slots);
    let (server, root) = deployment.start().await;
    made(&root, "mine", "prod").await;
    let user = user(&server, &root, "mine").await;

    // Opened anew at a time that is known.
    tokio::time::sleep(LIFETIME).await;
    let before = Instant::now();
    count(&root, "mine").await.ok();
    let after = Instant::now();
    front.rule(|_| Answer::Error(500, "KMSInternalException"));
    loop {
        let begun = Instant::now();
        let (by_root, by_user) = (count(&root, "mine").await, count(&user, "mine").await);
        let failed = [&by_root, &by_user].into_iter().find(|reply| reply.status != 200);
        let Some(failed) = failed else {
            assert!(
                begun < after + LIFETIME,
                "the key was used for longer than its time"
            );
            continue;
        };
        refusal(failed, 503, "prod");
        assert!(
            Instant::now() > before + LIFETIME,
            "the kept key was not used for its whole time"
        );
        break;
    }
    refusal(&count(&user, "mine").await, 503, "prod");
    front.rule(|_| Answer::Motos);
    tokio::time::sleep(FAILURE_LASTS).await;
    count(&root, "mine").await.ok();
    count(&user, "mine").await.ok();
}

/// A provider that is in trouble, or refuses, is not asked again for each request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aws_that_fails_is_asked_once_in_a_while() {
    let front = Front::start().await;
    let slots = [("prod", kms(&aws::kms_key().await))];
    let deployment = Deployment::new(&front, 60, &slots);
    let (server, root) = deployment.start().await;
    made(&root, "mine", "prod").await;
    server.kill();
    let (_server, root) = deployment.start().await;
    for (code, status, calls_each) in [("AccessDeniedException", 502, 1), ("ThrottlingException", 503, 3)] {
        tokio::time::sleep(FAILURE_LASTS).await;
        front.rule(move |_| Answer::Error(400, code));
        front.calls();
        let begun = Instant::now();
        for _ in 0..30 {
            refusal(&count(&root, "mine").await, status, "prod");
        }
        let loads_max = 1 + begun.elapsed().as_secs() as usize;
        let asked = front.operations().len();
        assert!(asked <= calls_each * loads_max, "{code}: {asked} calls");
    }
    front.rule(|_| Answer::Motos);
    tokio::time::sleep(FAILURE_LASTS).await;
    count(&root, "mine").await.ok();
}

/// For how long a provider that failed is not asked again.
const FAILURE_LASTS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_while_aws_is_down_and_serves_when_it_is_up() {
    let front = Front::start().await;
    let slots = [("prod", kms(&aws::kms_key().await))];
    let deployment = Deployment::new(&front, 60, &slots);
    let (server, root) = deployment.start().await;
    made(&root, "mine", "prod").await;
    server.kill();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let home = deployment
        .home
        .with_variable("AWS_ENDPOINT_URL", &format!("http://{nobody}"));
    let deployment = Deployment { home, ..deployment };
    let (_server, root) = deployment.start().await;
    refusal(&count(&root, "mine").await, 503, "prod");
    refusal(&create(&root, "new", "prod").await, 503, "prod");
    let own = json!({"index_name": "own", "index_key": "01".repeat(32), "dimension": 2});
    post(&root, "indexes/create", own).await.ok();
    let _up = Front::listen(TcpListener::bind(nobody).await.unwrap());
    tokio::time::sleep(FAILURE_LASTS).await;
    assert_eq!(count(&root, "mine").await.ok(), json!({"result": 1}));
}

/// A client with the token of a new reader of an index.
async fn user(server: &Server, root: &Http, name: &str) -> Arc<Http> {
    let made = post(
        root,
        &format!("indexes/{name}/users"),
        json!({"permissions": ["read"]}),
    )
    .await
    .ok();
    Arc::new(
        server
            .http
            .with_header("x-api-key", made["api_key"].as_str().unwrap()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_is_asked_once_for_each_index_and_lifetime() {
    let front = Front::start().await;
    let key = aws::kms_key().await;
    let deployment = Deployment::new(&front, 60, &[("prod", kms(&key))]);
    let (server, root) = deployment.start().await;
    let names = ["one", "two", "three"];
    let mut users = Vec::new();
    for name in names {
        made(&root, name, "prod").await;
        let made = post(
            &root,
            &format!("indexes/{name}/users"),
            json!({"permissions": ["read"]}),
        )
        .await;
        users.push(made.ok()["api_key"].as_str().unwrap().to_owned());
    }
    server.kill();
    let (server, root) = deployment.start().await;
    front.calls();
    let users: Vec<_> = users
        .iter()
        .map(|user| Arc::new(server.http.with_header("x-api-key", user)))
        .collect();
    let asking: Vec<_> = (0..120)
        .map(|n| {
            let http = if n % 2 == 0 {
                root.clone()
            } else {
                users[n % 3].clone()
            };
            tokio::spawn(async move { count(&http, names[n % 3]).await.ok() })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), json!({"result": 1}));
    }
    let stray = json!({"index_name": "one", "index_key": "00".repeat(32)});
    assert_eq!(post(&root, "vectors/num_vectors", stray).await.status, 400);
    count(&root, "one").await.ok();
    let calls = front.calls();
    let mut by_index: HashMap<String, usize> = HashMap::new();
    for call in &calls {
        assert_eq!(call.operation, "Decrypt");
        *by_index.entry(index_of(call)).or_default() += 1;
    }
    assert_eq!(by_index.len(), 3);
    assert!(by_index.values().all(|&calls| calls == 1), "{by_index:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_a_short_lifetime_is_kept_to() {
    let front = Front::start().await;
    let deployment = Deployment::new(&front, 1, &[("prod", kms(&aws::kms_key().await))]);
    let (_server, root) = deployment.start().await;
    made(&root, "mine", "prod").await;
    front.calls();
    let begun = Instant::now();
    let ask = async || {
        while begun.elapsed() < Duration::from_secs(4) {
            count(&root, "mine").await.ok();
        }
    };
    tokio::join!(ask(), ask(), ask(), ask());
    let (asked, lifetimes) = (front.calls().len(), begun.elapsed().as_secs() as usize + 1);
    assert!(
        (2..=lifetimes).contains(&asked),
        "asked {asked} times in {lifetimes} lifetimes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_tenant_and_secrets_serve_and_are_pulled_alike() {
    let front = Front::start().await;
    aws::secret("whole-server", &[3; 32]).await;
    let tenant = aws::kms_key_behind(ROLE).await;
    let slots = [
        (
            "secret",
            format!("provider: aws, key_id: whole-server, region: {REGION}"),
        ),
        (
            "tenant",
            format!("{}, role_arn: '{ROLE}', external_id: tenant-7", kms(&tenant)),
        ),
        (
            "stranger",
            format!("{}, role_arn: '{ROLE}', external_id: tenant-8", kms(&tenant)),
        ),
    ];
    let deployment = Deployment::new(&front, 0, &slots);
    // As the tenant's role demands it; moto has no trust policies.
    front.rule(|call| match call.operation.as_str() {
        "AssumeRole" if !call.body.contains("ExternalId=tenant-7") => Answer::Text(403, denied_by_sts()),
        _ => Answer::Motos,
    });
    let (_server, root) = deployment.start().await;
    for slot in ["secret", "tenant"] {
        made(&root, slot, slot).await;
        assert_eq!(count(&root, slot).await.ok(), json!({"result": 1}));
    }
    let said = refusal(&create(&root, "new", "stranger").await, 502, "stranger");
    assert!(said.contains("the slot's role"), "{said}");

    // The tenant takes the role away; sessions that were assumed end.
    front.rule(|call| match call.operation.as_str() {
        "AssumeRole" => Answer::Text(403, denied_by_sts()),
        "GetSecretValue" => Answer::Motos,
        _ => Answer::Error(400, "AccessDeniedException"),
    });
    refusal(&count(&root, "tenant").await, 502, "tenant");
    count(&root, "secret").await.ok();
    front.rule(|call| match call.operation.as_str() {
        "GetSecretValue" => Answer::Error(400, "InvalidRequestException"),
        _ => Answer::Motos,
    });
    refusal(&count(&root, "secret").await, 502, "secret");
    count(&root, "tenant").await.ok();
}

fn denied_by_sts() -> String {
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>".to_owned()
}
