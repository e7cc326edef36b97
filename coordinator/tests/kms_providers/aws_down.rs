//! AWS that throttles, fails, hangs or is not there: bounded repetitions, an end to waiting, and no other slot disturbed. What
//! has to take long is never waited for, and nothing is measured: a loaded machine takes any time for anything.

use super::*;
use crate::moto::moto;
use sealdex_coordinator::ports::KmsFault;
use sealdex_core::ErrorCode;
use sealdex_tests::aws::Answer;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// As many calls of one slot are under way at a time.
const CALLS_MAX: usize = 16;

const UNREACHABLE: KmsFault = KmsFault::Unreachable {
    retry_after_seconds: 5,
};

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
            let error = refused(&ring, &envelope, &CONTEXT).await;
            assert_eq!(error.fault(), &fault, "{code}");
            assert!(matches!(error.code(), ErrorCode::Unavailable { .. }));
            assert_eq!(front.calls().len(), 3, "{code}");
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

/// A front behind which nothing answers calls about the key `hanging`, and how many of these have come.
async fn hanging_front() -> (Front, Arc<AtomicUsize>) {
    let (front, came) = (Front::start().await, Arc::new(AtomicUsize::new(0)));
    let hung = came.clone();
    front.rule(move |call| match call.body.contains("hanging") {
        true => {
            hung.fetch_add(1, Ordering::SeqCst);
            Answer::Never
        }
        false => Answer::Motos,
    });
    (front, came)
}

/// Many at a time who want a key wrapped by the slot that hangs, and are told nothing or why not.
fn wait_for_it(ring: &Arc<KeyRing>) -> Vec<JoinHandle<Option<KmsError>>> {
    let wait = |_| {
        let ring = ring.clone();
        tokio::spawn(async move { ring.wrap("hanging", &CONTEXT, &IndexKey::generate()).await.err() })
    };
    (0..100).map(wait).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_holds_up_no_other_slot() {
    let (hanging, well) = (
        slot(Provider::AwsKms, "hanging"),
        slot(Provider::AwsKms, &moto().key().await),
    );
    let (front, came) = hanging_front().await;
    let ring = Arc::new(ring(&front, registry([("hanging", hanging), ("prod", well)])));
    let waiting = wait_for_it(&ring);
    while came.load(Ordering::SeqCst) < CALLS_MAX {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wrapped(&ring, &IndexKey::generate()).await;
    assert!(
        waiting.iter().all(|waiter| !waiter.is_finished()),
        "the other slot was served only when this one had given up"
    );
    assert_eq!(
        came.load(Ordering::SeqCst),
        CALLS_MAX,
        "as many under way as a slot may have"
    );
    waiting.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_hangs_is_left() {
    let (front, _) = hanging_front().await;
    let short = Patience {
        call: Duration::from_millis(300),
        ..LONG
    };
    let slots = registry([("hanging", slot(Provider::AwsKms, "hanging"))]);
    let ring = Arc::new(patient_ring(front.url(), slots, short));
    for waiter in wait_for_it(&ring) {
        assert_eq!(waiter.await.unwrap().unwrap().fault(), &UNREACHABLE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_is_told_and_used_again_when_it_is_up() {
    let front = Front::start().await;
    let ring = prod(&front, slot(Provider::AwsKms, &moto().key().await));
    let envelope = wrapped(&ring, &IndexKey::generate()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let down = ring_at(
        format!("http://{address}"),
        registry([("prod", slot(Provider::AwsKms, &envelope.key_id))]),
    );
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
    let _up = Front::listen(TcpListener::bind(address).await.unwrap());
    assert!(down.unwrap(&envelope, &CONTEXT).await.is_ok());
}
