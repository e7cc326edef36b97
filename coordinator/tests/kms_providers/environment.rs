//! What the ring takes from the environment, seen from a process of its own, since an environment is a process's; and that not
//! even the most talkative log of that process holds a key.

use super::*;
use crate::moto::moto;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::process::Command;

const INSIDE: &str = "SEALDEX_TEST_INSIDE";
const KEY: [u8; 32] = *b"an index key that stands nowhere";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_region_and_credentials_come_from_the_environment() {
    let front = Front::start().await;
    if let Ok(key_id) = std::env::var(INSIDE) {
        return inside(&key_id).await;
    }
    moto().secret("logged", Some(&KEY), None).await;
    let key_id = moto().key_in("us-east-2").await;
    let mut process = Command::new(std::env::current_exe().unwrap());
    process
        .args([
            "--exact",
            "environment::address_region_and_credentials_come_from_the_environment",
            "--nocapture",
        ])
        .env_clear()
        .env(INSIDE, key_id)
        .env("AWS_ENDPOINT_URL", front.url())
        .env("AWS_REGION", "us-east-2")
        .env("AWS_ACCESS_KEY_ID", "AKIAOFTHEENVIRONMENT")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let output = tokio::task::spawn_blocking(move || process.output())
        .await
        .unwrap()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("TRACE"), "the log was not on");
    for spelled in [
        STANDARD.encode(KEY),
        format!("{KEY:?}"),
        String::from_utf8_lossy(&KEY).into_owned(),
        hex(&KEY),
    ] {
        assert!(
            !text.contains(&spelled[..spelled.len() - 4]),
            "the log holds a key as {spelled}"
        );
    }
    let calls = front.calls();
    let operations: Vec<_> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(operations, ["Encrypt", "Decrypt", "GetSecretValue"]);
    for (call, region) in calls.iter().zip(["us-east-2", "us-east-2", REGION]) {
        let signed = call.headers["authorization"].to_str().unwrap();
        assert!(
            signed.contains("AKIAOFTHEENVIRONMENT") && signed.contains(region),
            "{signed}"
        );
    }
}

async fn inside(key_id: &str) {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .init();
    let no_region = SlotConfig {
        region: None,
        ..slot(Provider::AwsKms, key_id)
    };
    let ring = KeyRing::new(registry([
        ("prod", no_region),
        ("secret", slot(Provider::AwsSecret, "logged")),
    ]));
    let wrapped = wrapped(&ring, &IndexKey::from_bytes(KEY)).await;
    // Where the key was found is recorded, whatever the environment says later.
    assert_eq!(wrapped.region, "us-east-2");
    assert!(ring.unwrap(&wrapped, &CONTEXT).await.is_ok());
    assert!(
        ring.wrap("secret", &CONTEXT, &IndexKey::from_bytes(KEY))
            .await
            .is_ok()
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
