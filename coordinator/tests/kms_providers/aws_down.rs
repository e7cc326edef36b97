//! AWS that throttles, fails, hangs or is not there: bounded repetitions, bounded time, and no other slot disturbed.

use super::*;
use crate::moto::moto;
use sealdex_coordinator::ports::KmsFault;
use sealdex_core::ErrorCode;
use sealdex_tests::aws::Answer;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const UNREACHABLE: KmsFault = KmsFault::Unreachable {
    retry_after_seconds: 5,
};

/// The limit of a call, and room for a loaded machine.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_and_failures_are_repeated_twice() {
    let front = Front::start().await;
    moto().secret("throttled", Some(&[3; 32]), None).await;
    for config in [
        slot(Provider::AwsKms, &moto().key().await),
        slot(Provider::AwsSecret, "throttled"),
    ] {
        let ring = prod(&front, config);
        let envelope = wrapped(&ring, &IndexKey::generate()).await;
        for (status, code, fault) in [
            (
                400,
                "ThrottlingException",
                KmsFault::Throttled {
                    retry_after_seconds: 2,
                },
            ),
            (500, "KMSInternalException", UNREACHABLE),
            (503, "", UNREACHABLE),
        ] {
            front.calls();
            front.rule(move |_| Answer::Error(status, code));
            let begun = Instant::now();
            let error = refused(&ring, &envelope, &CONTEXT).await;
            assert_eq!(error.fault(), &fault, "{code}");
            assert!(matches!(error.code(), ErrorCode::Unavailable { .. }));
            assert_eq!(front.calls().len(), 3, "{code}");
            assert!(begun.elapsed() < CALL_TIME_MAX);
        }
        front.rule(|_| Answer::Motos);
        assert!(ring.unwrap(&envelope, &CONTEXT).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_failure_is_not_noticed() {
    let front = Front::start().await;
    let ring = prod(&front, slot(Provider::AwsKms, &moto().key().await));
    let failed = std::sync::atomic::AtomicBool::new(false);
    front.rule(
        move |_| match failed.swap(true, std::sync::atomic::Ordering::Relaxed) {
            false => Answer::Error(500, "KMSInternalException"),
            true => Answer::Motos,
        },
    );
    wrapped(&ring, &IndexKey::generate()).await;
    assert_eq!(front.operations(), ["Encrypt", "Encrypt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_is_left_in_time_and_holds_up_no_other_slot() {
    let (hanging, well) = (
        slot(Provider::AwsKms, "hanging"),
        slot(Provider::AwsKms, &moto().key().await),
    );
    let front = Front::start().await;
    front.rule(|call| {
        if call.body.contains("hanging") {
            Answer::Never
        } else {
            Answer::Motos
        }
    });
    let ring = Arc::new(ring(&front, registry([("hanging", hanging), ("prod", well)])));
    let begun = Instant::now();
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let ring = ring.clone();
            tokio::spawn(async move { ring.wrap("hanging", &CONTEXT, &IndexKey::generate()).await.err() })
        })
        .collect();
    while front.operations().is_empty() {
        tokio::task::yield_now().await;
    }
    let other = Instant::now();
    wrapped(&ring, &IndexKey::generate()).await;
    assert!(
        other.elapsed() < Duration::from_secs(4),
        "held up for {:?}",
        other.elapsed()
    );
    for waiter in waiting {
        assert_eq!(waiter.await.unwrap().unwrap().fault(), &UNREACHABLE);
    }
    assert!(
        begun.elapsed() < CALL_TIME_MAX,
        "left after {:?}",
        begun.elapsed()
    );
    // No more under way at a time than a slot may have, each begun twice within the time.
    assert!(front.operations().len() <= 16 * 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_is_told_soon_and_used_again_when_it_is_up() {
    let front = Front::start().await;
    let ring = prod(&front, slot(Provider::AwsKms, &moto().key().await));
    let envelope = wrapped(&ring, &IndexKey::generate()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = AwsOptions {
        endpoint_url: Some(format!("http://{address}")),
        credentials: Some(credentials()),
    };
    let down = KeyRing::with_options(
        registry([("prod", slot(Provider::AwsKms, &envelope.key_id))]),
        options,
    );
    let begun = Instant::now();
    let error = refused(&down, &envelope, &CONTEXT).await;
    assert_eq!(
        (error.fault(), error.code()),
        (
            &UNREACHABLE,
            ErrorCode::Unavailable {
                retry_after_seconds: 5
            }
        )
    );
    assert!(begun.elapsed() < CALL_TIME_MAX);
    let _up = Front::listen(TcpListener::bind(address).await.unwrap());
    assert!(down.unwrap(&envelope, &CONTEXT).await.is_ok());
}
