//! The overlays, as `kubectl kustomize` renders them: valid for every release of Kubernetes they are for, and safe by what is in them
//! rather than by what is written about them.

use super::{deploy, documents, list, output, text};
use sealdex_tests::server::Home;
use sealdex_tests::venv::venv;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

const OVERLAYS: [&str; 3] = ["single", "ha", "aws-kms"];
const ROLES: [&str; 2] = ["coordinator", "shard"];
/// The oldest that they are for, and the newest that is known.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];
/// The oldest kubectl whose kustomize knows what is written here.
const KUBECTL_MINOR_MIN: u32 = 27;

/// What an overlay renders to.
struct Overlay {
    name: &'static str,
    yaml: String,
    objects: Vec<Value>,
}

impl Overlay {
    fn render(name: &'static str) -> Self {
        let folder = deploy("kubernetes/overlays").join(name);
        let yaml = output(Command::new(kubectl()).arg("kustomize").arg(folder));
        let objects = documents(&yaml);
        Self { name, yaml, objects }
    }

    fn all() -> impl Iterator<Item = Self> {
        OVERLAYS.into_iter().map(Self::render)
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    #[track_caller]
    fn object(&self, kind: &str, name: &str) -> &Value {
        let found = self
            .of_kind(kind)
            .find(|object| object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{} has no {kind} {name}", self.name))
    }

    /// The pod that a role's set makes.
    #[track_caller]
    fn pod(&self, role: &str) -> &Value {
        &self.object("StatefulSet", role)["spec"]["template"]["spec"]
    }

    /// The data of the map whose generated name begins so.
    #[track_caller]
    fn config_map(&self, prefix: &str) -> &Value {
        let mut maps = self.of_kind("ConfigMap");
        let found = maps.find(|map| text(&map["metadata"]["name"]).starts_with(prefix));
        &found.unwrap_or_else(|| panic!("{} has no ConfigMap {prefix}", self.name))["data"]
    }
}

/// The one of this machine if it is new enough, else the one of the tests' environment.
fn kubectl() -> PathBuf {
    let version = Command::new("kubectl")
        .args(["version", "--client", "-o", "json"])
        .output();
    let minor = version.ok().and_then(|said| {
        let said: Value = serde_json::from_slice(&said.stdout).ok()?;
        let minor = said["clientVersion"]["minor"].as_str()?;
        minor
            .trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse::<u32>()
            .ok()
    });
    match minor {
        Some(minor) if minor >= KUBECTL_MINOR_MIN => "kubectl".into(),
        _ => venv("deploy").join("bin/kubectl"),
    }
}

#[test]
fn every_overlay_is_valid() {
    for overlay in Overlay::all() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(overlay.yaml.as_bytes()).unwrap();
        for version in KUBERNETES {
            let mut validate = Command::new(venv("deploy").join("bin/kubernetes-validate"));
            let said = output(validate.args(["--strict", "-k", version]).arg(file.path()));
            println!("{}, Kubernetes {version}: valid\n{said}", overlay.name);
        }
    }
}

/// Else the test above could not fail.
#[test]
fn a_misspelt_field_is_found() {
    let overlay = Overlay::render("ha");
    let wrong = overlay
        .yaml
        .replacen("readOnlyRootFilesystem", "readonlyRootFilesystem", 1);
    assert_ne!(wrong, overlay.yaml);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(wrong.as_bytes()).unwrap();
    let mut validate = Command::new(venv("deploy").join("bin/kubernetes-validate"));
    let said = validate
        .args(["--strict", "-k", KUBERNETES[0]])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(!said.status.success(), "{said:?}");
}

/// The profile `restricted`, which the namespace enforces, and beyond it a root that nobody writes to.
#[test]
fn pods_may_do_nothing_that_they_need_not() {
    for overlay in Overlay::all() {
        let labels = &overlay.object("Namespace", "sealdex")["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        for role in ROLES {
            let pod = overlay.pod(role);
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_ne!(pod["securityContext"]["runAsUser"], 0);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[host].is_null(), "{role} has {host}");
            }
            for volume in list(&pod["volumes"]) {
                assert!(volume["hostPath"].is_null(), "{volume}");
            }
            for container in list(&pod["containers"]) {
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                });
                assert_eq!(container["securityContext"], expected, "{role}");
                let resources = &container["resources"];
                assert_eq!(resources["limits"]["memory"], resources["requests"]["memory"]);
            }
        }
    }
}

