//! The compose file: every container shut in, every compose of this machine accepts it.

use super::{deploy, documents, list, output, text, works};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

const COORDINATORS: [&str; 3] = ["coordinator-1", "coordinator-2", "coordinator-3"];
const SHARDS: [&str; 3] = ["shard-1", "shard-2", "shard-3"];

fn file() -> Value {
    let yaml = std::fs::read_to_string(deploy("compose/docker-compose.yml")).unwrap();
    documents(&yaml).remove(0)
}

#[test]
fn every_compose_of_this_machine_accepts_it() {
    let mut accepted = 0;
    for words in [&["docker", "compose"][..], &["docker-compose"]] {
        let compose = || {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        if works(compose().arg("version")) {
            let path = deploy("compose/docker-compose.yml");
            output(compose().arg("-f").arg(path).args(["config", "--quiet"]));
            accepted += 1;
        }
    }
    println!("{accepted} of two kinds of compose are here, and accept the file");
}

/// What only one of them knows would be refused by the other.
#[test]
fn nothing_in_it_belongs_to_one_version_alone() {
    let known = BTreeSet::from(["services", "networks", "volumes", "secrets"]);
    let file = file();
    for key in file.as_object().unwrap().keys() {
        assert!(known.contains(key.as_str()) || key.starts_with("x-"), "{key}");
    }
}

#[test]
fn containers_may_do_nothing_that_they_need_not() {
    for (name, service) in file()["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(list(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(
            list(&service["security_opt"]),
            ["no-new-privileges:true"],
            "{name}"
        );
        assert_eq!(service["user"], "${SEALDEX_UID:-10001}:0", "{name}");
        assert_eq!(service["pull_policy"], "never", "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        for bound in ["mem_limit", "cpus", "pids_limit", "stop_grace_period"] {
            assert!(!service[bound].is_null(), "{name} has no {bound}");
        }
        assert!(
            service["privileged"].is_null() && service["cap_add"].is_null(),
            "{name}"
        );
    }
}

#[test]
fn only_coordinators_are_reached_from_outside_and_from_this_machine_alone() {
    let file = file();
    assert_eq!(file["networks"]["peers"]["internal"], true);
    for name in COORDINATORS {
        let service = &file["services"][name];
        for port in list(&service["ports"]) {
            assert!(text(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
        // By this name the others reach it, so that nothing of theirs takes the clients' network.
        let alias = format!("{name}.peers");
        assert_eq!(list(&service["networks"]["peers"]["aliases"]), [alias.as_str()]);
        let join = text(&service["environment"]["SEALDEX_JOIN"]);
        assert!(
            join.split(',').any(|peer| peer == format!("{alias}:7000")),
            "{join}"
        );
    }
    for name in SHARDS {
        let service = &file["services"][name];
        assert!(service["ports"].is_null(), "{name}");
        assert_eq!(list(&service["networks"]), ["peers"], "{name}");
    }
}

#[test]
fn every_node_has_its_own_disk_and_sees_no_key_but_its_own() {
    let file = file();
    let services = file["services"].as_object().unwrap();
    let names: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, COORDINATORS.into_iter().chain(SHARDS).collect());
    for (name, service) in services {
        let certificate = format!("${{SEALDEX_RUN_DIR:-./run}}/certs/{name}:/certs:ro");
        let volumes = [format!("{name}:/data"), certificate];
        assert_eq!(list(&service["volumes"]), volumes, "{name}");
        assert!(file["volumes"].get(name).is_some(), "{name}");
        let command: Vec<&str> = list(&service["command"]).iter().map(text).collect();
        let role = name.split('-').next().unwrap();
        assert_eq!(command[..3], [role, "--name", name], "{name}");
    }
    let begins = |name: &&&str| {
        list(&services[**name]["command"])
            .iter()
            .any(|word| word == "--bootstrap")
    };
    assert_eq!(COORDINATORS.iter().filter(begins).count(), 1);
}
