//! A real file system of a few hundred MiB as the data directory of a server, so that it can be filled up: tmpfs, mounted by root,
//! or by anybody in a namespace of their own.

use crate::server::Home;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted disk; unmounted on drop.
pub struct SmallDisk {
    mount: PathBuf,
}

impl SmallDisk {
    /// A disk of that size as the data directory of `home`, which no server has used yet.
    pub fn mount(home: &Home, mib: u64) -> Self {
        Self::mount_at(home.data(), mib)
    }

    /// A disk of that size on a folder that exists.
    pub fn mount_at(mount: PathBuf, mib: u64) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(&mount)
            .output()
            .expect("mount can be started");
        assert!(
            mounted.status.success(),
            "cannot mount: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { mount }
    }

    /// Bytes that are free, as `df` tells them.
    pub fn free(&self) -> u64 {
        let told = Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(&self.mount)
            .output()
            .expect("df runs");
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let number = text.lines().last().map(str::trim).unwrap_or_default();
        number.parse().expect("df prints a number")
    }

    /// Takes room away behind the server's back, until `left` bytes are free.
    pub fn fill(&self, left: u64) {
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("a file can be made");
        let chunk = vec![0xBA; 64 * 1024];
        loop {
            let room = self.free().saturating_sub(left);
            if room == 0 {
                return;
            }
            for _ in 0..room.div_ceil(chunk.len() as u64) {
                let bytes = chunk.len().min(room as usize);
                match ballast.write_all(&chunk[..bytes]) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => return,
                    Err(error) => panic!("the ballast: {error}"),
                }
            }
        }
    }

    /// Gives that room back.
    pub fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast is ours");
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

/// Whether this test goes on here. Who may mount does. Who may not runs the test again in a namespace where they may, and is done
/// when that has passed. Where there are no such namespaces either, the test fails: a full disk was not tested.
pub fn may_mount(test: &str) -> bool {
    const INSIDE: &str = "SEALDEX_OWN_NAMESPACE";
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let probe = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(folder.path())
        .output();
    if probe.is_ok_and(|probe| probe.status.success()) {
        unmount(folder.path());
        return true;
    }
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "no file system can be mounted, not even in a namespace of our own"
    );
    let this = std::env::current_exe().expect("a running test knows its own path");
    let again = Command::new("unshare")
        .arg("-Urm")
        .arg(this)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(
        again.as_ref().is_ok_and(std::process::ExitStatus::success),
        "NOT TESTED, or failed: a full disk needs a small file system, and this machine lets us mount none. Run the tests as root, \
         or where `unshare -Urm` works ({again:?})"
    );
    false
}

fn unmount(path: &Path) {
    let done = Command::new("umount").arg(path).status();
    assert!(
        done.is_ok_and(|done| done.success()),
        "what was mounted can be unmounted"
    );
}