/// A restart mends no lost majority and no key provider: what decides over one must not ask about them.
#[test]
fn probes_ask_the_admin_port_and_liveness_asks_only_whether_the_process_runs() {
    for overlay in Overlay::all() {
        for role in ROLES {
            let container = &overlay.pod(role)["containers"][0];
            for (probe, path) in [
                ("startupProbe", "/livez"),
                ("livenessProbe", "/livez"),
                ("readinessProbe", "/readyz"),
            ] {
                assert_eq!(
                    container[probe]["httpGet"],
                    json!({"path": path, "port": "admin"}),
                    "{role}"
                );
            }
            let drain = container["lifecycle"]["preStop"]["sleep"]["seconds"]
                .as_u64()
                .unwrap();
            let grace = overlay.pod(role)["terminationGracePeriodSeconds"]
                .as_u64()
                .unwrap();
            assert!(
                drain >= 5 && grace >= drain + 30,
                "{role}: {drain} s of {grace} s"
            );
        }
    }
}

/// Services, budgets, policies and spreads that select nothing are a silent nothing.
#[test]
fn what_selects_pods_finds_them() {
    for overlay in Overlay::all() {
        let pods: Vec<&Value> = ROLES
            .iter()
            .map(|role| &overlay.object("StatefulSet", role)["spec"]["template"]["metadata"]["labels"])
            .collect();
        let selected = |selector: &Value| {
            // One without labels selects all.
            let wanted = selector.as_object().into_iter().flatten();
            let all = |labels: &&&Value| wanted.clone().all(|(name, value)| labels[name] == *value);
            pods.iter().filter(all).count()
        };
        for service in overlay.of_kind("Service") {
            assert_eq!(selected(&service["spec"]["selector"]), 1, "{service}");
        }
        for budget in overlay.of_kind("PodDisruptionBudget") {
            assert_eq!(
                selected(&budget["spec"]["selector"]["matchLabels"]),
                1,
                "{budget}"
            );
            assert_eq!(budget["spec"]["maxUnavailable"], 1);
        }
        for policy in overlay.of_kind("NetworkPolicy") {
            let labels = &policy["spec"]["podSelector"]["matchLabels"];
            assert!(selected(labels) >= 1, "{policy}");
        }
        for role in ROLES {
            let set = &overlay.object("StatefulSet", role)["spec"];
            assert_eq!(selected(&set["selector"]["matchLabels"]), 1);
            let spread = &overlay.pod(role)["topologySpreadConstraints"][0];
            assert_eq!(selected(&spread["labelSelector"]["matchLabels"]), 1);
            let service = overlay.object("Service", text(&set["serviceName"]));
            assert_eq!(service["spec"]["clusterIP"], "None");
            assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
        }
    }
}

