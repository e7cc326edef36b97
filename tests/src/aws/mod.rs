//! An AWS for tests: the imitation that all tests of a process share, a front before it that can refuse, throttle and hang, and
//! the keys, secrets and roles that the server's registry names. Knows nothing of Sealdex.

mod front;

pub use front::{Answer, Call, Front};

use crate::http::Http;
use crate::venv::venv;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The region of the keys.
pub const REGION: &str = "eu-west-1";

/// The credentials of the server's own account.
pub const ACCESS_KEY: &str = "AKIATHESERVER";

/// Where the imitation listens. It is started if it is not, and gone with the process that started it.
pub fn imitation() -> SocketAddr {
    static RUNNING: OnceLock<(SocketAddr, Child)> = OnceLock::new();
    RUNNING.get_or_init(start).0
}

fn start() -> (SocketAddr, Child) {
    let python = venv("aws").join("bin/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kms/imitate_aws.py");
    let mut process = Command::new(&python)
        .arg("-B")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; `make deps` makes the environment", python.display()));
    let mut port = String::new();
    let mut said = BufReader::new(process.stdout.take().expect("its output is piped"));
    said.read_line(&mut port).expect("its output can be read");
    let port: u16 = port.trim().parse().expect("the imitation says its port");
    (([127, 0, 0, 1], port).into(), process)
}

/// The environment in which a server takes `endpoint` for AWS.
pub fn environment(endpoint: &str) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

/// A new KMS key of the server's own account; its id.
pub async fn kms_key() -> String {
    kms_key_of(ACCESS_KEY).await
}

/// A new KMS key of the account of `role`, which only those who have assumed the role can see.
pub async fn kms_key_behind(role: &str) -> String {
    let form = format!(
        "Action=AssumeRole&Version=2011-06-15&RoleSessionName=owner&RoleArn={}",
        role.replace(':', "%3A").replace('/', "%2F")
    );
    let sts = signed("sts", ACCESS_KEY).with_header("content-type", "application/x-www-form-urlencoded");
    let reply = sts.send(Method::POST, "/", form.into()).await;
    let said = reply.expect("the imitation answers").text();
    let access_key = said
        .split(['<', '>'])
        .skip_while(|part| *part != "AccessKeyId")
        .nth(1);
    kms_key_of(access_key.unwrap_or_else(|| panic!("no credentials in {said}"))).await
}

async fn kms_key_of(access_key: &str) -> String {
    let made = call("kms", access_key, "TrentService.CreateKey", json!({})).await;
    made["KeyMetadata"]["KeyId"]
        .as_str()
        .expect("a key has an id")
        .to_owned()
}

/// A new secret of these bytes.
pub async fn secret(name: &str, bytes: &[u8]) {
    let body =
        json!({"Name": name, "SecretBinary": STANDARD.encode(bytes), "ClientRequestToken": "0".repeat(32)});
    call("secretsmanager", ACCESS_KEY, "secretsmanager.CreateSecret", body).await;
}

async fn call(service: &str, access_key: &str, target: &str, body: Value) -> Value {
    let http = signed(service, access_key).with_header("x-amz-target", target);
    let reply = http.post("/", &body).await.expect("the imitation answers");
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    reply.json()
}

/// The imitation tells services, regions and accounts by the signature, which it does not check.
fn signed(service: &str, access_key: &str) -> Http {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    Http::new(imitation()).with_header("authorization", &authorization)
}
