//! Keys that are missing, denied, wrong, disabled or not fit: the meaning and the number of calls of each. Where AWS refuses and
//! moto does not, the front refuses in AWS's words.

use super::*;
use crate::moto::moto;
use sealdex_coordinator::ports::KmsFault;
use sealdex_core::ErrorCode;
use sealdex_tests::aws::Answer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_kms_has_its_meaning_and_is_not_repeated() {
    let front = Front::start().await;
    let ring = prod(&front, slot(Provider::AwsKms, &moto().key().await));
    let key = IndexKey::generate();
    let envelope = wrapped(&ring, &key).await;
    front.calls();
    for (code, fault) in [
        ("NotFoundException", KmsFault::KeyNotFound),
        ("AccessDeniedException", KmsFault::AccessDenied),
        ("IncorrectKeyException", KmsFault::WrongKey),
        ("InvalidCiphertextException", KmsFault::WrongKey),
        ("DisabledException", KmsFault::Disabled),
        ("KMSInvalidStateException", KmsFault::Disabled),
        ("UnrecognizedClientException", KmsFault::AccessDenied),
    ] {
        front.rule(move |_| Answer::Error(400, code));
        let error = refused(&ring, &envelope, &CONTEXT).await;
        assert_eq!(
            (error.fault(), error.code()),
            (&fault, ErrorCode::Upstream),
            "{code}"
        );
        assert!(error.context().unwrap().contains(code), "{:?}", error.context());
        let error = ring.wrap("prod", &CONTEXT, &key).await.err().unwrap();
        assert_eq!(error.fault(), &fault, "{code}");
        assert_eq!(front.operations(), ["Decrypt", "Encrypt"], "{code}");
    }
    for code in [
        "InvalidKeyUsageException",
        "ValidationException",
        "InvalidArnException",
    ] {
        front.rule(move |_| Answer::Error(400, code));
        let error = refused(&ring, &envelope, &CONTEXT).await;
        assert!(
            matches!(error.fault(), KmsFault::Misconfigured(_)),
            "{code}: {error}"
        );
        assert_eq!(front.operations(), ["Decrypt"], "{code}");
    }
    // Nothing of this lasts.
    front.rule(|_| Answer::Motos);
    assert!(same(&ring.unwrap(&envelope, &CONTEXT).await.unwrap(), &key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_id_that_does_not_exist_is_told() {
    let front = Front::start().await;
    for id in ["00000000-0000-0000-0000-000000000000", "alias/absent"] {
        let ring = prod(&front, slot(Provider::AwsKms, id));
        let error = ring
            .wrap("prod", &CONTEXT, &IndexKey::generate())
            .await
            .err()
            .unwrap();
        assert_eq!(
            error.fault(),
            &KmsFault::KeyNotFound,
            "{id}: {:?}",
            error.context()
        );
        assert_eq!(front.operations(), ["Encrypt"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_key_and_one_pending_deletion_come_back_with_the_key() {
    let front = Front::start().await;
    let key_id = moto().key().await;
    let ring = prod(&front, slot(Provider::AwsKms, &key_id));
    let key = IndexKey::generate();
    let envelope = wrapped(&ring, &key).await;
    let kms = moto().kms(REGION, credentials());
    // Moto keeps the state of a key and uses it regardless, so the front asks for it as AWS would.
    let state = async || {
        let about = kms.describe_key().key_id(&key_id).send().await.unwrap();
        about.key_metadata.unwrap().key_state.unwrap().as_str().to_owned()
    };
    kms.disable_key().key_id(&key_id).send().await.unwrap();
    assert_eq!(state().await, "Disabled");
    front.rule(|_| Answer::Error(400, "DisabledException"));
    assert_eq!(
        refused(&ring, &envelope, &CONTEXT).await.fault(),
        &KmsFault::Disabled
    );
    kms.schedule_key_deletion().key_id(&key_id).send().await.unwrap();
    assert_eq!(state().await, "PendingDeletion");
    front.rule(|_| Answer::Error(400, "KMSInvalidStateException"));
    assert_eq!(
        refused(&ring, &envelope, &CONTEXT).await.fault(),
        &KmsFault::Disabled
    );
    kms.cancel_key_deletion().key_id(&key_id).send().await.unwrap();
    kms.enable_key().key_id(&key_id).send().await.unwrap();
    front.rule(|_| Answer::Motos);
    assert!(same(&ring.unwrap(&envelope, &CONTEXT).await.unwrap(), &key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_are_missing_deleted_or_not_32_bytes_are_told() {
    let front = Front::start().await;
    moto().secret("short", Some(&[1; 31]), None).await;
    moto()
        .secret("plain", None, Some("correct horse battery staple"))
        .await;
    moto().secret("padded", None, Some("AQID")).await;
    moto().secret("going", Some(&[1; 32]), None).await;
    let ring_of = |name: &str| prod(&front, slot(Provider::AwsSecret, name));
    let wrap = async |ring: &KeyRing| {
        let error = ring
            .wrap("prod", &CONTEXT, &IndexKey::generate())
            .await
            .err()
            .unwrap();
        assert_eq!(front.operations(), ["GetSecretValue"], "{error}");
        error
    };
    assert_eq!(wrap(&ring_of("absent")).await.fault(), &KmsFault::KeyNotFound);
    // Never made by us.
    assert_eq!(wrap(&ring_of("absent")).await.fault(), &KmsFault::KeyNotFound);
    for name in ["short", "plain", "padded"] {
        let error = wrap(&ring_of(name)).await;
        assert!(error.to_string().contains("32 random bytes"), "{error}");
        assert!(!format!("{error:?}").contains("horse"));
        assert_eq!(error.code(), ErrorCode::Upstream);
    }
    let going = ring_of("going");
    let envelope = wrapped(&going, &IndexKey::generate()).await;
    moto()
        .secrets()
        .delete_secret()
        .secret_id("going")
        .send()
        .await
        .unwrap();
    assert_eq!(
        refused(&going, &envelope, &CONTEXT).await.fault(),
        &KmsFault::Disabled
    );
    moto()
        .secrets()
        .restore_secret()
        .secret_id("going")
        .send()
        .await
        .unwrap();
    moto()
        .secrets()
        .put_secret_value()
        .secret_id("going")
        .secret_binary(aws_sdk_kms::primitives::Blob::new([2; 32]))
        .send()
        .await
        .unwrap();
    assert_eq!(
        refused(&going, &envelope, &CONTEXT).await.fault(),
        &KmsFault::WrongKey
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_length_is_no_index_key() {
    let front = Front::start().await;
    let ring = prod(&front, slot(Provider::AwsKms, &moto().key().await));
    let envelope = wrapped(&ring, &IndexKey::generate()).await;
    for (text, fault) in [
        (r#"{"Plaintext":"AQID","KeyId":"k"}"#, KmsFault::WrongKey),
        (
            r#"{"KeyId":"k"}"#,
            KmsFault::Unreachable {
                retry_after_seconds: 5,
            },
        ),
    ] {
        front.rule(move |_| Answer::Text(200, text.to_owned()));
        assert_eq!(refused(&ring, &envelope, &CONTEXT).await.fault(), &fault);
    }
}
