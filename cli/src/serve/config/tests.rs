//! Which file is read, and which of several values counts.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::serve::ServeArgs;
use clap::{Args, FromArgMatches};
use tempfile::TempDir;

fn folder(file: &str, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(file), text).unwrap();
    folder
}

fn load(folder: &TempDir, variables: Variables<'_>) -> Result<Config, String> {
    Config::load(folder.path(), variables).map_err(|error| error.to_string())
}

fn none(_: &str) -> Option<String> {
    None
}

fn serve(folder: &TempDir, variables: Variables<'_>, arguments: &[&str]) -> Result<ServeArgs, String> {
    let command = ServeArgs::augment_args(Command::new("serve").no_binary_name(true));
    let config = load(folder, variables)?;
    let command = config
        .fill(command, variables)
        .map_err(|error| error.to_string())?;
    let matches = command
        .try_get_matches_from(arguments)
        .map_err(|error| error.to_string())?;
    ServeArgs::from_arg_matches(&matches).map_err(|error| error.to_string())
}

#[test]
fn the_command_line_comes_before_the_environment_before_the_file_before_the_default() {
    let file = folder(
        "cyborgdb.yaml",
        "service: {port: 9001, SEALDEX_HOST: '::1', CPU_THREADS: 3}\n",
    );
    let environment = |name: &str| (name == "PORT").then(|| "9002".to_owned());
    assert_eq!(serve(&folder("x", ""), &none, &[]).unwrap().port, 8000);
    let args = serve(&file, &none, &[]).unwrap();
    assert_eq!(
        (args.port, args.host.to_string().as_str(), args.threads),
        (9001, "::1", 3)
    );
    assert_eq!(serve(&file, &environment, &[]).unwrap().port, 9002);
    assert_eq!(
        serve(&file, &environment, &["--port", "9003"]).unwrap().port,
        9003
    );
    let both = |name: &str| match name {
        "PORT" => Some("9002".to_owned()),
        "SEALDEX_PORT" => Some("9004".to_owned()),
        _ => None,
    };
    assert_eq!(serve(&file, &both, &[]).unwrap().port, 9004);
}

#[test]
fn the_peers_settings_are_options_of_ours() {
    let text = "
service:
  CYBORGDB_SERVICE_LOG_LEVEL: WARNING
  CYBORGDB_DISK_PATH: /var/lib/x
  AUTO_TRAIN_MIN_VECTORS: 5000
  AUTO_TRAIN_DISABLED: false
  SEALDEX_OPEN_TO_NETWORK: true
  INDEX_KEK_CACHE_TTL_SECONDS: 5
  CYBORGDB_SERVICE_ROOT_KEY: 0017
";
    let file = folder("sealdex.yml", text);
    let args = serve(&file, &none, &[]).unwrap();
    assert_eq!(
        (
            args.telemetry.log.as_str(),
            args.data_dir.to_str(),
            args.auto_train_items,
            args.open_to_network
        ),
        ("warn", Some("/var/lib/x"), 5000, true)
    );
    let disabled = |name: &str| (name == "AUTO_TRAIN_DISABLED").then(|| "True".to_owned());
    assert_eq!(serve(&file, &disabled, &[]).unwrap().auto_train_items, 0);
    let config = load(&file, &none).unwrap();
    let root = |variables: Variables<'_>| {
        let root = config.credentials(variables).unwrap().root.unwrap();
        (root.name, root.key.expose().to_owned())
    };
    assert_eq!(
        root(&none),
        ("CYBORGDB_SERVICE_ROOT_KEY".to_owned(), "0017".to_owned())
    );
    let set = |name: &str| (name == "SEALDEX_ROOT_KEY").then(|| "other".to_owned());
    assert_eq!(root(&set), ("SEALDEX_ROOT_KEY".to_owned(), "other".to_owned()));
}

#[test]
fn a_named_file_must_be_there_and_the_usual_ones_need_not() {
    let usual = folder("sealdex.yaml", "kms: {registry: {ours: {provider: local}}}");
    std::fs::write(
        usual.path().join("cyborgdb.yaml"),
        "kms: {registry: {theirs: {provider: local}}}",
    )
    .unwrap();
    let slots = |config: Config| config.registry().slots.keys().cloned().collect::<Vec<_>>();
    let config = load(&usual, &none).unwrap();
    assert!(config.path().unwrap().ends_with("sealdex.yaml"));
    assert_eq!(slots(config), ["ours"]);
    let named = |name: &str| (name == "CYBORGDB_CONFIG_FILE").then(|| "cyborgdb.yaml".to_owned());
    assert_eq!(slots(load(&usual, &named).unwrap()), ["theirs"]);
    let absent = |name: &str| (name == "SEALDEX_CONFIG_FILE").then(|| "absent.yaml".to_owned());
    assert!(load(&usual, &absent).err().unwrap().contains("absent.yaml"));
}

#[test]
fn what_does_not_fit_is_told_with_its_place() {
    for (text, part) in [
        (
            "service:\n  PORT: 70000\n",
            "sealdex.yaml, line 2: PORT: invalid value '70000'",
        ),
        (
            "service:\n  CYBORGDB_SERVICE_LOG_LEVEL: loud\n",
            "line 2: CYBORGDB_SERVICE_LOG_LEVEL: not DEBUG",
        ),
        (
            "service:\n\n  AUTO_TRAIN_DISABLED: maybe\n",
            "line 3: AUTO_TRAIN_DISABLED: not true or false",
        ),
        (
            "service:\n  SEALDEX_OPEN_TO_NETWORK: 2\n",
            "line 2: SEALDEX_OPEN_TO_NETWORK: not true",
        ),
        (
            "service:\n  SSL_CERT_PATH: /c.pem\n",
            "line 2: SSL_CERT_PATH is set, but",
        ),
        ("kms: [\n", "sealdex.yaml, line "),
    ] {
        let said = serve(&folder("sealdex.yaml", text), &none, &[]).err().unwrap();
        assert!(said.contains(part), "{said}");
    }
    let tls = |name: &str| (name == "SSL_KEY_PATH").then(|| "/k.pem".to_owned());
    assert!(
        load(&folder("x", ""), &tls)
            .err()
            .unwrap()
            .starts_with("environment: SSL_KEY_PATH")
    );
    let port = |name: &str| (name == "PORT").then(|| "x".to_owned());
    let said = serve(&folder("x", ""), &port, &[]).err().unwrap();
    assert!(said.starts_with("environment: PORT: invalid value 'x'"), "{said}");
}
