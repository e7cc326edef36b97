//! Nodes that cannot join, or are not to any more: one line that names the cure, an end that tells failure from a wish, and nothing of them
//! is left in the deployment.

#![allow(clippy::unwrap_used)]

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use sealdex_tests::nodes::{Kind, Nodes, certs};
use sealdex_tests::small_disk::{SmallDisk, may_mount};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(86_400);

/// A node that was started ends with an error, and these words stand in one of its last lines.
#[track_caller]
fn refused(nodes: &mut Nodes, n: usize, words: &[&str]) {
    let (status, said) = nodes.run(n);
    assert!(!status.success(), "{said}");
    let line = said
        .lines()
        .find(|line| words.iter().all(|word| line.contains(word)));
    assert!(line.is_some(), "no line with {words:?} in\n{said}");
    assert!(!nodes.has_joined(n));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_asked_to_end_while_it_joins_does_so_and_may_come_again() {
    let mut nodes = Nodes::new(2, 1).with_variable("SEALDEX_EXPECTED_SHARDS", "1");
    let (first, second, shard) = (0, 1, 2);
    // The one that begins waits for the others, those that join wait for it.
    for (n, signal) in [(shard, "TERM"), (second, "TERM"), (first, "INT")] {
        nodes.start(n);
        nodes.says(n, "not joined yet", 1).await;
        let probed = nodes.admin(n).get("/readyz").await.unwrap();
        assert!(probed.text().contains("starting"), "{}", probed.text());
        nodes.signal(n, signal);
        let (status, said) = nodes.ends(n);
        assert!(status.success(), "{status}\n{said}");
        assert!(said.contains("asked to end before it served"), "{said}");
        assert!(!nodes.has_joined(n));
    }
    nodes.start_all().await;
    for n in [first, second, shard] {
        nodes.ready(n).await;
        assert!(nodes.has_joined(n));
    }
    // Later starts join nobody, and may wait as well.
    nodes.stop(first).await;
    nodes.stop(second).await;
    nodes.start(second);
    nodes.says(second, "part of the deployment", 2).await;
    nodes.signal(second, "TERM");
    let (status, said) = nodes.ends(second);
    assert!(status.success(), "{status}\n{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_of_a_name_is_told_so_and_the_first_goes_on() {
    let mut nodes = Nodes::new(1, 1).with_variable("SEALDEX_EXPECTED_SHARDS", "1");
    nodes.start_all().await;
    let (coordinator, shard) = (0, 1);
    let namesake = nodes.add_namesake(shard);
    refused(&mut nodes, namesake, &["has that name", "choose another name"]);
    nodes.ready(shard).await;
    nodes.usable(coordinator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reaches_nobody_says_whom_it_asked() {
    let mut nodes = Nodes::new(2, 1).with_variable("SEALDEX_JOIN_PATIENCE_SECONDS", "1");
    for n in nodes
        .all(Kind::Shard)
        .into_iter()
        .chain(nodes.all(Kind::Coordinator))
    {
        refused(&mut nodes, n, &["not let in within", "--join", "127.0.0.1:"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_certificate_says_which_file_it_lacks() {
    let mut nodes = Nodes::new(1, 1);
    for n in [0, 1] {
        for file in [format!("{}.key", nodes.name(n)), format!("{}.crt", nodes.name(n))] {
            fs::remove_file(nodes.tls().join(&file)).unwrap();
            refused(&mut nodes, n, &[file.as_str(), "sealdex certs", "--tls-dir"]);
        }
    }
    fs::remove_file(nodes.tls().join("ca.crt")).unwrap();
    refused(&mut nodes, 1, &["ca.crt", "sealdex certs"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_authority_is_told_just_that() {
    let mut nodes = Nodes::new(1, 1);
    let (coordinator, shard) = (0, 1);
    nodes.start(coordinator);
    nodes.says(coordinator, "part of the deployment", 1).await;
    // Whoever runs has read its files.
    let other = nodes.folder().join("other");
    certs(&other, &["init"]);
    certs(
        &other,
        &[
            "node",
            "--role",
            "shard",
            "--name",
            "shard-1",
            "--ip",
            "127.0.0.1",
        ],
    );
    for file in ["ca.crt", "shard-1.crt", "shard-1.key"] {
        fs::copy(other.join(file), nodes.tls().join(file)).unwrap();
    }
    let (address, ca) = (nodes.peer_address(coordinator), nodes.tls().join("ca.crt"));
    refused(
        &mut nodes,
        shard,
        &[
            "error: the certificate of the node at",
            address.as_str(),
            "is not signed by the authority in",
            ca.to_str().unwrap(),
            "sealdex certs node",
        ],
    );
}

/// A certificate of the deployment's authority, good from `begin` to `end`, both by this machine's clock.
fn certificate(tls: &Path, begin: SystemTime, end: SystemTime) {
    let read = |file: &str| fs::read_to_string(tls.join(file)).unwrap();
    let issuer = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt"), issuer).unwrap();
    let time = |at: SystemTime| rcgen::date_time_ymd(1970, 1, 1) + at.duration_since(UNIX_EPOCH).unwrap();
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (time(begin), time(end));
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.subject_alt_names = vec![
        SanType::DnsName("shard-1".try_into().unwrap()),
        SanType::URI("sealdex://shard/shard-1".try_into().unwrap()),
    ];
    let key = KeyPair::generate().unwrap();
    fs::write(
        tls.join("shard-1.crt"),
        params.signed_by(&key, &issuer).unwrap().pem(),
    )
    .unwrap();
    fs::write(tls.join("shard-1.key"), key.serialize_pem()).unwrap();
}

/// Whether the clock or the certificate is wrong looks the same to the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_wrong_is_told_to_set_it() {
    let mut nodes = Nodes::new(1, 1);
    let (tls, now) = (nodes.tls(), SystemTime::now());
    certificate(&tls, now + DAY, now + 30 * DAY);
    refused(
        &mut nodes,
        1,
        &["shard-1.crt", "not valid yet", "set this machine's clock"],
    );
    certificate(&tls, now - 30 * DAY, now - DAY);
    refused(
        &mut nodes,
        1,
        &[
            "shard-1.crt",
            "has expired",
            "sealdex certs node",
            "set this machine's clock",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_full_disk_does_not_join_until_there_is_room() {
    if !may_mount("a_node_on_a_full_disk_does_not_join_until_there_is_room") {
        return;
    }
    let mut nodes = Nodes::new(1, 1)
        .with_variable("SEALDEX_EXPECTED_SHARDS", "1")
        .with_variable("SEALDEX_DISK_RESERVE_MIB", "64");
    let (coordinator, shard) = (0, 1);
    let disks = [coordinator, shard].map(|n| {
        fs::create_dir_all(nodes.data(n)).unwrap();
        SmallDisk::mount_at(nodes.data(n), 512)
    });
    for (n, disk) in [coordinator, shard].into_iter().zip(&disks) {
        // Not even room for who it is, and then for that but for nothing else.
        disk.fill(0);
        refused(&mut nodes, n, &["disk"]);
        disk.empty();
        disk.fill(1 << 20);
        refused(&mut nodes, n, &["its disk is full", "free some MiB"]);
        disk.empty();
    }
    nodes.start_all().await;
    nodes.ready(shard).await;
    for n in [coordinator, shard] {
        nodes.kill(n);
    }
}
