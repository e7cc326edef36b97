//! What each provider wraps, unwraps: with its own key, in its own context, as its envelope recorded it, in one call.

use super::*;
use crate::moto::moto;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealdex_coordinator::ports::KmsFault;
use sealdex_coordinator::service::KeyCache;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_kms_wraps_and_unwraps_in_one_call_each() {
    let front = Front::start().await;
    let key_id = moto().key().await;
    let ring = prod(&front, slot(Provider::AwsKms, &key_id));
    assert_eq!(front.operations(), [""; 0]);
    let key = IndexKey::generate();
    let wrapped = wrapped(&ring, &key).await;
    assert_eq!(
        (
            wrapped.slot.as_str(),
            wrapped.provider,
            wrapped.key_id.as_str(),
            wrapped.region.as_str()
        ),
        ("prod", Provider::AwsKms, key_id.as_str(), REGION)
    );
    assert!(
        !wrapped
            .wrapped
            .windows(32)
            .any(|window| window == key.expose_for_wrapping())
    );
    assert!(same(&ring.unwrap(&wrapped, &CONTEXT).await.unwrap(), &key));
    let calls = front.calls();
    let operations: Vec<_> = calls.iter().map(|call| call.operation.as_str()).collect();
    assert_eq!(operations, ["Encrypt", "Decrypt"]);
    for call in calls {
        let body: serde_json::Value = serde_json::from_str(&call.body).unwrap();
        assert_eq!(body["KeyId"], key_id.as_str());
        assert_eq!(
            body["EncryptionContext"],
            serde_json::json!({
                "sealdex:deployment": "07".repeat(16),
                "sealdex:index": "0000000000000051",
                "sealdex:slot": "prod",
            })
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_manager_wraps_under_binary_and_text() {
    let front = Front::start().await;
    let secret = [9; 32];
    moto().secret("binary", Some(&secret), None).await;
    moto()
        .secret("text", None, Some(&format!("{}\n", STANDARD.encode(secret))))
        .await;
    let key = IndexKey::generate();
    let ring = ring(
        &front,
        registry([
            ("prod", slot(Provider::AwsSecret, "binary")),
            ("b", slot(Provider::AwsSecret, "text")),
        ]),
    );
    let wrapped = wrapped(&ring, &key).await;
    assert_eq!(
        (wrapped.provider, wrapped.key_id.as_str()),
        (Provider::AwsSecret, "binary")
    );
    assert!(same(&ring.unwrap(&wrapped, &CONTEXT).await.unwrap(), &key));
    assert_eq!(front.operations(), ["GetSecretValue", "GetSecretValue"]);
    // Both hold the same secret, in its two forms.
    let by_text = WrappedKey {
        key_id: "text".into(),
        ..wrapped
    };
    assert!(same(&ring.unwrap(&by_text, &CONTEXT).await.unwrap(), &key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrapped_key_is_bound_to_deployment_index_and_slot() {
    let front = Front::start().await;
    moto().secret("bound", Some(&[3; 32]), None).await;
    for config in [
        slot(Provider::AwsKms, &moto().key().await),
        slot(Provider::AwsSecret, "bound"),
    ] {
        let ring = ring(&front, registry([("prod", config.clone()), ("other", config)]));
        let wrapped = wrapped(&ring, &IndexKey::generate()).await;
        for context in [
            KeyContext {
                deployment: [8; 16],
                ..CONTEXT
            },
            KeyContext {
                index: IndexId(0x52),
                ..CONTEXT
            },
        ] {
            assert_eq!(
                refused(&ring, &wrapped, &context).await.fault(),
                &KmsFault::WrongKey
            );
        }
        let moved = WrappedKey {
            slot: "other".into(),
            ..wrapped.clone()
        };
        assert_eq!(
            refused(&ring, &moved, &CONTEXT).await.fault(),
            &KmsFault::WrongKey
        );
        let mut changed = wrapped.clone();
        *changed.wrapped.last_mut().unwrap() ^= 1;
        assert_eq!(
            refused(&ring, &changed, &CONTEXT).await.fault(),
            &KmsFault::WrongKey
        );
        assert!(ring.unwrap(&wrapped, &CONTEXT).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_unwraps_with_the_key_it_records_after_its_slot_changed() {
    let front = Front::start().await;
    let (old, new) = (moto().key().await, moto().key().await);
    let ring = prod(&front, slot(Provider::AwsKms, &old));
    let key = IndexKey::generate();
    let before = wrapped(&ring, &key).await;
    ring.replace(registry([("prod", slot(Provider::AwsKms, &new))]));
    let after = wrapped(&ring, &key).await;
    assert_eq!((&before.key_id, &after.key_id), (&old, &new));
    front.calls();
    for (envelope, id) in [(&before, &old), (&after, &new)] {
        assert!(same(&ring.unwrap(envelope, &CONTEXT).await.unwrap(), &key));
        let calls = front.calls();
        assert!(
            calls.len() == 1 && calls[0].body.contains(id.as_str()),
            "{}",
            calls[0].body
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_openings_at_once_are_one_call() {
    let front = Front::start().await;
    let ring = Arc::new(prod(&front, slot(Provider::AwsKms, &moto().key().await)));
    let key = IndexKey::generate();
    let envelope = Arc::new(wrapped(&ring, &key).await);
    front.calls();
    let cache = Arc::new(KeyCache::<KmsError>::new(
        Duration::from_secs(60),
        KmsError::lasts,
    ));
    let openings: Vec<_> = (0..100)
        .map(|_| {
            let (cache, ring, envelope) = (cache.clone(), ring.clone(), envelope.clone());
            tokio::spawn(async move {
                let load = || async move { ring.unwrap(&envelope, &CONTEXT).await.map(Arc::new) };
                cache.get_or_load(CONTEXT.index, load).await
            })
        })
        .collect();
    for opening in openings {
        assert!(same(&opening.await.unwrap().unwrap(), &key));
    }
    assert_eq!(front.operations(), ["Decrypt"]);
}