#[test]
fn nothing_is_let_in_or_out_but_what_is_named() {
    for overlay in Overlay::all() {
        let shut = &overlay.object("NetworkPolicy", "nothing-else")["spec"];
        assert_eq!(shut["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(shut["ingress"].is_null() && shut["egress"].is_null());
        let beyond: BTreeSet<&str> = overlay
            .of_kind("NetworkPolicy")
            .filter(|policy| policy["spec"]["egress"].to_string().contains("ipBlock"))
            .map(|policy| text(&policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]))
            .collect();
        let expected = if overlay.name == "aws-kms" {
            BTreeSet::from(["coordinator"])
        } else {
            BTreeSet::new()
        };
        assert_eq!(beyond, expected, "{}", overlay.name);
        let roles: Vec<&Value> = overlay
            .of_kind("ServiceAccount")
            .filter(|account| !account["metadata"]["annotations"].is_null())
            .map(|account| &account["metadata"]["name"])
            .collect();
        assert_eq!(roles.len(), expected.len(), "{}: {roles:?}", overlay.name);
    }
}

/// Each replica sees its own key alone, and finds everything under the names that are written for it.
#[test]
fn every_replica_has_its_certificate_and_its_peers() {
    for overlay in Overlay::all() {
        let nodes = overlay.config_map("nodes-");
        let joins: Vec<&str> = text(&nodes["SEALDEX_JOIN"]).split(',').collect();
        for role in ROLES {
            let set = &overlay.object("StatefulSet", role)["spec"];
            let replicas = set["replicas"].as_u64().unwrap();
            let pod = overlay.pod(role);
            let volumes = list(&pod["volumes"]);
            let certificates = volumes
                .iter()
                .find(|volume| volume["name"] == "certificates")
                .unwrap();
            let paths: BTreeSet<&str> = list(&certificates["secret"]["items"])
                .iter()
                .map(|item| text(&item["path"]))
                .collect();
            for replica in 0..replicas {
                let name = format!("{role}-{replica}");
                for file in ["ca", &name]
                    .map(|of| format!("{of}.crt"))
                    .into_iter()
                    .chain([format!("{name}.key")])
                {
                    let path = format!("{name}/{file}");
                    assert!(paths.contains(path.as_str()), "{}: {path}", overlay.name);
                }
            }
            let container = &pod["containers"][0];
            let mounts = list(&container["volumeMounts"]);
            let mounted = |name: &str| mounts.iter().find(|mount| mount["name"] == name).unwrap();
            assert_eq!(mounted("certificates")["subPathExpr"], "$(SEALDEX_NAME)");
            assert_eq!(mounted("certificates")["mountPath"], nodes["SEALDEX_TLS_DIR"]);
            let token = format!("{}/join-token", text(&mounted("join-token")["mountPath"]));
            assert_eq!(nodes["SEALDEX_JOIN_TOKEN_FILE"], token.as_str());
            for map in list(&container["envFrom"]) {
                let name = text(&map["configMapRef"]["name"]);
                overlay.object("ConfigMap", name);
            }
            if role == "coordinator" {
                let expected: Vec<String> = (0..replicas)
                    .map(|n| format!("coordinator-{n}.coordinator:7000"))
                    .collect();
                assert_eq!(joins, expected, "{}", overlay.name);
            }
        }
    }
}

/// What the README has an operator type makes certificates that are good for the addresses under which nodes join.
#[test]
fn certificates_are_good_for_where_nodes_join() {
    let readme = std::fs::read_to_string(deploy("kubernetes/README.md")).unwrap();
    let commands: String = readme
        .lines()
        .skip_while(|line| !line.starts_with("sealdex certs init"))
        .take_while(|line| !line.starts_with("for role in"))
        .map(|line| format!("{line}\n"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let binary = sealdex_tests::server::binary();
    let commands = commands.replace("sealdex certs", &format!("{} certs", binary.display()));
    let typed = format!("set -euo pipefail\n{commands}");
    output(
        Command::new("bash")
            .args(["-c", &typed])
            .current_dir(folder.path()),
    );
    for overlay in Overlay::all() {
        let nodes = overlay.config_map("nodes-");
        for host in text(&nodes["SEALDEX_JOIN"]).split(',') {
            let host = host.split(':').next().unwrap();
            let name = host.split('.').next().unwrap();
            let pem = std::fs::read(folder.path().join(format!("certs/{name}.crt"))).unwrap();
            let names = sealdex_peer::Names::of_certificate(&pem).unwrap();
            assert!(
                names.dns.iter().any(|dns| dns == host),
                "{}: {host}",
                overlay.name
            );
        }
    }
}

#[test]
fn a_machine_and_a_zone_may_be_lost_where_that_is_promised() {
    for name in ["ha", "aws-kms"] {
        let overlay = Overlay::render(name);
        for role in ROLES {
            assert!(overlay.object("StatefulSet", role)["spec"]["replicas"].as_u64() >= Some(3));
            let pod = overlay.pod(role);
            let apart = &pod["affinity"]["podAntiAffinity"];
            let required = list(&apart["requiredDuringSchedulingIgnoredDuringExecution"]);
            assert_eq!(required.len(), 1);
            assert_eq!(required[0]["topologyKey"], "kubernetes.io/hostname");
            assert_eq!(
                required[0]["labelSelector"]["matchLabels"]["app.kubernetes.io/component"],
                role
            );
            let spread = list(&pod["topologySpreadConstraints"]);
            assert_eq!(spread.len(), 1);
            assert_eq!(spread[0]["topologyKey"], "topology.kubernetes.io/zone");
            assert_eq!(spread[0]["whenUnsatisfiable"], "DoNotSchedule");
        }
    }
}

/// The server itself reads what the coordinators are given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_in_the_overlays_is_read() {
    for (overlay, slots) in [("ha", 0), ("aws-kms", 1)] {
        let overlay = Overlay::render(overlay);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sealdex.yaml");
        std::fs::write(&path, text(&overlay.config_map("configuration-")["sealdex.yaml"])).unwrap();
        let home = Home::new().with_variable("SEALDEX_CONFIG_FILE", path.to_str().unwrap());
        home.start().await.stop().await;
        let log = std::fs::read_to_string(home.log()).unwrap();
        assert!(log.contains(&format!("slots={slots}")), "{log}");
    }
}
