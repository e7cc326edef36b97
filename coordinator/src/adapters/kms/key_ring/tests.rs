//! The ring with key files, which need no network: what is bound, what a replaced registry changes, what files are refused.

use super::*;
use crate::adapters::registry::SlotConfig;
use sealdex_core::{ErrorCode, IndexId};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CONTEXT: KeyContext<'static> = KeyContext {
    deployment: [7; 16],
    index: IndexId(1),
    slot: "dev",
};

fn write(folder: &TempDir, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn registry(slots: &[(&str, Option<&Path>)]) -> Registry {
    let slot = |(name, file): &(&str, Option<&Path>)| {
        let config = SlotConfig {
            key_file: file.map(Path::to_owned),
            ..SlotConfig::new(Provider::Local)
        };
        ((*name).to_owned(), config)
    };
    Registry {
        slots: slots.iter().map(slot).collect(),
    }
}

async fn fault(ring: &KeyRing, wrapped: &WrappedKey, context: &KeyContext<'_>) -> KmsFault {
    let error = ring.unwrap(wrapped, context).await.err().unwrap();
    error.fault().clone()
}

#[tokio::test]
async fn what_a_key_file_wraps_unwraps_in_its_context_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "k", &[1; 32], 0o600);
    let ring = KeyRing::new(registry(&[("dev", Some(&file)), ("dev2", Some(&file))]));
    let key = IndexKey::generate();
    let wrapped = ring.wrap("dev", &CONTEXT, &key).await.unwrap();
    assert_eq!(
        (wrapped.slot.as_str(), wrapped.provider, wrapped.version),
        ("dev", Provider::Local, 1)
    );
    assert!((wrapped.key_id.as_str(), wrapped.region.as_str()) == ("", ""));
    assert!(wrapped.created_unix_seconds > 1_700_000_000);
    let unwrapped = ring.unwrap(&wrapped, &CONTEXT).await.unwrap();
    assert_eq!(unwrapped.expose_for_wrapping(), key.expose_for_wrapping());

    let other_index = KeyContext {
        index: IndexId(2),
        ..CONTEXT
    };
    let other_deployment = KeyContext {
        deployment: [8; 16],
        ..CONTEXT
    };
    for context in [other_index, other_deployment] {
        assert_eq!(fault(&ring, &wrapped, &context).await, KmsFault::WrongKey);
    }
    let moved = WrappedKey {
        slot: "dev2".into(),
        ..wrapped.clone()
    };
    assert_eq!(fault(&ring, &moved, &CONTEXT).await, KmsFault::WrongKey);
    let later = WrappedKey {
        version: 2,
        ..wrapped.clone()
    };
    assert!(matches!(
        fault(&ring, &later, &CONTEXT).await,
        KmsFault::Misconfigured(_)
    ));
    write(&folder, "k", &[2; 32], 0o600);
    assert_eq!(fault(&ring, &wrapped, &CONTEXT).await, KmsFault::WrongKey);
}

