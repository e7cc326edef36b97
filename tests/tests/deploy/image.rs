//! The image: everything that the binary needs and nothing else, run as tightly as the compose file and the manifests run it.

use super::{deploy, output, works};
use sealdex_tests::server::binary;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the image is built from.
struct Context {
    folder: tempfile::TempDir,
}

impl Context {
    fn lay_out() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("image");
        output(
            Command::new(deploy("docker/context.sh"))
                .arg(binary())
                .arg(context),
        );
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Every file of the image's root, from there on.
    fn files(&self) -> Vec<String> {
        let root = self.path().join("root");
        let said = output(
            Command::new("find")
                .arg(&root)
                .args(["-not", "-type", "d", "-printf", "/%P\n"]),
        );
        said.lines().map(str::to_owned).collect()
    }
}

#[test]
fn there_is_nothing_in_it_but_the_binary_and_what_that_needs() {
    let context = Context::lay_out();
    for file in context.files() {
        let is_library = file.contains(".so");
        let is_known = [
            "/usr/bin/sealdex",
            "/etc/nsswitch.conf",
            "/etc/ssl/certs/ca-certificates.crt",
        ]
        .contains(&file.as_str());
        assert!(is_library || is_known, "{file}");
    }
}

/// By the loader and from the libraries of the image, with none of this machine's in reach.
#[test]
fn the_binary_starts_from_what_is_in_it() {
    let context = Context::lay_out();
    let root = context.path().join("root");
    let files = context.files();
    let loader = files
        .iter()
        .find(|file| file.contains("/ld-linux"))
        .expect("the image has a loader");
    let mut folders: Vec<String> = files
        .iter()
        .filter(|file| file.contains(".so"))
        .map(|file| inside(&root, Path::new(file).parent().unwrap().to_str().unwrap()))
        .collect();
    folders.dedup();
    let binary = inside(&root, "/usr/bin/sealdex");
    let start = || {
        let mut command = Command::new(inside(&root, loader));
        command.args(["--inhibit-cache", "--library-path", &folders.join(":")]);
        command
    };
    let said = output(start().args([&binary, "--version"]));
    assert!(said.starts_with("sealdex "), "{said}");
    for line in output(start().args(["--list", &binary]))
        .lines()
        .filter(|line| line.contains('/'))
    {
        let from = line
            .split_whitespace()
            .rfind(|word| word.starts_with('/'))
            .unwrap();
        assert!(from.starts_with(root.to_str().unwrap()), "{line}");
    }
}

fn inside(root: &Path, path: &str) -> String {
    format!("{}{path}", root.display())
}

/// An image and the container of it, removed on drop.
struct Container {
    name: String,
}

impl Container {
    fn start(context: &Context) -> Self {
        let name = format!("sealdex-test-{}", std::process::id());
        let container = Self { name };
        output(docker(&["build", "--quiet", "--tag", &container.name]).arg(context.path()));
        output(&mut docker(&[
            "run",
            "--detach",
            "--name",
            &container.name,
            "--network",
            "none",
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--memory",
            "1g",
            "--health-interval",
            "1s",
            &container.name,
        ]));
        container
    }

    fn inspect(&self, format: &str) -> String {
        output(&mut docker(&["inspect", "--format", format, &self.name]))
            .trim()
            .to_owned()
    }

    fn wait_until_healthy(&self) {
        let begun = Instant::now();
        while self.inspect("{{.State.Health.Status}}") != "healthy" {
            let log = || output(&mut docker(&["logs", &self.name]));
            assert!(begun.elapsed() < Duration::from_secs(120), "{}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Either may not be there.
        let _ = docker(&["rm", "--force", "--volumes", &self.name]).output();
        let _ = docker(&["rmi", &self.name]).output();
    }
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

#[test]
fn a_container_with_no_rights_becomes_healthy_and_ends_when_it_is_told_to() {
    if !works(&mut docker(&["info"])) {
        println!("no Docker daemon answers: the image is laid out, but not run");
        return;
    }
    let container = Container::start(&Context::lay_out());
    container.wait_until_healthy();
    assert_eq!(container.inspect("{{.Config.User}}"), "10001:0");
    assert!(
        !works(&mut docker(&["exec", &container.name, "/bin/sh", "-c", "true"])),
        "there is a shell in the image"
    );
    output(&mut docker(&["stop", "--time", "60", &container.name]));
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
}
