//! Keys of another account: the role is assumed as the slot says, once, and again before its credentials end.

use super::*;
use crate::moto::moto;
use sealdex_coordinator::ports::KmsFault;
use sealdex_tests::aws::Answer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ROLE: &str = "arn:aws:iam::111122223333:role/tenant";

fn byok(key_id: &str, external_id: Option<&str>) -> SlotConfig {
    SlotConfig {
        role_arn: Some(ROLE.to_owned()),
        external_id: external_id.map(str::to_owned),
        ..slot(Provider::AwsKms, key_id)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_is_assumed_with_the_external_id_and_once() {
    let front = Front::start().await;
    let ring = prod(&front, byok(&moto().key_behind(ROLE).await, Some("tenant-7")));
    let key = IndexKey::generate();
    let envelope = wrapped(&ring, &key).await;
    assert!(same(&ring.unwrap(&envelope, &CONTEXT).await.unwrap(), &key));
    let calls = front.calls();
    let operations: Vec<_> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(operations, ["AssumeRole", "Encrypt", "Decrypt"]);
    for part in [
        "RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Ftenant",
        "ExternalId=tenant-7",
        "RoleSessionName=sealdex-prod",
    ] {
        assert!(calls[0].body.contains(part), "{}", calls[0].body);
    }
    // Without the role the key is not even there.
    let own = prod(&front, slot(Provider::AwsKms, &envelope.key_id));
    assert_eq!(
        refused(&own, &envelope, &CONTEXT).await.fault(),
        &KmsFault::KeyNotFound
    );
    let signer = |call: usize| {
        calls[call].headers["authorization"]
            .to_str()
            .unwrap()
            .contains("AKIATHESERVER")
    };
    assert!(signer(0) && !signer(1) && !signer(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_wants_another_external_id_denies() {
    let front = Front::start().await;
    // As a role's trust policy demands it; moto has none.
    front.rule(|call| match call.operation.as_str() {
        "AssumeRole" if !call.body.contains("ExternalId=tenant-7") => {
            Answer::Text(403, sts_error("AccessDenied"))
        }
        _ => Answer::Motos,
    });
    let key_id = moto().key_behind(ROLE).await;
    for external_id in [None, Some("tenant-8")] {
        let ring = prod(&front, byok(&key_id, external_id));
        let error = ring
            .wrap("prod", &CONTEXT, &IndexKey::generate())
            .await
            .err()
            .unwrap();
        assert_eq!(error.fault(), &KmsFault::AccessDenied, "{:?}", error.context());
        assert!(!error.to_string().contains(ROLE));
        assert_eq!(front.operations(), ["AssumeRole"]);
    }
    let ring = prod(&front, byok(&key_id, Some("tenant-7")));
    wrapped(&ring, &IndexKey::generate()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_renewed_before_they_end() {
    let front = Front::start().await;
    // Within the margin before their end at once: ten seconds, of which the SDK takes up to five at random.
    front.rule(|call| match call.operation.as_str() {
        "AssumeRole" => Answer::Text(200, session(SystemTime::now() + Duration::from_secs(4))),
        _ => Answer::Motos,
    });
    let ring = prod(&front, byok(&moto().key().await, None));
    let envelope = wrapped(&ring, &IndexKey::generate()).await;
    assert!(ring.unwrap(&envelope, &CONTEXT).await.is_ok());
    assert_eq!(
        front.operations(),
        ["AssumeRole", "Encrypt", "AssumeRole", "Decrypt"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sts_that_throttles_or_fails_is_asked_three_times() {
    let front = Front::start().await;
    let ring = prod(&front, byok(&moto().key().await, None));
    for (status, code, fault) in [
        (
            400,
            "Throttling",
            KmsFault::Throttled {
                retry_after_seconds: 2,
            },
        ),
        (
            500,
            "InternalFailure",
            KmsFault::Unreachable {
                retry_after_seconds: 5,
            },
        ),
        (400, "ExpiredToken", KmsFault::AccessDenied),
    ] {
        front.rule(move |_| Answer::Text(status, sts_error(code)));
        let error = ring
            .wrap("prod", &CONTEXT, &IndexKey::generate())
            .await
            .err()
            .unwrap();
        assert_eq!(error.fault(), &fault, "{code}: {:?}", error.context());
        let calls = front.operations();
        let expected = if fault == KmsFault::AccessDenied { 1 } else { 3 };
        assert_eq!(calls, vec!["AssumeRole"; expected], "{code}");
    }
}

fn sts_error(code: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>not {ROLE}</Message></Error></ErrorResponse>"
    )
}

fn session(until: SystemTime) -> String {
    let seconds = until.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let until = aws_sdk_kms::primitives::DateTime::from_secs(seconds);
    let until = until
        .fmt(aws_sdk_kms::primitives::DateTimeFormat::DateTime)
        .unwrap();
    format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIATENANT</AccessKeyId>\
         <SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>{until}</Expiration>\
         </Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
}