#[tokio::test]
async fn a_key_is_32_bytes_or_their_digits() {
    let folder = tempfile::tempdir().unwrap();
    let digits = "0aF1".repeat(16);
    let bytes: Vec<u8> = [0x0a, 0xf1].repeat(16);
    let file = write(&folder, "k", digits.as_bytes(), 0o400);
    let ring = KeyRing::new(registry(&[("dev", Some(&file))]));
    let wrapped = ring.wrap("dev", &CONTEXT, &IndexKey::generate()).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    for same in [
        format!("{digits}\n").into_bytes(),
        digits.to_uppercase().into_bytes(),
        bytes,
    ] {
        write(&folder, "k", &same, 0o600);
        assert!(ring.unwrap(&wrapped, &CONTEXT).await.is_ok());
    }
    for wrong in [
        vec![],
        vec![1; 31],
        vec![1; 33],
        vec![1; 64],
        vec![1; 1 << 20],
        digits.as_bytes()[1..].to_vec(),
        format!("{digits}\n\n").into_bytes(),
        format!(" {}", &digits[1..]).into_bytes(),
        "\u{661}".repeat(32).into_bytes(),
    ] {
        write(&folder, "k", &wrong, 0o600);
        let fault = fault(&ring, &wrapped, &CONTEXT).await;
        assert!(
            matches!(&fault, KmsFault::Misconfigured(cure) if cure.contains("32 bytes")),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_file_that_others_may_read_or_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    let file = write(&folder, "k", &[1; 32], 0o600);
    symlink(&file, &link).unwrap();
    let ring = KeyRing::new(registry(&[("dev", Some(&link))]));
    let wrapped = ring.wrap("dev", &CONTEXT, &IndexKey::generate()).await.unwrap();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
        write(&folder, "k", &[1; 32], mode);
        let error = ring.unwrap(&wrapped, &CONTEXT).await.err().unwrap();
        assert!(error.to_string().contains("chmod 600"), "{mode:o}: {error}");
        assert!(
            !error.to_string().contains(folder.path().to_str().unwrap()),
            "{error}"
        );
        assert!(error.context().unwrap().contains("chmod 600 /"), "{error:?}");
    }
    write(&folder, "k", &[1; 32], 0o600);
    assert!(ring.unwrap(&wrapped, &CONTEXT).await.is_ok());
    std::fs::remove_file(&file).unwrap();
    assert_eq!(fault(&ring, &wrapped, &CONTEXT).await, KmsFault::KeyNotFound);
    std::fs::create_dir(&file).unwrap();
    assert!(matches!(
        fault(&ring, &wrapped, &CONTEXT).await,
        KmsFault::Misconfigured(_)
    ));
}

#[tokio::test]
async fn a_replaced_registry_is_in_force_at_once_and_keeps_what_did_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "k", &[1; 32], 0o600);
    let ring = KeyRing::new(registry(&[("dev", Some(&file)), ("tmp", Some(&file))]));
    let wrapped = ring.wrap("tmp", &CONTEXT, &IndexKey::generate()).await.unwrap();
    let (dev, tmp) = (ring.find("dev").unwrap(), ring.find("tmp").unwrap());
    let other = write(&folder, "k2", &[2; 32], 0o600);
    ring.replace(registry(&[("dev", Some(&file)), ("tmp", Some(&other))]));
    assert!(Arc::ptr_eq(&dev, &ring.find("dev").unwrap()));
    assert!(!Arc::ptr_eq(&tmp, &ring.find("tmp").unwrap()));
    assert_eq!(fault(&ring, &wrapped, &CONTEXT).await, KmsFault::WrongKey);
    ring.replace(registry(&[("dev", Some(&file))]));
    let error = ring.unwrap(&wrapped, &CONTEXT).await.err().unwrap();
    assert_eq!(
        (error.to_string().as_str(), error.code()),
        (
            "slot 'tmp' is not in the registry; add it to kms.registry and reload",
            ErrorCode::Upstream
        )
    );
    assert_eq!(ring.slot("tmp"), None);
}

#[tokio::test]
async fn a_slot_that_lacks_what_it_needs_says_so_when_it_is_used() {
    let kms = SlotConfig::new(Provider::AwsKms);
    let secret = SlotConfig {
        key_id: Some("x".into()),
        external_id: Some("y".into()),
        region: Some("eu-west-1".into()),
        ..SlotConfig::new(Provider::AwsSecret)
    };
    let mut slots = registry(&[("file", None)]).slots;
    slots.extend([("kms".to_owned(), kms), ("secret".to_owned(), secret)]);
    let ring = KeyRing::new(Registry { slots });
    for (slot, cure) in [("file", "key_file"), ("kms", "key_id"), ("secret", "role_arn")] {
        let error = ring
            .wrap(slot, &CONTEXT, &IndexKey::generate())
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), ErrorCode::Upstream);
        assert!(
            error.to_string().contains(cure) && error.slot() == slot,
            "{error}"
        );
    }
    let facts = ring.slot("secret").unwrap();
    assert_eq!(
        (facts.provider, facts.key_id.as_str(), facts.region.as_str()),
        (Provider::AwsSecret, "x", "eu-west-1")
    );
}
