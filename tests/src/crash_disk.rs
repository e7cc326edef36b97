//! A disk whose power can be cut, for programs that go on running: what was synced by then is on it, of the rest anything or nothing.
//!
//! Three file systems, each in a file of the one above it:
//! - *store* (XFS) holds `drive.img`, and copies it in an instant, by sharing its blocks;
//! - *drive* (ext4) holds `disk.img`. Its page cache plays the volatile cache of a drive: what the disk below it wrote and did not flush is
//!   in no copy of `drive.img`, unless it happened to be written back, in any order;
//! - *disk* (ext4) is what programs write to.
//!
//! All of it is Linux's own, so a cut is what it is on a machine: journals are replayed when the copy is mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The disk, mounted; taken apart on drop.
pub struct CrashDisk {
    folder: TempDir,
}

impl CrashDisk {
    /// An empty disk. Needs root, XFS and loop devices: [`is_possible`] tells.
    pub fn new(mib: u64) -> Self {
        // In memory where there is room: nothing here has to outlive the machine, and then it is quick.
        let memory = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("sealdex-crash-disk-");
        let folder = match memory.is_dir() {
            true => folder.tempdir_in(memory),
            false => folder.tempdir(),
        };
        let disk = Self {
            folder: folder.expect("a temporary folder can be made"),
        };
        for mount in ["store", "drive", "disk"] {
            fs::create_dir(disk.at(mount)).expect("our own folder is writable");
        }
        // Each has room for the one in it and for its own tables; a copy shares what it has in common with the first.
        disk.make("mkfs.xfs", "store.img", 3 * mib + 512);
        disk.mount("store.img", "store");
        disk.make("mkfs.ext4", "store/drive.img", mib + mib / 4);
        disk.mount("store/drive.img", "drive");
        disk.make("mkfs.ext4", "drive/disk.img", mib);
        disk.mount("drive/disk.img", "disk");
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.at("disk")
    }

    /// Takes down what would be on it if the power failed at this instant.
    pub fn cut(&self) {
        let (drive, cut) = (self.at("store/drive.img"), self.at("store/cut.img"));
        command("cp", &["--reflink=always", path(&drive), path(&cut)]);
    }

    /// Puts the disk back to the last cut. Nothing may have a file open on it.
    pub fn restore(&self) {
        for mount in ["disk", "drive"] {
            self.unmount(mount);
        }
        fs::rename(self.at("store/cut.img"), self.at("store/drive.img")).expect("there was a cut");
        self.mount("store/drive.img", "drive");
        self.mount("drive/disk.img", "disk");
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self, mkfs: &str, image: &str, mib: u64) {
        let image = self.at(image);
        let file = fs::File::create(&image).expect("there is room for an empty file");
        file.set_len(mib << 20).expect("there is room for an empty file");
        command(mkfs, &["-q", path(&image)]);
    }

    /// A container that is started just now has all mounts of the machine for a moment.
    fn unmount(&self, mount: &str) {
        let given_up = Instant::now() + BUSY_MAX;
        loop {
            let output = Command::new("umount").arg(self.at(mount)).output();
            let output = output.expect("umount can be started");
            if output.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(Instant::now() < given_up, "{said}");
            sleep(Duration::from_millis(20));
        }
    }

    fn mount(&self, image: &str, mount: &str) {
        // What is deleted inside takes no room outside.
        let (image, mount) = (self.at(image), self.at(mount));
        command("mount", &["-o", "loop,discard", path(&image), path(&mount)]);
    }
}

impl Drop for CrashDisk {
    fn drop(&mut self) {
        for mount in ["disk", "drive", "store"] {
            // Lazily: a program that is being killed may still hold it.
            let _ = Command::new("umount").arg("-l").arg(self.at(mount)).status();
        }
    }
}

const BUSY_MAX: Duration = Duration::from_secs(60);

/// Why such disks cannot be made here, if they cannot.
pub fn is_possible() -> Result<(), String> {
    for tool in ["mkfs.xfs", "mkfs.ext4"] {
        if Command::new(tool).arg("-V").output().is_err() {
            return Err(format!("{tool} is missing: make deps"));
        }
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(folder.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return Err("this user may mount nothing: it takes root".to_owned());
    }
    command("umount", &[path(folder.path())]);
    Ok(())
}

#[track_caller]
fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_cut_leaves_what_was_synced_and_takes_what_was_not() {
        if let Err(why) = is_possible() {
            println!("not tested: {why}");
            return;
        }
        let disk = CrashDisk::new(64);
        let write = |name: &str, is_synced: bool| {
            let mut file = fs::File::create(disk.path().join(name)).unwrap();
            file.write_all(&[7; 10_000]).unwrap();
            if is_synced {
                file.sync_all().unwrap();
            }
        };
        write("synced", true);
        write("not synced", false);
        disk.cut();
        write("later", true);
        disk.restore();
        assert_eq!(fs::read(disk.path().join("synced")).unwrap(), [7; 10_000]);
        assert!(!disk.path().join("not synced").exists());
        assert!(!disk.path().join("later").exists());
    }
}
