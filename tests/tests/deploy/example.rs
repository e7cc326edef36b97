//! `deploy/example.yaml`: complete, and such that a server starts with it.

use super::deploy;
use sealdex_tests::command::sealdex;
use sealdex_tests::server::Home;
use std::collections::BTreeSet;

/// Read beside the options; there is none for it, since everyone on a machine can read its command lines.
const ROOT_KEY: &str = "SEALDEX_ROOT_KEY";

/// The names that begin a line, commented out or not.
fn named(example: &str) -> BTreeSet<&str> {
    let names = example.lines().filter_map(|line| {
        let (name, _) = line.trim_start_matches([' ', '#']).split_once(':')?;
        let is_name = name.starts_with("SEALDEX_") && !name.contains(' ');
        is_name.then_some(name)
    });
    names.collect()
}

#[tokio::test]
async fn it_names_every_option_and_no_other() {
    let example = std::fs::read_to_string(deploy("example.yaml")).unwrap();
    let help = sealdex(&["serve", "--help"], &[]).await;
    let options = help
        .ok()
        .split("[env: ")
        .skip(1)
        .map(|rest| rest.split(['=', ']']).next().unwrap());
    let expected: BTreeSet<&str> = options.chain([ROOT_KEY]).collect();
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(named(&example), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_with_it() {
    let example = deploy("example.yaml");
    let home = Home::new().with_variable("SEALDEX_CONFIG_FILE", example.to_str().unwrap());
    home.start().await.stop().await;
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("slots=4"), "{log}");
}
