//! The key ring against AWS as moto imitates it, and against AWS refusing, throttling, hanging and gone, call by call.
#![allow(clippy::unwrap_used)]

mod aws_down;
mod aws_refuses;
mod environment;
mod moto;
mod roles;
mod round_trips;

use moto::{REGION, credentials};
use sealdex_coordinator::adapters::kms::{AwsOptions, KeyRing, Patience, WrappedKey};
use sealdex_coordinator::adapters::registry::{Provider, Registry, SlotConfig};
use sealdex_coordinator::ports::{KeyContext, KmsError};
use sealdex_core::IndexId;
use sealdex_crypto::IndexKey;
use sealdex_tests::aws::Front;
use std::time::Duration;

const CONTEXT: KeyContext<'static> = KeyContext {
    deployment: [7; 16],
    index: IndexId(0x51),
    slot: "prod",
};

/// A slot with a key in the region of the tests.
fn slot(provider: Provider, key_id: &str) -> SlotConfig {
    SlotConfig {
        key_id: Some(key_id.to_owned()),
        region: Some(REGION.to_owned()),
        ..SlotConfig::new(provider)
    }
}

fn registry<const N: usize>(slots: [(&str, SlotConfig); N]) -> Registry {
    Registry {
        slots: slots
            .into_iter()
            .map(|(name, config)| (name.to_owned(), config))
            .collect(),
    }
}

/// A ring whose only AWS is at `url`, and waits for it longer than a loaded machine takes.
fn ring_at(url: String, registry: Registry) -> KeyRing {
    patient_ring(url, registry, LONG)
}

fn patient_ring(url: String, registry: Registry, patience: Patience) -> KeyRing {
    let options = AwsOptions {
        endpoint_url: Some(url),
        credentials: Some(credentials()),
        patience,
    };
    KeyRing::with_options(registry, options)
}

/// A ring whose only AWS is `front`.
fn ring(front: &Front, registry: Registry) -> KeyRing {
    ring_at(front.url(), registry)
}

/// No test waits so long for what it expects.
const LONG: Patience = Patience {
    connection: Duration::from_secs(60),
    attempt: Duration::from_secs(60),
    call: Duration::from_secs(60),
};

/// A ring whose slot `prod` has `config`.
fn prod(front: &Front, config: SlotConfig) -> KeyRing {
    ring(front, registry([("prod", config)]))
}

async fn wrapped(ring: &KeyRing, key: &IndexKey) -> WrappedKey {
    ring.wrap("prod", &CONTEXT, key)
        .await
        .unwrap_or_else(|error| panic!("{error} ({:?})", error.context()))
}

async fn refused(ring: &KeyRing, wrapped: &WrappedKey, context: &KeyContext<'_>) -> KmsError {
    let error = ring
        .unwrap(wrapped, context)
        .await
        .err()
        .expect("it should not unwrap");
    let text = error.to_string();
    assert!(text.contains(&format!("slot '{}'", wrapped.slot)), "{text}");
    assert!(!text.contains("arn:"), "{text}");
    error
}

fn same(one: &IndexKey, other: &IndexKey) -> bool {
    one.expose_for_wrapping() == other.expose_for_wrapping()
}
