//! Configuration files as operators write them, right and wrong.

use super::*;

fn parse(text: &str) -> Result<ConfigFile, ConfigFault> {
    ConfigFile::parse(text, &|name| match name {
        "TENANT_ROLE" => Some("arn:aws:iam::111122223333:role/sealdex".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

#[track_caller]
fn refused(text: &str, line: u64, part: &str) {
    let fault = parse(text).err().unwrap_or_else(|| panic!("accepted:\n{text}"));
    assert_eq!(fault.line, line, "{fault}");
    assert!(fault.text.contains(part), "{fault}");
    assert!(!fault.text.contains("s3cret"), "{fault}");
}

#[test]
fn slots_are_read_as_the_peer_documents_them() {
    let text = r#"
kms:
  registry:
    prod-aws:
      provider: aws-kms
      key_id: alias/sealdex
      region: ${REGION:-eu-west-1}
    tenant-7:
      provider: aws
      key_id: arn:aws:secretsmanager:us-east-1:111122223333:secret:kek
      role_arn: ${TENANT_ROLE}
      external_id: 007
      role_session_name: "sealdex-7"
      region:
    dev: {provider: local, key_file: /etc/sealdex/dev.key}
  later: [what, we, do, not, know]
s3: {bucket: x}
"#;
    let slots = parse(text).unwrap().registry.slots;
    assert_eq!(slots.keys().collect::<Vec<_>>(), ["dev", "prod-aws", "tenant-7"]);
    assert_eq!(
        slots["prod-aws"],
        SlotConfig {
            key_id: Some("alias/sealdex".into()),
            region: Some("eu-west-1".into()),
            ..SlotConfig::new(Provider::AwsKms)
        }
    );
    assert_eq!(
        slots["tenant-7"],
        SlotConfig {
            key_id: Some("arn:aws:secretsmanager:us-east-1:111122223333:secret:kek".into()),
            role_arn: Some("arn:aws:iam::111122223333:role/sealdex".into()),
            external_id: Some("007".into()),
            role_session_name: Some("sealdex-7".into()),
            ..SlotConfig::new(Provider::AwsSecret)
        }
    );
    assert_eq!(slots["dev"].key_file, Some("/etc/sealdex/dev.key".into()));
}

#[test]
fn an_empty_file_is_a_file() {
    for text in [
        "",
        "\n# nothing\n",
        "kms:\n",
        "kms:\n  registry:\n",
        "service:\n",
        "kms: {registry: {}}\nservice: {}",
    ] {
        let file = parse(text).unwrap_or_else(|fault| panic!("{text:?}: {fault}"));
        assert!(file.registry.slots.is_empty() && file.service.names().next().is_none());
    }
}

#[test]
fn mistakes_are_told_with_their_line_and_cure() {
    let slot = |rest: &str| format!("kms:\n  registry:\n    prod:\n      provider: aws-kms\n{rest}");
    refused(&slot("      keyid: x\n"), 5, "'keyid'");
    refused(&slot("      key_id: ${ABSENT}\n"), 5, "ABSENT is not set");
    refused(&slot("      key_id: ${EMPTY}\n"), 5, "EMPTY is not set");
    refused(&slot("      key_id: [s3cret]\n"), 5, "correct the YAML");
    refused(&slot("      key_id: {a: s3cret}\n"), 5, "correct the YAML");
    refused(&slot("      key_id: 's3cret\n"), 6, "correct the YAML");
    refused(
        "kms:\n  registry:\n    prod: {provider: none}\n",
        3,
        "remove the slot",
    );
    refused(
        "kms:\n  registry:\n    prod: {provider: gcp}\n",
        3,
        "'aws-kms', 'aws'",
    );
    refused("kms:\n  registry:\n    prod: {key_id: x}\n", 3, "has no provider");
    refused("kms:\n  registry:\n    prod:\n", 3, "has no provider");
    refused("kms:\n  registry: s3cret\n", 2, "correct the YAML");
    refused("kms: s3cret\n", 1, "correct the YAML");
    refused("service: s3cret\n", 1, "correct the YAML");
    refused("service:\n  PORT: [s3cret]\n", 2, "correct the YAML");
    refused(
        "service:\n  CYBORGDB_SERVICE_ROOT_KEY: ${ABSENT}\n",
        2,
        "ABSENT is not set",
    );
    refused("service:\n\tPORT: s3cret\n", 2, "correct the YAML");
    refused("kms: {}\nkms: {}\n", 2, "correct the YAML");
}

#[test]
fn service_settings_are_text_under_upper_case_names() {
    let text = "
service:
  port: 8443
  CyborgDB_Service_Root_Key: 0012e3
  CPU_THREADS:
  AUTO_TRAIN_DISABLED: true
  SEALDEX_HOST: 0.0.0.0
  CYBORGDB_DISK_PATH: ${ABSENT:-}
  CYBORGDB_API_KEY: ${ABSENT}
  gpu_operations: [none]
";
    let service = parse(text).unwrap().service;
    let names: Vec<_> = service.names().collect();
    assert_eq!(
        names,
        [
            "AUTO_TRAIN_DISABLED",
            "CYBORGDB_SERVICE_ROOT_KEY",
            "PORT",
            "SEALDEX_HOST"
        ]
    );
    let value = |name| {
        service
            .get(name)
            .map(|setting| (setting.text.expose(), setting.line))
    };
    assert_eq!(value("PORT"), Some(("8443", 3)));
    assert_eq!(value("CYBORGDB_SERVICE_ROOT_KEY"), Some(("0012e3", 4)));
    assert_eq!(value("AUTO_TRAIN_DISABLED"), Some(("true", 6)));
}

#[test]
fn a_reload_takes_a_sound_file_and_leaves_the_old_registry_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealdex.yaml");
    let ring = crate::adapters::kms::KeyRing::new(Registry::default());
    let unset = |_: &str| None;
    assert!(
        reload(&ring, &path, &unset)
            .unwrap_err()
            .to_string()
            .contains("sealdex.yaml")
    );
    std::fs::write(&path, "kms: {registry: {dev: {provider: local, key_file: /k}}}").unwrap();
    reload(&ring, &path, &unset).unwrap();
    assert!(ring.slot("dev").is_some());
    std::fs::write(&path, "kms: {registry: {dev: {provider: locl}}}").unwrap();
    let said = reload(&ring, &path, &unset).unwrap_err().to_string();
    assert!(said.contains("sealdex.yaml, line 1: kms.registry.dev"), "{said}");
    assert!(ring.slot("dev").is_some());
    std::fs::write(&path, "").unwrap();
    reload(&ring, &path, &unset).unwrap();
    assert!(ring.slot("dev").is_none());
}
